"""Every scaling is the affine map its definition says, with statistics of the training part alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnbackprop.data import Dataset, fit_scaling, load
from nnbackprop.data.scaling import CHUNK_ROWS, Scaling, _moments_of_sums, moments
from nnbackprop.errors import DataError, ScalingError, UsageError

RNG = np.random.default_rng(8)
BYTES = RNG.integers(0, 256, (3 * CHUNK_ROWS + 7, 6), np.uint8)
BYTES[:, 2] = 9  # a constant feature


def dataset(inputs: np.ndarray) -> Dataset:
    return Dataset(np.ascontiguousarray(inputs), np.zeros(len(inputs), np.int32), ("0",))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_moments_are_those_of_numpy(dtype: str) -> None:
    x = BYTES.astype(dtype)
    mean, variance = moments(x)
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(variance, x.var(axis=0, dtype=np.float64), rtol=1e-12)


def test_float_moments_do_not_cancel() -> None:
    x = 1e8 + RNG.random((1000, 3))
    np.testing.assert_allclose(moments(x)[1], (x - 1e8).var(axis=0), rtol=1e-7)


def test_the_variance_of_millions_of_bytes_does_not_overflow() -> None:
    """Half of them 0 and half 255: the mean is 127.5, and each is as far from it."""
    for n in (30_000_000, 40_000_000, 10**10):
        total = np.array([n // 2 * 255])
        mean, variance = _moments_of_sums(n, total, total * 255)
        assert (mean.tolist(), variance.tolist()) == ([127.5], [127.5**2])


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_standard_and_per_feature_subtract_the_mean_and_divide_by_the_deviation(dtype: str) -> None:
    data = dataset(BYTES.astype(dtype))
    x = fit_scaling("standard", data).apply(BYTES, "float64")
    np.testing.assert_allclose(x, (BYTES - BYTES.mean()) / BYTES.std(), rtol=1e-10, atol=1e-12)
    per_feature = fit_scaling("per-feature", data)
    varying = BYTES[:, [0, 1, 3, 4, 5]]
    x = per_feature.apply(BYTES, "float64")
    expected = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    np.testing.assert_allclose(x[:, [0, 1, 3, 4, 5]], expected, rtol=1e-10, atol=1e-12)
    assert not x[:, 2].any()  # of a constant feature, other values become 0 as well
    assert not per_feature.apply(np.full((1, 6), 255, np.uint8), "float64")[:, 2].any()


@pytest.mark.parametrize("kind", ["standard", "per-feature"])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_samples_of_any_shape_are_scaled_like_flat_ones(kind: str, dtype: str) -> None:
    flat, images = BYTES.astype(dtype), BYTES.astype(dtype).reshape(-1, 2, 3)
    x = fit_scaling(kind, dataset(images)).apply(images, "float32")
    assert x.shape == images.shape
    assert np.array_equal(x.reshape(flat.shape), fit_scaling(kind, dataset(flat)).apply(flat, "float32"))


def test_a_constant_feature_whose_mean_rounds_is_0() -> None:
    x = np.full((1000, 1), 0.1)
    for kind in ("standard", "per-feature"):
        assert not fit_scaling(kind, dataset(x)).apply(x, "float64").any()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("none", [0, 51, 255]), ("unit", [0, 0.2, 1]), ("rashid", [0.01, 0.208, 1.0])],  # x / 255 * 0.99 + 0.01
)
def test_bytes_are_divided_by_255(kind: str, expected: list[float]) -> None:
    data = dataset(np.array([[0, 51, 255]], np.uint8))
    np.testing.assert_allclose(fit_scaling(kind, data).apply(data.inputs, "float64"), [expected], rtol=1e-15)


@pytest.mark.parametrize(
    ("values", "scale"), [([0, 0.5], 1), ([0, 1], 1), ([-2, 25], 1), ([0, 300], 1), ([0, 255], 1 / 255)]
)
def test_unit_scales_floats_that_are_bytes_alone(values: list[float], scale: float) -> None:
    assert float(fit_scaling("unit", dataset(np.array([values], float))).scale) == scale


def test_apply_computes_in_the_dtype_asked_and_leaves_its_input() -> None:
    scaling = fit_scaling("standard", dataset(BYTES))
    before = BYTES.copy()
    x = scaling.apply(BYTES, "float32")
    assert x.dtype == np.float32
    plain = BYTES.astype(np.float32) * scaling.scale.astype(np.float32) + scaling.shift.astype(np.float32)
    assert np.array_equal(x, plain)
    assert np.array_equal(BYTES, before)
    floats = BYTES.astype(np.float32)
    scaling.apply(floats, "float32")
    assert np.array_equal(floats, before)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="'zscore' is unknown; none, unit, standard, per-feature, rashid"):
        fit_scaling("zscore", dataset(BYTES))


@pytest.mark.parametrize("kind", ["standard", "per-feature"])
@pytest.mark.parametrize("unit", [5e-324, 1e-170, 1e200])
def test_a_deviation_beyond_float64_is_refused(kind: str, unit: float) -> None:
    """1e200 has an infinite variance, and 1 / inf would turn every input into 0."""
    data = dataset(np.arange(12.0).reshape(6, 2) * unit)
    with pytest.raises(DataError, match=r"the scaling of (all features|feature 0), whose values lie in 0 \.\."):
        fit_scaling(kind, data).check(data, "float64")


def test_a_scaling_beyond_float32_is_refused_in_float32_alone() -> None:
    """And a feature of one value is scaled by 0, however small it is."""
    data = dataset(np.arange(12.0).reshape(4, 3) * [1, 1e-40, 0] + [0, 0, 5e-324])
    scaling = fit_scaling("per-feature", data)
    scaling.check(data, "float64")
    with pytest.raises(
        DataError, match=r"feature 1, whose values lie in 1e-40 \.\. 1e-39, .* float32 cannot hold"
    ):
        scaling.check(data, "float32")


def numbers(targets: np.ndarray) -> Dataset:
    return Dataset(np.zeros((len(targets), 1)), targets)


def test_scaled_targets_have_mean_0_and_deviation_1_and_come_back() -> None:
    targets = np.random.default_rng(3).normal([1e9, 0], [2, 1e-6], (50, 2))
    scaling = fit_scaling("none", numbers(targets), "standard")
    scaled = scaling.scale_targets(targets, "float64")
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)  # a mean of 1e9 leaves 7 of float64's digits
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(scaling.unscale_targets(scaled), targets, rtol=1e-15, atol=1e-20)
    assert scaling.scale_targets(targets, "float32").dtype == np.float32
    assert scaling.unscale_targets(scaled.astype(np.float32)).dtype == np.float64


def test_a_constant_target_is_moved_to_0_and_comes_back() -> None:
    scaling = fit_scaling("none", numbers(np.full((4, 1), 7.3)), "standard")
    np.testing.assert_allclose(scaling.scale_targets(np.full((4, 1), 7.3), "float64"), 0, atol=1e-15)
    np.testing.assert_allclose(scaling.unscale_targets(np.zeros((2, 1))), 7.3)


def test_rates_are_divided_by_their_mean() -> None:
    fitted = fit_scaling("none", numbers(np.array([[2.0, 0.0], [4.0, 0.0]])), "mean").target_scaling
    np.testing.assert_allclose(fitted.scale, [1 / 3, 1])
    assert not fitted.shift.any()


@pytest.mark.parametrize(
    ("data", "kind"), [(dataset(BYTES), "standard"), (numbers(np.eye(3)[:, :1] * 0.5), "unit")]
)
def test_targets_that_cannot_be_scaled_are_refused(data: Dataset, kind: str) -> None:
    with pytest.raises(UsageError, match=f"target_scale is '{kind}' and the task of memory"):
        fit_scaling("none", data, kind)


def test_targets_without_a_scaling_stay_as_they_are() -> None:
    t = np.array([[1.0], [2.0]], np.float32)
    assert Scaling.identity().scale_targets(t, "float32") is t
    assert Scaling.identity().unscale_targets(t) is t


@pytest.mark.parametrize(
    ("kind", "unit"), [("standard", 5e-324), ("standard", 1e-200), ("standard", 1e200), ("mean", 5e-324)]
)
def test_targets_whose_spread_is_beyond_float64_are_refused(kind: Any, unit: float) -> None:
    """The square of 1e-200 is 0, and that of 1e200 infinite; 1 / 5e-324 is, too."""
    data = numbers(np.array([[7.0, 1], [7, 2], [7, 4]]) * [1, unit])
    with pytest.raises(ScalingError, match="the scaling of target 1, whose values lie in"):
        fit_scaling("none", data, kind).check(data, "float32")


def test_numbers_far_from_0_keep_their_digits_in_float32() -> None:
    """Beside one that is scaled in float32 as ever; in 1.7e9 float32 tells 128 apart."""
    x = np.column_stack([1.7e9 + RNG.uniform(0, 100, 500), RNG.normal(3, 2, 500)])
    expected = (x - x.mean(axis=0)) / x.std(axis=0)
    data = dataset(x)
    scaling = fit_scaling("per-feature", data)
    scaled = scaling.apply(data.inputs, "float32")
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=2e-6)
    assert np.array_equal(scaled[:, 1], in_float32(scaling, x)[:, 1])
    assert np.array_equal(scaling.apply(x.reshape(5, 100, 2), "float32", copy=False).reshape(-1, 2), scaled)
    both = fit_scaling("standard", dataset(x[:, :1])).apply(x[:, :1], "float32")
    np.testing.assert_allclose(both, expected[:, :1], rtol=0, atol=2e-6)


def in_float32(scaling: Scaling, x: np.ndarray) -> np.ndarray:
    """x * scale + shift, each step in float32."""
    return x.astype(np.float32) * scaling.scale.astype(np.float32) + scaling.shift.astype(np.float32)


@pytest.mark.parametrize("kind", ["none", "standard", "per-feature"])
def test_numbers_near_0_have_the_bits_of_a_scaling_in_float32(kind: str) -> None:
    """Of tables, of 20x20 digits in float64, and of bytes."""
    digits = np.clip(RNG.normal(0.1, 0.3, (50, 400)), 0, 1)
    tables = [load(name, split=False).train.inputs for name in ("iris", "weight-height", "house-prices")]
    for x in (*tables, tables[0].astype(np.float64), digits, BYTES, BYTES.astype(np.float64)):
        scaling = fit_scaling(kind, dataset(x))
        assert np.array_equal(scaling.apply(x, "float32"), in_float32(scaling, x))
        in_float64 = x.astype(np.float64) * scaling.scale + scaling.shift
        assert np.array_equal(scaling.apply(x, "float64"), in_float64)
