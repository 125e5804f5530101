"""The six works: each a recipe with its flags, and the arrays every contestant is given of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backends import select
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import Scaling, fit_scaling
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import one_hot
from nnbackprop.runs import build
from nnbackprop.runs import config as configuration
from nnbackprop.runs.config import Config
from nnbackprop.runs.data_splits import DataSplits


@dataclass(frozen=True)
class Work:
    """An experiment to be timed.

    A time is told for `steps` steps, which `unit` puts in words. A compiled loop takes `chunk` steps at once, as
    the trainer's does. `pairs` is how far weights may be apart after 20 steps of the same work, by norm.
    """

    title: str
    recipe: str
    flags: Mapping[str, Any]
    unit: str
    steps: int
    chunk: int
    pairs: float

    @property
    def config(self) -> Config:
        """The experiment, as `nnbackprop train` would run it."""
        return configuration.resolve(self.recipe, dict(self.flags))


ADAM = {"optimizer": "adam", "lr": 0.001}
WORKS = {
    "W1": Work("784-512-256-10, dropout, SGD", "mnist", {}, "epoch of 60,000", 500, 20, 1e-4),
    "W1n": Work("the same, no dropout", "mnist", {"dropout": (0.0,)}, "epoch of 60,000", 500, 20, 1e-4),
    "W1a": Work(
        "the same, no dropout, Adam", "mnist", {"dropout": (0.0,), **ADAM}, "epoch of 60,000", 500, 20, 1e-2
    ),
    "W2": Work("400-26-10, sigmoid, full batch, float64", "ex4", {}, "1,000 iterations", 1000, 20, 1e-12),
    "W3": Work("784-100-10, sigmoid, batch 1", "rashid", {}, "60,000 updates", 60_000, 1000, 1e-4),
    "W4": Work(
        "784-4096-4096-10, batch 1,024, Adam",
        "mnist",
        {"hidden": (4096, 4096), "dropout": (0.0,), "batch_size": 1024, **ADAM, "lr": 0.0001},
        "10 steps",
        10,
        2,
        1e-2,
    ),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """What a contestant is given: the configuration, data, first weights, and the order of the samples."""

    config: Config
    train: Dataset
    scaling: Scaling
    weights: Params

    @classmethod
    def of(cls, work: Work) -> Problem:
        """Read the data and draw the weights."""
        config = work.config
        train = DataSplits.load(config).train
        network = build.network(config, len(train.classes))
        weights = network.init((train.features,), config.seed, config.params_dtype)
        return cls(config, train, fit_scaling(config.scale, train), tuple(layer for layer in weights if layer))

    @property
    def batch(self) -> int:
        """Samples a step."""
        return build.batch_size(self.config, len(self.train.targets))

    @cached_property
    def x(self) -> np.ndarray:
        """Scaled inputs (n, features), of the work's dtype."""
        return self.scaling.apply(self.train.inputs, self.config.params_dtype)

    @cached_property
    def t(self) -> np.ndarray:
        """Labels (n,) int32, or targets (n, k) of the work's dtype for a squared error."""
        if not self.squared:
            return self.train.targets
        dtype = np.dtype(self.config.params_dtype)
        return one_hot(np, self.train.targets, len(self.train.classes), dtype, *self.config.targets)

    @property
    def squared(self) -> bool:
        """Whether the loss is half the squared error of sigmoid outputs; else cross-entropy of softmax."""
        return self.config.loss == "half-mse"

    @cached_property
    def order(self) -> np.ndarray:
        """The rows of one epoch, (steps, batch), the ragged batch left out."""
        rows = permutation(self.config.seed, 1, len(self.train.targets)).astype(np.int32)
        return rows[: len(rows) // self.batch * self.batch].reshape(-1, self.batch)

    def batches(self, at: int, steps: int) -> np.ndarray:
        """Rows (steps, batch) of `steps` steps from step `at` on, over as many epochs as it takes."""
        return self.order[np.arange(at, at + steps) % len(self.order)]

    def loss(self, weights: Params) -> float:
        """The loss of given weights on the first rows of the order, dropout off, computed by us in float64."""
        rows = self.order.reshape(-1)[:5000]
        arrays = [{name: np.asarray(w, np.float64) for name, w in layer.items()} for layer in weights]
        objective = build.objective(self.config, len(self.train.classes))
        filled = iter(arrays)
        params = tuple(next(filled) if hasattr(layer, "units") else {} for layer in objective.network.layers)
        x = self.x[rows].astype(np.float64)
        J, _ = objective.value(select("numpy").xp, params, x, self.train.targets[rows], None)
        return float(J)
