"""gradcheck on networks: right ones pass on every library, a planted error of any kind does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from backends import Backend
from nnbackprop import (
    ELU,
    GELU,
    Dense,
    Dropout,
    LeakyReLU,
    MeanSquaredError,
    ReLU,
    Sequential,
    ShapeError,
    Sigmoid,
    SigmoidBinaryCrossEntropy,
    SiLU,
    SoftmaxCrossEntropy,
    Softplus,
    Tanh,
    WeightPenalty,
)
from nnbackprop.diagnostics.gradcheck.central_differences import derivatives, partial_derivatives
from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck
from nnbackprop.errors import DataError
from nnbackprop.nn.layers import Softmax
from nnbackprop.nn.layers.base import Activation
from nnbackprop.nn.sequential import Residual


def samples(features: int, classes: int, n: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(features))
    return rng.standard_normal((n, features)), rng.integers(0, classes, n)


def deep() -> Sequential:
    return Sequential(Dropout(0.2), Dense(9), ReLU(), Dropout(0.3), Dense(8), Tanh(), Dense(4))


def test_network_loss_and_penalty_pass_on_every_backend(backend: Backend) -> None:
    x, t = samples(7, 4)
    penalty = WeightPenalty(l1=1e-3, l2=1e-2)
    report = gradcheck(deep(), SoftmaxCrossEntropy(0.1), x, t, backend=backend, penalty=penalty)
    assert report.passed, str(report)
    assert [tensor.name for tensor in report.tensors] == [
        *(f"{layer}.{name}" for layer in ("dense1", "dense2", "dense3") for name in "Wb"),
        "input",
    ]
    assert max(tensor.error for tensor in report.tensors) < 1e-8


@pytest.mark.parametrize("activation", [ReLU, LeakyReLU, ELU, GELU, SiLU, Softplus, Sigmoid, Tanh, Softmax])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SigmoidBinaryCrossEntropy(), MeanSquaredError("mean")])
def test_every_activation_and_loss_passes(activation: type[Activation], loss: Any) -> None:
    x, t = samples(6, 3)
    report = gradcheck(Sequential(Dense(8), activation(), Dense(5), activation(), Dense(3)), loss, x, t)
    assert report.passed, str(report)


@pytest.mark.parametrize("weights", [None, np.arange(9.0)])
def test_float_targets_and_sample_weights_are_part_of_the_loss(weights: np.ndarray | None) -> None:
    x, _ = samples(5, 2)
    report = gradcheck(Sequential(Dense(4), Tanh(), Dense(2)), MeanSquaredError(), x, x[:, :2], weights=weights)
    assert report.passed, str(report)


def test_a_gradient_without_the_sample_weights_of_its_loss_fails() -> None:
    x, _ = samples(5, 2)
    assert not gradcheck(Sequential(Dense(2)), UnweightedGradient(), x, x[:, :2], weights=np.arange(9.0)).passed


@dataclass(frozen=True)
class UnweightedGradient(MeanSquaredError):  # noqa: N818 (no exception)
    """Sample weights in the loss, and not in dy."""

    def __call__(self, xp: Any, y: Any, t: Any, weights: Any = None) -> tuple[Any, Any]:
        return super().__call__(xp, y, t, weights)[0], super().__call__(xp, y, t)[1]


@dataclass(frozen=True)
class Centred:
    """y = x - mean(x) + b; the running mean is a buffer, which forward in training does not read."""

    buffers: ClassVar[tuple[str, ...]] = ("mean",)

    def build(self, rng: Any, in_shape: Any, dtype: str) -> tuple[Any, Any]:
        return {"b": np.zeros(in_shape, dtype), "mean": np.full(in_shape, np.nan, dtype)}, in_shape

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> tuple[Any, Any]:
        mean = params["mean"] if key is None else xp.mean(x, axis=0)
        return x - mean + params["b"], None

    def backward(self, xp: Any, params: Any, cache: Any, dy: Any, need_dx: bool) -> tuple[Any, Any]:
        return dy - xp.mean(dy, axis=0), {"b": xp.sum(dy, axis=0)}

    def new_buffers(self, xp: Any, params: Any, cache: Any) -> Any:
        raise NotImplementedError


def test_nested_networks_have_dotted_names_and_buffers_no_gradient() -> None:
    x, t = samples(6, 3)
    network = Sequential(Residual(Dense(6), Centred(), Tanh()), Sequential(Dense(3)))
    report = gradcheck(network, SoftmaxCrossEntropy(), x, t)
    assert report.passed, str(report)
    assert [tensor.name for tensor in report.tensors] == [
        "residual1.dense1.W",
        "residual1.dense1.b",
        "residual1.centred1.b",
        "sequential1.dense1.W",
        "sequential1.dense1.b",
        "input",
    ]


@dataclass(frozen=True)
class Tilted(Activation):
    """tanh, whose way back is off by `by` in one unit."""

    by: float

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> tuple[Any, Any]:
        y = xp.tanh(x)
        return y, y

    def vjp(self, xp: Any, cache: Any, dy: Any) -> Any:
        one_unit = xp.astype(xp.arange(cache.shape[1]) == 3, dy.dtype) * self.by
        return (1 - cache * cache) * dy * (1 + one_unit)


@pytest.mark.parametrize("by", [1.0, 1e-3, 1e-5])
def test_an_error_in_one_unit_of_300_fails_and_is_located(by: float) -> None:
    x, t = samples(40, 5)
    report = gradcheck(Sequential(Dense(300), Tilted(by), Dense(5)), SoftmaxCrossEntropy(), x, t)
    failed = [tensor for tensor in report.tensors if not tensor.passed]
    assert [tensor.name for tensor in failed] == ["dense1.W", "dense1.b", "input"]
    # the error is `by` in one unit of 300: relative to the whole gradient about by / sqrt(300), give or take
    assert by / 170 < failed[0].error < by
    bias = failed[1].worst
    assert bias is not None
    if bias.index == (3,):  # where single entries were looked at, 200 of 300 at random
        assert bias.analytic / bias.numerical == pytest.approx(1 + by, rel=1e-7)


def test_ratio_is_the_factor_a_gradient_is_off_by() -> None:
    @dataclass(frozen=True)
    class Doubled(Tilted):
        def vjp(self, xp: Any, cache: Any, dy: Any) -> Any:
            return 2 * (1 - cache * cache) * dy

    x, t = samples(6, 3)
    report = gradcheck(Sequential(Dense(8), Doubled(0), Dense(3)), SoftmaxCrossEntropy(), x, t)
    ratios = {tensor.name: tensor.ratio for tensor in report.tensors}
    assert ratios["dense1.W"] == pytest.approx(2, rel=1e-7)
    assert ratios["dense2.W"] == pytest.approx(1, rel=1e-7)
    assert {tensor.name for tensor in report.tensors if not tensor.passed} == {"dense1.W", "dense1.b", "input"}


def test_a_mistake_in_a_custom_layer_is_named() -> None:
    @dataclass(frozen=True)
    class Missing(Tilted):
        def vjp(self, xp: Any, cache: Any, dy: Any) -> Any:
            return dy

    x, t = samples(6, 3)
    report = gradcheck(Sequential(Dense(8), Missing(0), Dense(3)), SoftmaxCrossEntropy(), x, t)
    assert [m.id for m in report.mistakes] == ["activation-derivative-missing"]


def test_directions_through_a_kink_are_left_out_and_counted() -> None:
    """x = 0 at one feature of one sample and no bias: one unit's z is exactly 0 in ReLU's corner."""
    x, t = samples(3, 2)
    x[0] = 0.0
    network = Sequential(Dense(4, bias=None), ReLU(), Dense(2))
    report = gradcheck(network, SoftmaxCrossEntropy(), x, t)
    of_input = report.tensors[-1]
    assert of_input.kinks >= 4  # every direction moves the sample off the corner
    assert of_input.passed  # by the entries of the other samples
    assert report.passed


def test_a_tensor_with_kinks_in_every_direction_does_not_pass() -> None:
    x = np.zeros((4, 3))
    report = gradcheck(
        Sequential(Dense(4, bias=None), ReLU(), Dense(2)), SoftmaxCrossEntropy(), x, np.array([0, 1, 0, 0])
    )
    assert np.isnan(report.tensors[-1].error)
    assert not report.passed


def test_zero_biases_are_moved_so_that_a_penalty_on_them_shows() -> None:
    @dataclass(frozen=True)
    class OnBiasesToo(WeightPenalty):
        def gradients(self, xp: Any, network: Any, params: Any, grads: Any) -> Any:
            return tuple(
                {n: g + self.l2 * p[n] for n, g in layer.items()} for p, layer in zip(params, grads, strict=True)
            )

    x, t = samples(6, 3)
    network = Sequential(Dense(5), Tanh(), Dense(3))
    assert not network.init((6,), 0, "float64")[0]["b"].any()
    report = gradcheck(network, SoftmaxCrossEntropy(), x, t, penalty=OnBiasesToo(l2=0.1))
    assert [m.id for m in report.mistakes] == ["l2-on-biases"]


def test_given_params_are_the_point_that_is_checked() -> None:
    x, t = samples(6, 3)
    network = Sequential(Dense(5), Tanh(), Dense(3))
    params = tuple({n: a + 0.5 for n, a in layer.items()} for layer in network.init((6,), 1, "float64"))
    logits = np.tanh(x @ params[0]["W"] + 0.5) @ params[2]["W"] + 0.5
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(9), t])
    assert gradcheck(network, SoftmaxCrossEntropy(), x, t, params=params).loss == pytest.approx(
        expected, rel=1e-12
    )


def test_inputs_and_labels_that_do_not_fit_are_refused() -> None:
    network = Sequential(Dense(3))
    with pytest.raises(DataError, match="a label"):
        gradcheck(network, SoftmaxCrossEntropy(), np.ones((4, 2)), np.array([0, 1]))
    with pytest.raises(DataError, match="finite"):
        gradcheck(network, SoftmaxCrossEntropy(), np.full((2, 2), np.nan), np.array([0, 1]))
    with pytest.raises(DataError, match=r"0\.\.2"):
        gradcheck(network, SoftmaxCrossEntropy(), np.ones((2, 2)), np.array([0, 3]))
    with pytest.raises(ShapeError):
        gradcheck(Sequential(ReLU()), SoftmaxCrossEntropy(), np.ones((2, 2, 2)), np.array([0, 1]))


# The differences themselves.


def test_derivatives_are_right_to_ten_digits_on_a_smooth_function() -> None:
    a = np.linspace(-1, 2, 7)
    found = partial_derivatives(lambda p: float(np.exp(p["a"]).sum()), {"a": a}, "a", range(7), 1e-6)
    np.testing.assert_allclose(found.values, np.exp(a), rtol=1e-10)
    assert 0 < found.noise < 1e-8


@pytest.mark.parametrize("u", [0.0, 1e-9, 1e-5, 1e-4 / 3, 0.5e-4, 0.9e-4, -0.3e-4])
def test_a_kink_within_the_longest_step_never_gives_a_wrong_derivative(u: float) -> None:
    """J = |a - 1 - u| at a = 1: the derivative is -sign(u) or, at u = 0, none."""
    found = derivatives(lambda p: float(abs(p["a"][0] - 1 - u)), {"a": np.ones(1)}, "a", [np.ones(1)], 1e-6)
    if not np.isnan(found.values[0]):
        assert found.values[0] == pytest.approx(-np.sign(u), abs=1e-6)
    assert np.isnan(found.values[0]) or abs(u) > 1e-7
