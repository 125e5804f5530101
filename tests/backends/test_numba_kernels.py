"""numba's kernels of convolution and pooling against the formulas, on whole numbers and ties, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import Formula, Namespace, numba_conv, numba_pool, numba_tiles, select, threads
from backends.numba_fuse import MIN_COMPILED_SIZE
from backends.numba_kernels import NUMBA_KERNELS
from nnbackprop.nn.layers import Conv2D
from nnbackprop.nn.layers.conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from nnbackprop.nn.layers.pooling import max_pool, max_pool_vjp
from nnbackprop.nn.layers.windows import Pair
from tests.support.gradients import distance

NUMPY = Namespace(np)  # without fused or native kernels
CONVOLUTION = {
    Formula.CONV2D: conv2d,
    Formula.CONV2D_WEIGHT_GRAD: conv2d_weight_grad,
    Formula.CONV2D_INPUT_GRAD: conv2d_input_grad,
}
NONE: Pair = (0, 0)


@pytest.fixture(params=["numpy", "torch"])
def fast(request: pytest.FixtureRequest) -> Any:
    """A namespace whose native kernels must be compiled: a formula that is called instead fails."""
    pytest.importorskip("numba", reason="numba is not installed")
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return select(request.param, "cpu" if request.param == "torch" else None)


def run(backend: Any, name: Formula, *arguments: Any) -> np.ndarray:
    """What the backend's own form gives."""
    moved = [backend.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    if backend.name == "torch":
        import torch

        with torch.no_grad():
            result = backend.xp.native_kernels[name](*moved)
    else:
        result = backend.xp.native_kernels[name](*moved)
    assert result is not None, "the formula would be evaluated"
    return backend.to_numpy(result)


def images(dtype: str, channels: int, rows: int = 12, columns: int = 11) -> np.ndarray:
    """Small whole numbers: among the four of a window are many ties."""
    rng = np.random.default_rng(0)
    n = -(-MIN_COMPILED_SIZE // (rows * columns * channels))
    return rng.integers(-2, 3, (n, rows, columns, channels)).astype(dtype)


def test_every_formula_has_a_form() -> None:
    assert set(NUMBA_KERNELS) == set(Formula)


def convolution(
    x: np.ndarray, filters: int, size: Pair, stride: Pair, padding: tuple[Pair, Pair], whole: bool = True
) -> list[tuple[Formula, tuple[Any, ...], np.ndarray]]:
    """Each formula of a convolution of x, with arguments and what it gives on them."""
    rng = np.random.default_rng(2)

    def numbers(*shape: int) -> np.ndarray:
        return (rng.integers(-2, 3, shape) if whole else rng.standard_normal(shape)).astype(x.dtype)

    W, geometry = numbers(size[0] * size[1] * x.shape[3], filters), (size, stride, padding)
    z = conv2d(NUMPY, x, W, *geometry)
    dz = numbers(*z.shape)
    arguments = (x, W, *geometry), (x, dz, *geometry), (dz, W, x.shape, *geometry)
    formulas = zip(CONVOLUTION.items(), arguments, strict=True)
    return [(name, given, formula(NUMPY, *given)) for (name, formula), given in formulas]


@pytest.mark.parametrize(
    ("dtype", "channels", "filters", "size", "stride", "padding"),
    [
        ("float32", 1, 24, (5, 5), (1, 1), (NONE, NONE)),
        ("float64", 3, 5, (3, 3), (1, 1), ((1, 1), (1, 1))),
        ("float32", 3, 67, (3, 2), (2, 1), ((0, 1), (1, 0))),  # more filters than a tile is wide, lines left over
        ("float64", 16, 8, (1, 1), (1, 2), (NONE, NONE)),
        ("float32", 8, 16, (2, 5), (1, 3), ((0, 0), (4, 3))),
        ("float32", 8, 16, (4, 1), (2, 1), ((3, 3), (0, 0))),
    ],
)
def test_convolution_is_the_product_of_the_windows(
    fast: Any, dtype: str, channels: int, filters: int, size: Pair, stride: Pair, padding: tuple[Pair, Pair]
) -> None:
    """The sums of these whole numbers are exact, in whichever order."""
    x = np.tile(images(dtype, channels), (4, 1, 1, 1))
    for name, arguments, expected in convolution(x, filters, size, stride, padding):
        found = run(fast, name, *arguments)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=name.name)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 2e-15)])
def test_convolution_is_the_formula_but_for_rounding(fast: Any, dtype: str, tolerance: float) -> None:
    """Sums of up to 3,000 products, in another order and with fused multiply-adds: by norm within 10 roundings."""
    x = np.random.default_rng(0).standard_normal((20, 12, 11, 8)).astype(dtype)
    for name, arguments, expected in convolution(x, 16, (3, 3), (1, 1), (NONE, NONE), whole=False):
        assert distance(run(fast, name, *arguments), expected) <= tolerance, name.name


@pytest.mark.parametrize(("registers", "vector_bytes"), [(32, 64), (32, 16), (16, 32), (16, 16)])
def test_tiles_of_every_processor_hold_all_of_the_sum(
    fast: Any, monkeypatch: pytest.MonkeyPatch, registers: int, vector_bytes: int
) -> None:
    """AVX-512, NEON, AVX and SSE: LLVM splits vectors that this processor has not."""
    monkeypatch.setattr(numba_tiles, "_registers", lambda: registers)
    monkeypatch.setattr(numba_tiles, "_vector_bytes", lambda: vector_bytes)
    numba_tiles._tiles.cache_clear()
    try:
        for name, arguments, expected in convolution(images("float32", 2), 11, (3, 3), (1, 1), (NONE, NONE)):
            np.testing.assert_array_equal(run(fast, name, *arguments), expected, err_msg=name.name)
    finally:
        numba_tiles._tiles.cache_clear()


def test_the_number_of_threads_changes_no_bit(fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((37, 8, 8, 8)).astype("float32")
    for name, arguments, _ in convolution(x, 16, (3, 3), (1, 1), (NONE, NONE), whole=False):
        results = []
        for count in (1, 2, 5):
            monkeypatch.setattr(threads, "_threads", count)
            results.append(run(fast, name, *arguments))
        np.testing.assert_array_equal(results[1], results[0], err_msg=name.name)
        np.testing.assert_array_equal(results[2], results[0], err_msg=name.name)


def test_a_convolution_passes_a_nan_on_to_the_places_that_see_it(fast: Any) -> None:
    x = images("float32", 8)
    x[0, 0, 0, 0] = np.nan
    (name, arguments, expected), *_ = convolution(x, 16, (3, 3), (1, 1), (NONE, NONE))
    found = run(fast, name, *arguments)
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found).any(axis=3).sum() == 1


def test_weights_of_another_kernel_are_refused_and_nothing_beyond_them_is_read() -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    layer, x = Conv2D(16, 3), images("float32", 8)
    with pytest.raises(ValueError, match="matmul"):
        layer.forward(select("numpy").xp, {"W": np.zeros((3 * 3 * 4, 16), "float32")}, x, None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "stride"), [((2, 2), (2, 2)), ((3, 2), (3, 2)), ((3, 3), (2, 1))])
def test_pooling_takes_the_largest_and_its_gradient_goes_to_the_first(
    fast: Any, size: Pair, stride: Pair, dtype: str
) -> None:
    x = images(dtype, 5)
    y = max_pool(NUMPY, x, size, stride)
    np.testing.assert_array_equal(run(fast, Formula.MAX_POOL, x, size, stride), y)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    if size == stride:
        expected = max_pool_vjp(NUMPY, x, y, dy, size, stride)
        np.testing.assert_array_equal(run(fast, Formula.MAX_POOL_VJP, x, y, dy, size, stride), expected)
    else:  # windows overlap: gradients add, which the formula does
        assert numba_pool.max_pool_vjp(x, y, dy, size, stride) is None


def test_a_nan_is_the_largest_of_its_window_and_an_infinite_gradient_is_seen(fast: Any) -> None:
    x = images("float32", 5)
    x[0, 1, 1, 2] = x[1, 0, 0, 0] = np.nan
    y = max_pool(NUMPY, x, (2, 2), (2, 2))
    found = run(fast, Formula.MAX_POOL, x, (2, 2), (2, 2))
    np.testing.assert_array_equal(found, y)
    assert np.isnan(found).sum() == 2
    dy = np.ones_like(y)
    dy[0, 0, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        expected = max_pool_vjp(NUMPY, x, y, dy, (2, 2), (2, 2))
    np.testing.assert_array_equal(run(fast, Formula.MAX_POOL_VJP, x, y, dy, (2, 2), (2, 2)), expected)


def test_small_arrays_and_views_are_left_to_the_formula() -> None:
    x = images("float32", 3)
    for other in (x[:1], x[:, ::2], x.astype(np.int32)):
        W = np.ones((27, 8), other.dtype)
        assert numba_conv.conv2d(other, W, (3, 3), (1, 1), (NONE, NONE)) is None
        assert numba_pool.max_pool(other, (2, 2), (2, 2)) is None
    plain, own = (xp.native(Formula.MAX_POOL, max_pool) for xp in (NUMPY, select("numpy").xp))
    np.testing.assert_array_equal(own(x[:, ::2], (2, 2), (2, 2)), plain(x[:, ::2], (2, 2), (2, 2)))
