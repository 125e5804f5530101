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
from nnbackprop.diagnostics.doctor import START_CHECKS, TRAINED_CHECKS, ModelProbe
from nnbackprop.diagnostics.doctor.probes import MAX_SAMPLES
from nnbackprop.diagnostics.doctor.start import baseline_loss
from nnbackprop.diagnostics.findings import Diagnosis, run_checks
from nnbackprop.nn.initializers import Glorot, He, Normal, Zeros
from nnbackprop.nn.layers import Activation, Dense, Dropout, Layer, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import Loss, MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import SGD
from nnbackprop.runs import build
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_data import RunData
from nnbackprop.training.trainer import Trainer
from tests.support.clouds import cloud_dataset

NUMPY = NumpyBackend()
HEALTHY = Diagnosis(passed=tuple(START_CHECKS))


def probe(*layers: Layer, backend: Backend = NUMPY, loss: Any = None, **more: Any) -> ModelProbe:
    objective = Objective(Sequential(*layers), loss or SoftmaxCrossEntropy(), more.pop("penalty", None))
    data, scaling = more.pop("data", None) or cloud_dataset(60), more.pop("scaling", Scaling.identity())
    return ModelProbe(backend, objective, data, scaling, **more)


def check_start(probe: ModelProbe) -> Diagnosis:
    return run_checks(START_CHECKS, probe.subset(MAX_SAMPLES))


def check_trained(probe: ModelProbe) -> Diagnosis:
    return run_checks(TRAINED_CHECKS, probe.subset(MAX_SAMPLES))


def levels(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.id: finding.level for finding in diagnosis.findings}


@dataclass(frozen=True)
class Centred(Activation):
    """y = x - mean over the batch, in training at least: batch normalization without the rest."""

    always: bool = True

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        if not self.always and key is None:
            return x, False
        return x - xp.mean(x, axis=0, keepdims=True), True

    def vjp(self, xp: Any, centred: Any, dy: Array) -> Array:
        return dy - xp.mean(dy, axis=0, keepdims=True) if centred else dy


@dataclass(frozen=True)
class Factor(Activation):
    """y = forth x, and dx = back dy, whatever the other is."""

    forth: float = 1.0
    back: float = 1.0

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        return x * self.forth, None

    def vjp(self, xp: Any, cache: Any, dy: Array) -> Array:
        return dy * self.back


class Noisy(Factor):
    """y = x + something else in each call, in evaluation too."""

    calls = itertools.count()

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        return x + 0.01 * (next(self.calls) % 97), None


@dataclass(frozen=True)
class Scaled(SoftmaxCrossEntropy):
    """The loss by a factor, and its gradient by another."""

    value: float = 1.0
    slope: float = 1.0

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        J, dy = super().__call__(xp, y, t, weights)
        return J * self.value, dy * self.slope


def hidden(*between: Layer, weights: Any = He(), outputs: int = 4) -> tuple[Layer, ...]:  # noqa: B008 (frozen)
    return (Dense(16, weight_init=weights), ReLU(), *between, Dense(outputs, weight_init=weights))


def stack(depth: int, activation: Layer, *dense: Any) -> tuple[Layer, ...]:
    return (*(layer for _ in range(depth) for layer in (Dense(*dense), activation)), Dense(4, *dense[1:]))


# Healthy networks.


def test_a_healthy_network_passes_every_check(backend: Backend) -> None:
    network = probe(*hidden(Dropout(0.3)), backend=backend, penalty=WeightPenalty(l2=0.01))
    assert check_start(network) == HEALTHY


@pytest.mark.parametrize("recipe", ["mnist", "mnist-original", "ex4", "rashid", "weight-height"])
def test_the_recipes_are_healthy_from_any_seed(recipe: str) -> None:
    config = resolve(recipe, {})
    train = RunData.load(config).train
    objective = build.objective(config, config.n_outputs or len(train.classes))
    for seed in range(3):
        start = ModelProbe(NUMPY, objective, train, fit_scaling(config.scale, train), config.dtype, seed)
        assert check_start(start) == HEALTHY


@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ((Dense(4),), None),
        ((Dense(4, weight_init=Zeros()),), None),  # right where there is no hidden layer
        ((Dense(30), ReLU(), Dense(20), ReLU(), Dense(4)), None),
        (stack(8, ReLU(), 32), None),
        (stack(5, Tanh(), 32, Glorot("uniform")), None),
        (stack(4, Sigmoid(), 32, Glorot("normal")), None),
        (stack(1, Sigmoid(), 16, Normal(1.0)), None),
        (stack(1, Tanh(), 16, Normal(0.05)), None),
        ((Dense(16, weight_init=He()), Residual(Dense(16), ReLU()), Dense(4)), None),
        (hidden(), MeanSquaredError()),
        (hidden(), MeanSquaredError("mean")),
        (hidden(), SigmoidBinaryCrossEntropy()),
    ],
)
def test_other_healthy_networks_have_no_finding(layers: tuple[Layer, ...], loss: Any) -> None:
    for seed in range(5):
        assert check_start(probe(*layers, loss=loss, seed=seed)).findings == ()


@pytest.mark.parametrize("loss", [MeanSquaredError(), SigmoidBinaryCrossEntropy()])
def test_numeric_targets_are_checked_without_accuracy(loss: Any) -> None:
    """A regression, and two labels for each sample."""
    x = cloud_dataset(60).inputs
    targets = x[:, :2] if isinstance(loss, MeanSquaredError) else (x[:, :2] > 0).astype(np.float32)
    data = Dataset(x, targets, ())
    assert check_start(probe(*hidden(outputs=2), loss=loss, data=data)) == HEALTHY
    ignored = check_start(probe(*hidden(Factor(0, 0), outputs=2), loss=loss, data=data))
    assert levels(ignored)["input-ignored"] == "fault"
    assert "nan" not in str(ignored)


# Planted faults.


@pytest.mark.parametrize(
    ("between", "id", "level", "evidence"),
    [
        (Centred(), "batch-leak", "fault", "changing one sample changes the outputs of the others"),
        (Centred(always=False), "batch-leak", "note", "in training alone"),
        (Noisy(), "evaluation-not-deterministic", "fault", "from layer noisy1 on"),
    ],
)
def test_a_layer_that_misbehaves_is_named(
    between: Layer, id: str, level: str, evidence: str, backend: Backend
) -> None:
    diagnosis = check_trained(probe(*hidden(between), backend=backend))
    assert levels(diagnosis) == {id: level}
    assert evidence in diagnosis.findings[0].evidence
    assert f"layer {type(between).__name__.lower()}1" in diagnosis.findings[0].evidence
    assert diagnosis.not_applicable == (("batch-leak",) if isinstance(between, Noisy) else ())


IGNORES_ITS_INPUT = {"variance-forward": "fault", "variance-backward": "fault", "input-ignored": "fault"}

FAULTS: dict[str, tuple[Callable[[], ModelProbe], dict[str, str], str]] = {
    # with the levels of all findings by id, and what their text says
    "initial-weights-too-large": (
        lambda: probe(*hidden(weights=Normal(3.0))),
        {"initial-loss": "warning"},
        "an untrained network starts near ln 4 = 1.386",
    ),
    "initial-weights-too-small": (
        lambda: probe(*stack(4, Tanh(), 16, Normal(0.01))),
        {"variance-forward": "warning", "variance-backward": "warning"},
        "Initial weights too small",
    ),
    "signal-lost": (lambda: probe(*hidden(Factor(1e-5))), {"variance-forward": "warning"}, "by dense2"),
    "gradient-lost": (lambda: probe(*hidden(Factor(1, 1e-5))), {"variance-backward": "warning"}, "by dense1"),
    "gradient-that-grows": (lambda: probe(*hidden(Factor(1, 1e5))), {"variance-backward": "warning"}, "too large"),
    "no-gradient": (lambda: probe(*hidden(Factor(1, 0))), {"variance-backward": "fault"}, "dense1 0"),
    "loss-divided-twice": (
        lambda: probe(*hidden(), loss=Scaled(value=1 / 60, slope=1 / 60)),
        {"initial-loss": "fault"},
        "the best constant guess has a loss of 1.386",
    ),
    "gradient-uphill": (
        lambda: probe(*hidden(), loss=Scaled(slope=-1.0)),
        {"cannot-overfit": "fault"},
        "20 samples alone",
    ),
    "inputs-scaled-to-zero": (
        lambda: probe(*hidden(), scaling=Scaling(np.array(0.0), np.array(0.0))),
        {"input-ignored": "fault"},
        "All samples are equal from the scaled input on",
    ),
    "hidden-weights-of-zero": (
        lambda: probe(*hidden(weights=Zeros())),
        IGNORES_ITS_INPUT,
        "equal from layer dense1",
    ),
    "a-constant-layer": (lambda: probe(*hidden(Factor(0, 0))), IGNORES_ITS_INPUT, "equal from layer factor1 on"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_under_its_id_alone(name: str) -> None:
    plant, expected, text = FAULTS[name]
    diagnosis = check_start(plant())
    assert levels(diagnosis) == expected
    assert text in " ".join(str(diagnosis).split())
    assert ("cannot-overfit" in diagnosis.not_applicable) == ("input-ignored" in expected)


def test_an_infinite_loss_is_a_fault() -> None:
    assert levels(check_start(probe(*hidden(weights=Normal(1e30)))))["initial-loss"] == "fault"


def test_trained_weights_of_zero_ignore_the_input() -> None:
    start = probe(*hidden())
    gone = tuple({"W": p["W"] * 0, "b": p["b"]} if p else {} for p in start.params)
    assert levels(check_trained(replace(start, trained=gone))) == {"input-ignored": "fault"}


def test_trained_weights_pass_every_check() -> None:
    data = cloud_dataset(60)
    trainer = Trainer(Sequential(*hidden()), SoftmaxCrossEntropy(), SGD(), 0.1, backend=NUMPY, epochs=5)
    trainer.fit(data)
    trained = ModelProbe(
        NUMPY, trainer.evaluator.objective, data, trainer.scaling, trainer.dtype, trained=trainer.params
    )
    assert check_trained(trained) == Diagnosis(passed=tuple(TRAINED_CHECKS))


# What does not apply, and what checks leave alone.


def test_no_check_writes_to_the_parameters() -> None:
    start = probe(*hidden())
    before = tree_map(np.copy, start.params)
    run_checks(START_CHECKS, start)
    for layer, kept in zip(start.params, before, strict=True):
        assert all(np.array_equal(layer[name], kept[name]) for name in kept)


def test_most_checks_do_not_apply_to_a_single_sample() -> None:
    diagnosis = check_start(probe(*hidden(), data=cloud_dataset(60).take(np.array([0]))))
    assert diagnosis.findings == ()
    assert set(diagnosis.not_applicable) == set(START_CHECKS) - {"initial-loss", "evaluation-not-deterministic"}


def test_an_unknown_loss_is_not_judged() -> None:
    @dataclass(frozen=True)
    class Cubic(Loss):
        def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
            e = y - t
            return xp.sum(xp.abs(e) ** 3) / y.shape[0], 3 * e * xp.abs(e) / y.shape[0]

    diagnosis = check_start(probe(*hidden(), loss=Cubic()))
    assert diagnosis.findings == ()
    assert diagnosis.not_applicable == ("initial-loss",)


ENTROPY = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)


@pytest.mark.parametrize(
    ("loss", "outputs", "best", "equal"),
    [
        (SoftmaxCrossEntropy(), 2, ENTROPY, f"ln 2 = {math.log(2):.3f}"),
        (SigmoidBinaryCrossEntropy(), 1, ENTROPY, f"ln 2 = {math.log(2):.3f}"),
        (SigmoidBinaryCrossEntropy(), 2, 2 * ENTROPY, f"2 ln 2 = {2 * math.log(2):.3f}"),
        (MeanSquaredError(), 2, 0.1875, "the loss of outputs of 0.5"),  # half of 2 * 3/16
        (MeanSquaredError("mean"), 1, 0.1875, "the loss of outputs of 0.5"),
    ],
)
def test_the_best_constant_loses_the_entropy_or_the_variance(
    loss: Any, outputs: int, best: float, equal: str
) -> None:
    baseline = baseline_loss(Objective(Sequential(Dense(outputs)), loss), np.array([0, 0, 0, 1]), outputs)
    assert baseline == (pytest.approx(best), equal)
