"""Forty runs with nothing wrong, short as a person's first tries are: the doctor finds nothing in any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import select
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.diagnostics.monitor import Monitor
from nnbackprop.runs import build
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_data import RunData
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer


@dataclass(frozen=True)
class HealthyRun:
    """A recipe and what is changed in it."""

    recipe: str
    overrides: dict[str, Any]
    cheap: bool = False  # enough to be among everyday tests

    def __str__(self) -> str:
        return " ".join([self.recipe, *(f"{name}={value}" for name, value in self.overrides.items())])


def _run(recipe: str, cheap: bool = False, **overrides: Any) -> HealthyRun:
    return HealthyRun(recipe, overrides, cheap)


RUNS = (
    # 784-512-256-10 and smaller, ReLU and others, with dropout and without
    _run("mnist", epochs=1),
    _run("mnist", cheap=True, epochs=2, hidden=[128, 64], lr=0.001),
    _run("mnist", epochs=3, hidden=[100], dropout=[], lr=0.005),
    _run("mnist-original", epochs=1, seed=1),
    _run("mnist-original", epochs=2, seed=2, hidden=[100], dropout=[0.2]),
    _run("mnist-original", epochs=2, hidden=[100], dropout=[], optimizer="momentum", lr=0.02),
    _run("mnist-original", epochs=1, seed=3, dropout=[], optimizer="nesterov", lr=0.01),
    _run("mnist-original", epochs=2, hidden=[128, 64], dropout=[], optimizer="rmsprop", lr=0.001),
    _run("mnist-original", epochs=2, hidden=[128, 64], dropout=[0.1], optimizer="adagrad", lr=0.01),
    _run("mnist-original", epochs=3, seed=4, hidden=[64], dropout=[], optimizer="adamw", lr=0.002),
    _run("mnist-original", epochs=5, hidden=[64], dropout=[], batch_size=500, lr=0.3, validation=0.1),
    _run("mnist-original", epochs=2, hidden=[100], dropout=[], activation="tanh", init="glorot-uniform", lr=0.1),
    _run(
        "mnist-original", epochs=2, hidden=[100], dropout=[], activation="sigmoid", init="glorot-uniform", lr=0.5
    ),
    _run("mnist-original", cheap=True, epochs=2, hidden=[64, 64, 64, 64], dropout=[], optimizer="adam", lr=0.001),
    _run(
        "mnist-original",
        cheap=True,
        epochs=3,
        hidden=[64],
        dropout=[],
        schedule="cosine",
        lr=0.2,
        label_smoothing=0.1,
    ),
    _run("mnist-original", epochs=4, hidden=[100], dropout=[], l2=1e-4, validation=0.2, patience=3, lr=0.1),
    # 400-26-10 on a full batch, which moves slowly and is right
    _run("ex4", epochs=60),
    _run("ex4", epochs=200),
    _run("ex4", epochs=300, seed=1),
    _run("ex4", epochs=300, seed=2),
    _run("ex4", epochs=400, seed=3),
    _run("ex4", epochs=300, optimizer="momentum", lr=0.1),
    _run("ex4", epochs=300, optimizer="nesterov", lr=0.3, seed=4),
    _run("ex4", epochs=200, optimizer="adam", lr=0.01),
    _run("ex4", epochs=200, optimizer="adamw", lr=0.01, seed=5),
    _run("ex4", epochs=200, optimizer="rmsprop", lr=0.003),
    _run("ex4", epochs=300, optimizer="adagrad", lr=0.05),
    _run("ex4", cheap=True, epochs=20, batch_size=20, lr=0.5),
    # one sample at a time
    _run("rashid", epochs=1),
    _run("rashid", epochs=1, seed=1, lr=0.2),
    _run("rashid", epochs=2, seed=2, batch_size=10, lr=0.5, hidden=[200]),
    _run("rashid", epochs=2, batch_size=20, optimizer="adam", lr=0.002),
    _run("rashid", cheap=True, epochs=2, batch_size=20, optimizer="momentum", lr=0.1),
    # four people
    _run("weight-height"),
    _run("weight-height", cheap=True, seed=1),
    _run("weight-height", seed=2),
    _run("weight-height", seed=3, optimizer="momentum", lr=0.05),
    _run("weight-height", cheap=True, seed=4, optimizer="adam", lr=0.02),
    _run("weight-height", seed=5, optimizer="rmsprop", lr=0.01),
    _run("weight-height", seed=6, batch_size="full", optimizer="adagrad", lr=0.3),
)


def trained(run: HealthyRun) -> tuple[Trainer, Monitor]:
    """The run's trainer after it, on NumPy and in memory, and its monitor."""
    settings = resolve(run.recipe, {**run.overrides, "backend": "numpy"})
    parts = RunData.load(settings)
    trainer = build.trainer(settings, select("numpy"), parts.train, fit_scaling(settings.scale, parts.train))
    monitor = Monitor()
    trainer.set_options(callbacks=(monitor, EarlyStopping(settings.patience)))
    trainer.fit(parts.train, parts.validation, None)
    return trainer, monitor
