"""What the checks of a network work on: an objective, its parameters, and the data it is for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from backends import Array, Backend, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import Scaling
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import check_labels
from nnbackprop.nn.metrics import decide
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.trace import Trace
from nnbackprop.training.step import Objective

MOST = 200  # samples: means over them are good to a few percent, and a pass takes milliseconds


@dataclass(frozen=True, eq=False)
class ModelProbe:
    """An objective on a backend, its parameters on the device, and the data it is for.

    `initial` are the parameters that a run started with, where `params` are those it came to. Layers may be
    anybody's: nothing but the `Layer` protocol is used.
    """

    backend: Backend
    objective: Objective
    params: Params
    dataset: Dataset
    scaling: Scaling
    dtype: str = "float32"
    seed: int = 0
    initial: Params | None = None

    @classmethod
    def at_start(
        cls,
        backend: Backend,
        objective: Objective,
        dataset: Dataset,
        scaling: Scaling,
        dtype: str = "float32",
        seed: int = 0,
    ) -> ModelProbe:
        """The network as a run with this seed starts."""
        host = objective.network.init(dataset.sample_shape, seed, dtype)
        return cls(backend, objective, tree_map(backend.asarray, host), dataset, scaling, dtype, seed)

    def few(self, most: int) -> ModelProbe:
        """The same with at most `most` samples, shuffled by the seed, the classes in turn."""
        rows = permutation(self.seed, 0, len(self.dataset))
        if self.dataset.classes:
            labels, counts = self.dataset.targets[rows], self.dataset.counts()
            turn = np.empty(len(rows), np.int64)  # 0 for the first of its class, 1 for the second ...
            by_class = np.argsort(labels, kind="stable")
            turn[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            rows = rows[np.argsort(turn, kind="stable")]
        return replace(self, dataset=self.dataset.take(rows[:most]))

    @cached_property
    def x(self) -> Array:
        """The samples as the network sees them."""
        return self.backend.asarray(self.scaling.apply(self.dataset.inputs, self.dtype))

    @cached_property
    def zeros(self) -> Array:
        """As many samples of zeros."""
        return self.backend.asarray(np.zeros(self.dataset.inputs.shape, self.dtype))

    @cached_property
    def targets(self) -> Array:
        """Their targets on the device; DataError if a label names no output."""
        if self.dataset.classes:
            check_labels(self.dataset.targets, max(2, len(self.dataset.classes)))
        return self.backend.asarray(self.dataset.targets)

    @property
    def varied(self) -> bool:
        """Whether the scaled samples differ at all."""
        x = self.backend.to_numpy(self.x)
        return bool((x != x[:1]).any())

    @property
    def key(self) -> RngKey:
        """The random numbers of the first step."""
        return RngKey(self.seed, self.backend.asarray(np.array(0, np.int32)))

    def trace(self, x: Array, key: RngKey | None = None) -> Trace:
        """A forward pass, layer by layer."""
        return self.objective.network.trace(self.backend.xp, self.params, x, key)

    def host(self, array: Array) -> np.ndarray:
        """A device array as float64 on the host."""
        return self.backend.to_numpy(array).astype(np.float64)

    def outputs(self, x: Array, key: RngKey | None = None) -> dict[str, np.ndarray]:
        """The scaled input and each layer's output, by name, on the host in float64."""
        layers = self.trace(x, key).layers
        return {"the scaled input": self.host(x)} | {f"layer {t.name}": self.host(t.y) for t in layers}

    def score(self, x: Array) -> tuple[float, float]:
        """Loss without penalties, and accuracy (NaN where targets are no class labels), in evaluation mode."""
        xp, objective = self.backend.xp, self.objective
        y = self.trace(x).y
        J, _ = objective.loss(xp, y, objective.loss.encode(xp, y, self.targets))
        if not self.dataset.classes:
            return float(self.host(J)), float("nan")
        right = decide(xp, y, objective.loss.threshold) == self.targets
        return float(self.host(J)), float(self.host(right).mean())
