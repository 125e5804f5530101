"""What the checks of a network look at: an objective, its parameters, and a few samples as it sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from backends import Array, Backend, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import Scaling
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import check_labels
from nnbackprop.nn.metrics import count_correct
from nnbackprop.nn.rng import RngKey
from nnbackprop.training.step import Objective

MOST = 200  # samples: means over them are sure to a few percent, and a pass takes milliseconds


@dataclass(frozen=True, eq=False)
class ModelProbe:
    """An objective on a backend, its parameters on the device, and the data it is for.

    `trained` says that the parameters are a run's, and not those a run begins with. Layers may be anybody's:
    they are only asked what `Layer` promises.
    """

    backend: Backend
    objective: Objective
    params: Params
    dataset: Dataset
    scaling: Scaling
    dtype: str = "float32"
    seed: int = 0
    trained: bool = False

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
        """The network as a run with this seed begins it."""
        host = objective.network.init((dataset.features,), seed, dtype)
        return cls(backend, objective, tree_map(backend.asarray, host), dataset, scaling, dtype, seed)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names."""
        return self.objective.network.names

    @cached_property
    def with_parameters(self) -> tuple[int, ...]:
        """Places of the layers that have parameters."""
        return tuple(i for i, p in enumerate(self.params) if p)

    def few(self, most: int) -> ModelProbe:
        """The same with `most` samples at most, the classes in turn, drawn by the seed."""
        labels = self.dataset.targets
        order = permutation(self.seed, 0, len(labels))
        nth = np.empty(len(labels), np.int64)  # the how manieth of its class
        for k in range(len(self.dataset.classes)):
            rows = order[labels[order] == k]
            nth[rows] = np.arange(len(rows))
        rows = order[np.argsort(nth[order], kind="stable")][:most]
        return replace(self, dataset=self.dataset.take(rows))

    def redrawn(self, seed: int) -> ModelProbe:
        """The same with other first weights."""
        host = self.objective.network.init((self.dataset.features,), self.seed + seed, self.dtype)
        return replace(self, params=tree_map(self.backend.asarray, host))

    @cached_property
    def x(self) -> Array:
        """The samples (n, features) as the network sees them."""
        return self.backend.asarray(self.scaling.apply(self.dataset.inputs, self.dtype))

    @cached_property
    def labels(self) -> Array:
        """Their labels (n,) on the device; DataError if they name no output."""
        check_labels(self.dataset.targets, max(2, len(self.dataset.classes)))
        return self.backend.asarray(self.dataset.targets)

    @property
    def told_apart(self) -> bool:
        """Whether the samples, scaled, are not all the same."""
        x = self.backend.to_numpy(self.x)
        return bool((x != x[:1]).any())

    def draw(self) -> RngKey:
        """The random numbers of the first step."""
        return RngKey(self.seed, self.backend.asarray(np.array(0, np.int32)))

    def outputs(self, x: Array, draw: RngKey | None = None) -> list[Array]:
        """What every layer gives for x, the input first."""
        outputs = [x]
        for i, (layer, p) in enumerate(zip(self.objective.network.layers, self.params, strict=True)):
            outputs.append(layer.forward(self.backend.xp, p, outputs[-1], draw and draw.at(i))[0])
        return outputs

    def hosted(self, x: Array, draw: RngKey | None = None) -> list[np.ndarray]:
        """The same on the host, in float64."""
        return [self.backend.to_numpy(y).astype(np.float64) for y in self.outputs(x, draw)]

    def loss(self, x: Array) -> tuple[float, float]:
        """Mean loss without penalties, and share of right answers, dropout off."""
        xp, objective = self.backend.xp, self.objective
        y = self.outputs(x)[-1]
        J, _ = objective.loss(xp, y, objective.targets(xp, y, self.labels))
        correct = count_correct(xp, y, self.labels, objective.threshold)
        return float(self.backend.to_numpy(J)), int(self.backend.to_numpy(correct)) / len(self.dataset)

    def zeros(self) -> Any:
        """An input of zeros, as many as there are samples."""
        return self.backend.asarray(np.zeros((len(self.dataset), self.dataset.features), self.dtype))
