"""A fault planted in a network is found before training, under its id and no other; healthy ones raise nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from backends import Array, Backend, NumpyBackend, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling, fit_scaling
from nnbackprop.diagnostics.check import run_checks
from nnbackprop.diagnostics.doctor import START_CHECKS, TRAINED_CHECKS, ModelProbe
from nnbackprop.diagnostics.doctor.baseline_loss import baseline_loss
from nnbackprop.diagnostics.doctor.model_probe import MOST
from nnbackprop.diagnostics.findings import Diagnosis, Finding
from nnbackprop.nn.initializers import Glorot, He, Normal, Zeros
from nnbackprop.nn.layers import Activation, Dense, Dropout, Layer, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy, one_hot
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import SGD
from nnbackprop.runs import build
from nnbackprop.runs import config as configuration
from nnbackprop.runs.data_splits import DataSplits
from nnbackprop.training.step import Objective
from nnbackprop.training.trainer import Trainer

NUMPY = NumpyBackend()


def clouds(n: int = 60, features: int = 6) -> Dataset:
    """Four kinds of points, well apart."""
    rng = np.random.default_rng(5)
    labels = (np.arange(n) % 4).astype(np.int32)
    inputs = 2 * rng.standard_normal((4, features))[labels] + 0.5 * rng.standard_normal((n, features))
    return Dataset(inputs / inputs.std(), labels, tuple("abcd"))


def subject(*layers: Layer, backend: Backend = NUMPY, loss: Any = None, **more: Any) -> ModelProbe:
    objective = Objective(Sequential(*layers), loss or SoftmaxCrossEntropy(), more.pop("penalty", None))
    data, scaling = more.pop("data", None) or clouds(), more.pop("scaling", Scaling.identity())
    return ModelProbe.at_start(backend, objective, data, scaling, **more)


def check_start(probe: ModelProbe) -> Diagnosis:
    return run_checks(START_CHECKS, probe.few(MOST))


def check_trained(probe: ModelProbe) -> Diagnosis:
    return run_checks(TRAINED_CHECKS, probe.few(MOST))


def levels(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.id: finding.level for finding in diagnosis.findings}


def the(diagnosis: Diagnosis, id: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.id == id)


@dataclass(frozen=True)
class Centred(Activation):
    """y = x - mean over the batch, in training at least: batch normalisation without the rest."""

    always: bool = True

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        if not self.always and key is None:
            return x, False
        return x - xp.mean(x, axis=0, keepdims=True), True

    def vjp(self, xp: Any, centred: Any, dy: Array) -> Array:
        return dy - xp.mean(dy, axis=0, keepdims=True) if centred else dy


@dataclass(frozen=True)
class Passing(Activation):
    """y = forth x, and dx = back dy, whatever the other is; with `mixed`, dx of each sample is that of all."""

    forth: float = 1.0
    back: float = 1.0
    mixed: bool = False

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        return x * self.forth, None

    def vjp(self, xp: Any, cache: Any, dy: Array) -> Array:
        return dy + xp.sum(dy, axis=0, keepdims=True) if self.mixed else dy * self.back


class Noisy(Activation):
    """y = x + something else each time it is asked, in evaluation too."""

    def __init__(self) -> None:
        self.calls = itertools.count()

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        return x + 0.01 * math.sin(next(self.calls)), None

    def vjp(self, xp: Any, cache: Any, dy: Array) -> Array:
        return dy


@dataclass(frozen=True)
class Blind(Activation):
    """y = 1, whatever x is."""

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        return x * 0 + 1, None

    def vjp(self, xp: Any, cache: Any, dy: Array) -> Array:
        return dy * 0


@dataclass(frozen=True)
class Scaled(SoftmaxCrossEntropy):
    """The loss by a factor, and its gradient by another."""

    value: float = 1.0
    slope: float = 1.0

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        J, dy = super().__call__(xp, y, t, weights)
        return J * self.value, dy * self.slope


def hidden(*between: Layer, weights: Any = He()) -> tuple[Layer, ...]:  # noqa: B008 (frozen)
    return (Dense(16, weights=weights), ReLU(), *between, Dense(4, weights=weights))


# Healthy networks.


def test_a_healthy_network_passes_every_check(backend: Backend) -> None:
    network = subject(Dense(16), ReLU(), Dropout(0.3), Dense(4), backend=backend, penalty=WeightPenalty(l2=0.01))
    diagnosis = check_start(network)
    assert diagnosis == Diagnosis(passed=tuple(START_CHECKS))


@pytest.mark.parametrize("recipe", ["mnist", "ex4", "rashid", "weight-height"])
def test_the_recipes_are_healthy_from_any_seed(recipe: str) -> None:
    config = configuration.resolve(recipe, {})
    parts = DataSplits.load(config)
    objective = build.objective(config, config.outputs or len(parts.train.classes))
    scaling = fit_scaling(config.scale, parts.train)
    for seed in range(3):
        start = ModelProbe.at_start(NUMPY, objective, parts.train, scaling, config.dtype, seed)
        assert check_start(start) == Diagnosis(passed=tuple(START_CHECKS))


HEALTHY: list[Callable[[], tuple[Layer, ...]]] = [
    lambda: (Dense(4),),
    lambda: (Dense(4, weights=Zeros()),),  # right where there is no hidden layer
    lambda: (Dense(30), ReLU(), Dense(20), ReLU(), Dense(4)),
    lambda: (*(layer for _ in range(8) for layer in (Dense(32), ReLU())), Dense(4)),
    lambda: (*(layer for _ in range(5) for layer in (Dense(32, Glorot("uniform")), Tanh())), Dense(4)),
    lambda: (*(layer for _ in range(4) for layer in (Dense(32, Glorot("normal")), Sigmoid())), Dense(4)),
    lambda: (Dense(16, Normal(1.0)), Sigmoid(), Dense(4, Normal(1.0))),
    lambda: (Dense(16, Normal(0.05)), Tanh(), Dense(4, Normal(0.05))),
]


@pytest.mark.parametrize("layers", HEALTHY)
def test_other_healthy_networks(layers: Callable[[], tuple[Layer, ...]]) -> None:
    for seed in range(5):
        assert check_start(subject(*layers(), seed=seed)).findings == ()


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanSquaredError("mean"), SigmoidBinaryCrossEntropy()])
def test_healthy_networks_with_other_losses(loss: Any) -> None:
    for seed in range(5):
        assert check_start(subject(*hidden(), loss=loss, seed=seed)).findings == ()


def test_a_residual_network_is_healthy() -> None:
    layers = Dense(16, weights=He()), Residual(Dense(16), ReLU()), Dense(4)
    assert check_start(subject(*layers)) == Diagnosis(passed=tuple(START_CHECKS))


@pytest.mark.parametrize("loss", [MeanSquaredError(), SigmoidBinaryCrossEntropy()])
def test_numeric_targets_are_checked_without_accuracy(loss: Any) -> None:
    """A regression, and two labels a sample."""
    x = clouds().inputs
    targets = x[:, :2] if isinstance(loss, MeanSquaredError) else (x[:, :2] > 0).astype(np.float32)
    probe = subject(*hidden()[:-1], Dense(2), loss=loss, data=Dataset(x, targets, ()))
    assert check_start(probe) == Diagnosis(passed=tuple(START_CHECKS))
    ignored = check_start(subject(*hidden(Blind())[:-1], Dense(2), loss=loss, data=Dataset(x, targets, ())))
    assert levels(ignored)["input-ignored"] == "fault"
    assert "nan" not in the(ignored, "input-ignored").evidence


# Planted faults.


@pytest.mark.parametrize(
    ("between", "level", "words"),
    [
        (Centred(), "fault", "outputs of the other samples moved"),
        (Centred(always=False), "note", "in training alone"),
        (Passing(mixed=True), "fault", "gradients reached other samples"),
    ],
)
def test_a_layer_that_mixes_samples(between: Layer, level: str, words: str, backend: Backend) -> None:
    diagnosis = check_trained(subject(*hidden(between), backend=backend))
    assert levels(diagnosis) == {"batch-leak": level}
    assert words in diagnosis.findings[0].evidence
    kind = type(between).__name__.lower()
    assert f"layer {kind}1" in diagnosis.findings[0].evidence


def test_a_layer_that_draws_in_evaluation(backend: Backend) -> None:
    diagnosis = check_trained(subject(*hidden(Noisy()), backend=backend))
    assert levels(diagnosis) == {"evaluation-not-deterministic": "fault"}
    assert diagnosis.not_applicable == ("batch-leak",)
    assert "layer noisy1" in diagnosis.findings[0].evidence


def test_first_weights_that_are_too_large() -> None:
    diagnosis = check_start(subject(*hidden(weights=Normal(3.0))))
    assert levels(diagnosis) == {"initial-loss": "warning"}
    assert "ln 4 = 1.386" in diagnosis.findings[0].evidence


@pytest.mark.parametrize(
    ("id", "layer"), [("variance-forward", Passing(1e-5)), ("variance-backward", Passing(1, 1e-5))]
)
def test_a_signal_that_is_lost_on_one_way(id: str, layer: Layer) -> None:
    diagnosis = check_start(subject(*hidden(layer)))
    assert levels(diagnosis) == {id: "warning"}
    assert "dense1" in diagnosis.findings[0].evidence
    assert "dense2" in diagnosis.findings[0].evidence


def test_a_signal_that_grows_on_its_way() -> None:
    assert levels(check_start(subject(*hidden(Passing(1, 1e5))))) == {"variance-backward": "warning"}


def test_first_weights_that_are_too_small() -> None:
    deep = [layer for _ in range(4) for layer in (Dense(16, Normal(0.01)), Tanh())]
    found = levels(check_start(subject(*deep, Dense(4, Normal(0.01)))))
    assert found["variance-forward"] == found["variance-backward"] == "warning"


def test_a_loss_divided_once_too_often() -> None:
    diagnosis = check_start(subject(*hidden(), loss=Scaled(value=1 / 60, slope=1 / 60)))
    assert levels(diagnosis) == {"initial-loss": "fault"}
    assert "the best constant guess loses 1.386" in diagnosis.findings[0].evidence


def test_a_loss_that_overflows() -> None:
    assert levels(check_start(subject(*hidden(weights=Normal(1e30)))))["initial-loss"] == "fault"


def test_a_gradient_that_leads_uphill() -> None:
    diagnosis = check_start(subject(*hidden(), loss=Scaled(slope=-1.0)))
    assert levels(diagnosis) == {"cannot-overfit": "fault"}
    assert "20 samples alone" in diagnosis.findings[0].evidence


def test_a_layer_that_hands_no_gradient_back() -> None:
    assert levels(check_start(subject(*hidden(Passing(1, 0))))) == {"variance-backward": "fault"}


def test_an_input_that_is_not_looked_at() -> None:
    diagnosis = check_start(subject(*hidden(Blind())))
    assert levels(diagnosis)["input-ignored"] == "fault"
    assert "alike from layer blind1 on" in the(diagnosis, "input-ignored").evidence
    assert "cannot-overfit" in diagnosis.not_applicable


def test_a_scaling_that_makes_all_inputs_zero() -> None:
    nothing = Scaling(np.array(0.0), np.array(0.0))
    diagnosis = check_start(subject(*hidden(), scaling=nothing))
    assert levels(diagnosis) == {"input-ignored": "fault"}
    assert "alike from the scaled input on" in diagnosis.findings[0].evidence


def test_hidden_weights_of_zero() -> None:
    assert levels(check_start(subject(*hidden(weights=Zeros())))) == {
        "variance-forward": "fault",
        "variance-backward": "fault",
        "input-ignored": "fault",
    }


def test_trained_weights_that_forgot_their_input() -> None:
    """With weights that were driven to nothing the biases alone decide."""
    start = subject(*hidden())
    gone = tuple({"W": p["W"] * 0, "b": p["b"]} if p else {} for p in start.params)
    assert levels(check_trained(replace(start, params=gone, initial=start.params))) == {"input-ignored": "fault"}


def test_trained_weights_that_are_well() -> None:
    data = clouds()
    trainer = Trainer(Sequential(*hidden()), SoftmaxCrossEntropy(), SGD(), 0.1, backend=NUMPY, epochs=5)
    trainer.fit(data)
    objective, scaling = trainer.evaluator.objective, trainer.scaling
    start = ModelProbe.at_start(NUMPY, objective, data, scaling, trainer.dtype)
    trained = replace(start, params=trainer.params, initial=start.params)
    assert check_trained(trained) == Diagnosis(passed=tuple(TRAINED_CHECKS))


# What cannot be asked, and what checks leave alone.


def test_no_check_writes_to_the_parameters() -> None:
    start = subject(*hidden())
    before = tree_map(np.copy, start.params)
    check_start(start)
    for layer, kept in zip(start.params, before, strict=True):
        assert all(np.array_equal(layer[name], kept[name]) for name in kept)


def test_a_single_sample_leaves_most_unasked() -> None:
    one = clouds().take(np.array([0]))
    diagnosis = check_start(subject(*hidden(), data=one))
    assert diagnosis.findings == ()
    assert set(diagnosis.not_applicable) == set(START_CHECKS) - {"initial-loss", "evaluation-not-deterministic"}


def test_a_loss_that_is_not_known_is_not_judged() -> None:
    @dataclass(frozen=True)
    class Cubic:
        labels = False
        threshold = 0.5

        def encode(self, xp: Any, y: Array, targets: Array) -> Array:
            return one_hot(xp, targets, y.shape[1], y.dtype)

        def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
            e = y - t
            return xp.sum(xp.abs(e) ** 3) / y.shape[0], 3 * e * xp.abs(e) / y.shape[0]

    diagnosis = check_start(subject(*hidden(), loss=Cubic()))
    assert diagnosis.findings == ()
    assert diagnosis.not_applicable == ("initial-loss",)


LABELS = np.array([0, 0, 0, 1])


@pytest.mark.parametrize(
    ("loss", "outputs", "even", "best"),
    [
        (SoftmaxCrossEntropy(), 2, math.log(2), -0.75 * math.log(0.75) - 0.25 * math.log(0.25)),
        (SigmoidBinaryCrossEntropy(), 1, math.log(2), -0.75 * math.log(0.75) - 0.25 * math.log(0.25)),
        (SigmoidBinaryCrossEntropy(), 2, 2 * math.log(2), 2 * (-0.75 * math.log(0.75) - 0.25 * math.log(0.25))),
        (MeanSquaredError(), 2, 0.25, 0.1875),  # half of 1/2 and of 2 * 3/16
        (MeanSquaredError("mean"), 1, 0.25, 0.1875),
    ],
)
def test_what_knowing_nothing_costs(loss: Any, outputs: int, even: float, best: float) -> None:
    network = Sequential(Dense(outputs))
    guess = baseline_loss(Objective(network, loss), LABELS, outputs)
    assert guess is not None
    assert (guess.even, guess.best) == (pytest.approx(even), pytest.approx(best))


@pytest.mark.parametrize("outputs", [1, 2, 10])
def test_outputs_of_standard_deviation_4_lose_less_than_wild_ones(outputs: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, max(2, outputs), 20000)
    y = 4.0 * rng.standard_normal((20000, outputs))
    for loss in (SoftmaxCrossEntropy(), SigmoidBinaryCrossEntropy(), MeanSquaredError()):
        if outputs == 1 and loss.labels:
            continue
        objective = Objective(Sequential(Dense(outputs)), loss)
        guess = baseline_loss(objective, labels, outputs)
        assert guess is not None
        J = loss(NUMPY.xp, y, loss.encode(NUMPY.xp, y, labels))[0]
        assert guess.even < J < guess.wild
