"""Runs that take a moment, a fault planted in each, and what the monitor makes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from backends import select
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.diagnostics.monitor import Monitor
from nnbackprop.diagnostics.nan_tracing import trace_nan
from nnbackprop.errors import DivergedError
from nnbackprop.nn.initializers import Normal, Zeros
from nnbackprop.nn.layers import Dense, Identity, Layer, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam, GradientClipping
from nnbackprop.training.trainer import Trainer
from tests.support.clouds import cloud_dataset


def shuffled(data: Dataset) -> Dataset:
    """The same samples under each other's labels."""
    return replace(data, targets=np.random.default_rng(2).permutation(data.targets))


def too_large_for_float32() -> Dataset:
    data = cloud_dataset()
    data.inputs[:, 0] *= 1e39
    return data


def stack(depth: int, activation: Layer, **dense: Any) -> list[Layer]:
    return [layer for _ in range(depth) for layer in (Dense(12, **dense), activation)]


WIDE = {"weight_init": Normal(10)}

FAULTS: dict[str, tuple[str, list[Layer], dict[str, Any]]] = {
    "infinite-inputs": ("not-finite", [Dense(4)], {"data": too_large_for_float32()}),
    "rate-hundredfold": ("rate-too-high", [Dense(20), Tanh(), Dense(4)], {"lr": 30.0}),
    "rate-hundredfold-of-adam": (
        "rate-too-high",
        [Dense(20), ReLU(), Dense(4)],
        {"data": cloud_dataset(spread=1.0), "optimizer": Adam(), "lr": 1.0},
    ),
    "rate-of-a-millionth": ("rate-too-low", [Dense(20), ReLU(), Dense(4)], {"lr": 1e-6}),
    "wide-sigmoids": ("saturation", [*stack(1, Sigmoid(), **WIDE), Dense(4, **WIDE)], {"lr": 0.01}),
    "wide-outputs": (
        "saturation",
        [Dense(20), Dense(4, weight_init=Normal(50)), Sigmoid()],
        {"loss": MeanSquaredError()},
    ),
    "biases-of-minus-100": ("dead-relu", [Dense(20, bias_init=Normal(1.0, mean=-100.0)), ReLU(), Dense(4)], {}),
    "twelve-sigmoids": ("vanishing", [*stack(12, Sigmoid()), Dense(4)], {}),
    "wide-weights-in-depth": (
        "exploding",
        [*stack(5, Identity(), weight_init=Normal(3.0)), Dense(4)],
        {"optimizer": GradientClipping(SGD(), norm=0.1)},
    ),
    "weights-of-zero": ("plateau", [Dense(20, weight_init=Zeros()), Tanh(), Dense(4, weight_init=Zeros())], {}),
    "shuffled-labels": (
        "plateau",
        [Dense(4)],
        {"data": shuffled(cloud_dataset(4000)), "epochs": 4, "batch_size": 40},
    ),
    "few-samples-memorised": (
        "overfitting",
        [Dense(100), ReLU(), Dense(4)],
        {
            "data": shuffled(cloud_dataset(40)),
            "validation": cloud_dataset(40, seed=5),
            "optimizer": Adam(),
            "lr": 0.003,
        },
    ),
}
"""By a name of its own: the id it must be found under, the layers, and what else the trainer gets."""


def diagnosis_of(name: str) -> Diagnosis:
    """What the monitor finds in a run with that fault."""
    _, layers, settings = FAULTS[name]
    given = {
        "loss": SoftmaxCrossEntropy(),
        "optimizer": SGD(),
        "lr": 0.1,
        "epochs": 20,
        "batch_size": 10,
        **settings,
    }
    data, validation = given.pop("data", cloud_dataset()), given.pop("validation", None)
    monitor = Monitor(max_time_share=math.inf)  # its measurements depend on the steps alone
    trainer = Trainer(Sequential(*layers), callbacks=(monitor,), backend=select("numpy"), **given)
    try:
        with np.errstate(over="ignore"):
            trainer.fit(data, validation)
    except DivergedError as error:
        monitor.history.divergence = trace_nan(trainer, error)
    return monitor.diagnosis
