"""Each fault is planted in a run that takes a moment, and must be found under its id and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from backends import select
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.diagnostics.monitor import Monitor
from nnbackprop.diagnostics.nan_tracing import trace_nan
from nnbackprop.errors import DivergedError
from nnbackprop.nn.initializers import Normal, Zeros
from nnbackprop.nn.layers import Dense, Dropout, Identity, Layer, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam, clip_by_global_norm
from nnbackprop.training.trainer import Trainer


def clouds(n: int = 120, features: int = 6, spread: float = 0.5, seed: int = 0) -> Dataset:
    """Four clouds of points, one a class, their centres 1 from the origin in each coordinate."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 4).astype(np.int32)
    centres = np.sign(np.random.default_rng(1).standard_normal((4, features)))
    return Dataset(centres[labels] + spread * rng.standard_normal((n, features)), labels, tuple("abcd"))


def shuffled(data: Dataset) -> Dataset:
    """The same samples under each other's labels."""
    return replace(data, targets=np.random.default_rng(2).permutation(data.targets))


def run(
    *layers: Layer, data: Dataset | None = None, validation: Dataset | None = None, **settings: Any
) -> Diagnosis:
    """The diagnosis of a run that ended, or diverged; its measurements depend on its steps alone."""
    given = {"lr": 0.1, "epochs": 20, "batch_size": 10, "backend": select("numpy"), **settings}
    loss, optimizer = given.pop("loss", SoftmaxCrossEntropy()), given.pop("optimizer", SGD())
    monitor = Monitor(share=0)
    trainer = Trainer(Sequential(*layers), loss, optimizer, callbacks=(monitor,), **given)
    try:
        trainer.fit(data or clouds(), validation)
    except DivergedError as error:
        monitor.history.fault = trace_nan(trainer, error)
    return monitor.diagnosis


def warned(diagnosis: Diagnosis) -> list[str]:
    """Ids of the warnings and faults."""
    return [finding.id for finding in diagnosis.findings if finding.level != "note"]


def stack(depth: int, activation: Layer, **dense: Any) -> list[Layer]:
    return [layer for _ in range(depth) for layer in (Dense(12, **dense), activation)]


@dataclass(frozen=True)
class Restless(Dropout):
    """Dropout that draws a mask in evaluation too, always the same."""

    def forward(self, xp: Any, params: Any, x: Any, key: RngKey | None) -> Any:
        return super().forward(xp, params, x, key or RngKey(0, xp.asarray(0, dtype=xp.int32)).at(0))


@dataclass(frozen=True, eq=False)
class Forgetful(Dropout):
    """Dropout of a generator of its own, which knows nothing of evaluation."""

    rng: Any = None

    def forward(self, xp: Any, params: Any, x: Any, key: RngKey | None) -> Any:
        m = xp.asarray(self.rng.random(x.shape) >= self.rate, dtype=x.dtype)
        return m * x / (1 - self.rate), m


def infinite() -> Diagnosis:
    """A feature in units so small that float32 cannot hold its values."""
    data = clouds()
    data.inputs[:, 0] *= 1e39
    with np.errstate(over="ignore"):
        return run(Dense(4), data=data)


FAULTS: dict[str, tuple[str, Callable[[], Diagnosis]]] = {
    "inputs-infinite": ("not-finite", infinite),
    "rate-hundredfold": ("rate-too-high", lambda: run(Dense(20), Tanh(), Dense(4), lr=30.0)),
    "rate-hundredfold-of-adam": (
        "rate-too-high",
        lambda: run(Dense(20), ReLU(), Dense(4), optimizer=Adam(), lr=1.0),
    ),
    "rate-of-a-millionth": ("rate-too-low", lambda: run(Dense(20), ReLU(), Dense(4), lr=1e-6)),
    "sigmoids-of-wide-weights": (
        "saturation",
        lambda: run(*stack(1, Sigmoid(), weights=Normal(10)), Dense(4, weights=Normal(10)), lr=0.01),
    ),
    "outputs-of-wide-weights": (
        "saturation",
        lambda: run(Dense(20), Dense(4, weights=Normal(50)), Sigmoid(), loss=MeanSquaredError()),
    ),
    "biases-of-minus-100": (
        "dead-relu",
        lambda: run(Dense(20, bias=Normal(1.0, mean=-100.0)), ReLU(), Dense(4)),
    ),
    "twelve-sigmoids": ("vanishing", lambda: run(*stack(12, Sigmoid()), Dense(4))),
    "wide-weights-in-depth": (
        "exploding",
        lambda: run(
            *stack(5, Identity(), weights=Normal(3.0)),
            Dense(4),
            clip=lambda xp, g: clip_by_global_norm(xp, g, 0.1),
        ),
    ),
    "weights-of-zero": (
        "plateau",
        lambda: run(Dense(20, weights=Zeros()), Tanh(), Dense(4, weights=Zeros())),
    ),
    "labels-of-others": (
        "plateau",
        lambda: run(Dense(4), data=shuffled(clouds(4000)), epochs=4, batch_size=40),
    ),
    "few-samples-by-heart": (
        "overfitting",
        lambda: run(
            Dense(100),
            ReLU(),
            Dense(4),
            data=shuffled(clouds(40)),
            validation=clouds(40, seed=5),
            optimizer=Adam(),
            lr=0.003,
        ),
    ),
    "dropout-that-never-rests": (
        "dropout-in-evaluation",
        lambda: run(Dense(40), ReLU(), Forgetful(0.2, np.random.default_rng(0)), Dense(4)),
    ),
    "dropout-of-one-mask": ("dropout-in-evaluation", lambda: run(Dense(40), Tanh(), Restless(0.2), Dense(4))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_under_its_id_alone(name: str) -> None:
    id, plant = FAULTS[name]
    diagnosis = plant()
    assert warned(diagnosis) == [id], diagnosis
