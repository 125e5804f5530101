"""gradcheck on networks: right ones pass on every library, and an error of any kind fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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
from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck, gradcheck_recipe
from nnbackprop.errors import DataError
from nnbackprop.nn.layers import Softmax
from nnbackprop.nn.layers.base import Activation
from nnbackprop.nn.sequential import Residual
from nnbackprop.runs.config_files import resolve


def samples(features: int, classes: int, n: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(features))
    return rng.standard_normal((n, features)), rng.integers(0, classes, n)


def test_network_loss_and_penalty_pass_on_every_backend(backend: Backend) -> None:
    x, t = samples(7, 4)
    network = Sequential(Dropout(0.2), Dense(9), ReLU(), Dropout(0.3), Dense(8), Tanh(), Dense(4))
    penalty = WeightPenalty(l1=1e-3, l2=1e-2)
    report = gradcheck(network, SoftmaxCrossEntropy(0.1), x, t, backend=backend, penalty=penalty)
    assert report.passed, str(report)
    assert [tensor.name for tensor in report.tensors] == [
        *(f"{layer}.{name}" for layer in ("dense1", "dense2", "dense3") for name in "Wb"),
        "input",
    ]
    assert max(tensor.error for tensor in report.tensors) < 1e-8


def test_the_recipe_cnn_passes_on_every_backend(backend: Backend, tmp_path: Path) -> None:
    """Every layer of its list, on eight images of 16 x 16, its least: twenty of MNIST take up to minutes."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", x=rng.integers(0, 256, (8, 16, 16)), y=np.arange(8) % 4)
    report = gradcheck_recipe(resolve("cnn", {"data": str(tmp_path / "images.npz")}), backend)
    assert report.passed, str(report)
    assert list(dict.fromkeys(tensor.name.split(".")[0] for tensor in report.tensors)) == [
        *("conv2d1", "batchnorm1", "conv2d2", "batchnorm2", "conv2d3", "batchnorm3"),
        *("dense1", "batchnorm4", "dense2", "input"),
    ]


@pytest.mark.parametrize("activation", [ReLU, LeakyReLU, ELU, GELU, SiLU, Softplus, Sigmoid, Tanh, Softmax])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SigmoidBinaryCrossEntropy(), MeanSquaredError("mean")])
def test_every_activation_and_loss_passes(activation: type[Activation], loss: Any) -> None:
    x, t = samples(6, 3)
    report = gradcheck(Sequential(Dense(8), activation(), Dense(5), activation(), Dense(3)), loss, x, t)
    assert report.passed, str(report)


@dataclass(frozen=True)
class UnweightedGradient(MeanSquaredError):  # noqa: N818 (no exception)
    """Sample weights in the loss, and not in dy."""

    def __call__(self, xp: Any, y: Any, t: Any, weights: Any = None) -> tuple[Any, Any]:
        return super().__call__(xp, y, t, weights)[0], super().__call__(xp, y, t)[1]


@pytest.mark.parametrize(
    ("loss", "weights", "passes"),
    [
        (MeanSquaredError(), None, True),
        (MeanSquaredError(), np.arange(9.0), True),
        (UnweightedGradient(), np.arange(9.0), False),
    ],
)
def test_float_targets_and_sample_weights_are_part_of_the_loss(loss: Any, weights: Any, passes: bool) -> None:
    x, _ = samples(5, 2)
    network = Sequential(Dense(4), Tanh(), Dense(2))
    assert gradcheck(network, loss, x, x[:, :2], weights=weights).passed == passes


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
class WrongTanh(Activation):
    """tanh with another derivative, of (xp, y)."""

    derivative: Callable[[Any, Any], Any]

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> tuple[Any, Any]:
        y = xp.tanh(x)
        return y, y

    def vjp(self, xp: Any, cache: Any, dy: Any) -> Any:
        return self.derivative(xp, cache) * dy


@pytest.mark.parametrize("by", [1.0, 1e-3, 1e-5])
def test_an_error_in_one_unit_of_300_fails_and_is_located(by: float) -> None:
    def derivative(xp: Any, y: Any) -> Any:
        return (1 - y * y) * (1 + by * xp.astype(xp.arange(300) == 3, y.dtype))

    x, t = samples(40, 5)
    report = gradcheck(Sequential(Dense(300), WrongTanh(derivative), Dense(5)), SoftmaxCrossEntropy(), x, t)
    failed = [tensor for tensor in report.tensors if not tensor.passed]
    assert [tensor.name for tensor in failed] == ["dense1.W", "dense1.b", "input"]
    # the error is `by` in one unit of 300: relative to the whole gradient about by / sqrt(300)
    assert by / 170 < failed[0].error < by
    bias = failed[1].worst
    assert bias is not None
    if bias.index == (3,):  # where single entries were compared, 200 of 300 at random
        assert bias.analytic / bias.numerical == pytest.approx(1 + by, rel=1e-7)


def test_ratio_is_the_factor_a_gradient_is_off_by() -> None:
    x, t = samples(6, 3)
    doubled = WrongTanh(lambda xp, y: 2 * (1 - y * y))
    report = gradcheck(Sequential(Dense(8), doubled, Dense(3)), SoftmaxCrossEntropy(), x, t)
    ratios = {tensor.name: tensor.ratio for tensor in report.tensors}
    assert ratios["dense1.W"] == pytest.approx(2, rel=1e-7)
    assert ratios["dense2.W"] == pytest.approx(1, rel=1e-7)
    assert {tensor.name for tensor in report.tensors if not tensor.passed} == {"dense1.W", "dense1.b", "input"}


def test_a_mistake_in_a_custom_layer_is_named() -> None:
    x, t = samples(6, 3)
    missing = WrongTanh(lambda xp, y: 1.0)
    report = gradcheck(Sequential(Dense(8), missing, Dense(3)), SoftmaxCrossEntropy(), x, t)
    assert [m.id for m in report.mistakes] == ["activation-derivative-missing"]


@pytest.mark.parametrize("every_sample", [False, True])
def test_directions_through_a_kink_are_left_out_and_counted(every_sample: bool) -> None:
    """Inputs of 0 and no bias: z is exactly 0, in ReLU's corner, for one sample or for all."""
    x, t = samples(3, 2)
    x[: None if every_sample else 1] = 0.0
    network = Sequential(Dense(4, bias=False), ReLU(), Dense(2))
    report = gradcheck(network, SoftmaxCrossEntropy(), x, t)
    of_input = report.tensors[-1]
    assert of_input.kinks >= 4  # every direction moves a sample off the corner
    assert np.isnan(of_input.error) == every_sample  # else measured by the entries of the other samples
    assert of_input.passed == report.passed == (not every_sample)


def test_zero_biases_are_moved_so_that_a_penalty_on_them_shows() -> None:
    @dataclass(frozen=True)
    class OnBiasesToo(WeightPenalty):
        def add_gradients(self, xp: Any, network: Any, params: Any, grads: Any) -> Any:
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


@pytest.mark.parametrize(
    ("layer", "x", "t", "error", "message"),
    [
        (Dense(3), np.ones((4, 2)), [0, 1], DataError, "a label"),
        (Dense(3), np.full((2, 2), np.nan), [0, 1], DataError, "finite"),
        (Dense(3), np.ones((2, 2)), [0, 3], DataError, r"0\.\.2"),
        (Dense(1), np.ones((3, 2)), [0, 1, 2], DataError, r"0\.\.2 and 2 classes need 0\.\.1"),
        (Dense(1), np.ones((2, 2)), [[0], [3]], DataError, r"int64 of shape \(2, 1\).*floats of shape"),
        (ReLU(), np.ones((2, 2, 2)), [0, 1], ShapeError, "Dense"),
    ],
)
def test_inputs_and_labels_that_do_not_fit_are_refused(
    layer: Any, x: np.ndarray, t: list[int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gradcheck(Sequential(layer), SoftmaxCrossEntropy(), x, np.array(t))


@pytest.mark.parametrize(
    ("outputs", "loss", "targets"),
    [
        (3, SigmoidBinaryCrossEntropy(), np.arange(18).reshape(6, 3) % 4 > 1),
        (1, SigmoidBinaryCrossEntropy(), np.arange(6) > 2),
        (1, MeanSquaredError(), np.linspace(0, 1, 6)),
        (2, SoftmaxCrossEntropy(), ["cat", "dog"] * 3),
    ],
    ids=["several labels", "truth values", "numbers", "names"],
)
def test_targets_that_a_dataset_takes_are_taken(outputs: int, loss: Any, targets: Any) -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    assert gradcheck(Sequential(Dense(outputs)), loss, x, targets).passed


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
