"""What is measured of a state, on a fixed batch of training samples and on the step that comes next.

All of it is computed on the device and read in one piece, so that a look is one wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import Array, Backend, Tree, device_of, tree_map
from nnbackprop.data.loader import DataLoader, get_batch
from nnbackprop.nn.layers import ReLU, Sigmoid, Tanh
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.metrics import count_correct
from nnbackprop.training.callbacks.base import LayerRow
from nnbackprop.training.step import TrainStep

SAMPLES = 256  # of the probe: a unit that answers 1 sample in 50 is silent on all of them once in 170 looks

FLAT = 0.01
"""A sigmoid or tanh is flat where its slope is under 1% of its greatest, at |z| > 6.0 and |z| > 3.0: what goes
back through it is less than a hundredth."""


@dataclass(frozen=True)
class Weighted:
    """A layer with weight matrices: norms of the weights, of the next update, and of dJ/dy on the probe."""

    name: str
    weights: float
    update: float
    delta: float

    @property
    def ratio(self) -> float:
        """Update-to-weight ratio."""
        return self.update / self.weights if self.weights else float("inf" if self.update else 0.0)


@dataclass(frozen=True)
class Units:
    """A layer of activations, and which share of it, 0..1, passes no gradient.

    Of a ReLU: units that are zero on all samples. Of a sigmoid or tanh: outputs, over units and samples, that are
    flat; where it ends the network, samples with an output that is flat and wrong, as right ones should be flat.
    """

    name: str
    kind: str  # relu, sigmoid or tanh
    units: int
    share: float
    output: bool = False  # whether it ends the network


@dataclass(frozen=True)
class ActivationStats:
    """One look, before step `step` + 1: loss, accuracy and units in evaluation mode, on `samples` samples."""

    step: int
    samples: int
    lr: float
    loss: float
    accuracy: float
    weighted: tuple[Weighted, ...]
    units: tuple[Units, ...]

    @property
    def largest(self) -> Weighted | None:
        """The layer with the largest update-to-weight ratio."""
        return max(self.weighted, key=lambda layer: layer.ratio, default=None)


@dataclass(frozen=True, eq=False)
class Probe:
    """A fixed batch, as `get_batch` returns it: inputs (n, features) and labels (n,), on the device.

    `commonest` is the share of the commonest class in the whole training part: what answering it always scores.
    """

    inputs: Array
    labels: Array
    commonest: float

    @classmethod
    def of(cls, xp: Any, loader: DataLoader) -> Probe:
        """Samples spread evenly over the training part, which may be sorted."""
        labels = loader.dataset.targets
        rows = np.linspace(0, len(labels) - 1, min(SAMPLES, len(labels))).astype(np.int64)
        x = tree_map(lambda a: loader.backend.asarray(a)[0, ...], loader.xs(rows.reshape(1, -1)))
        return cls(*get_batch(xp, loader.data, x)[:2], float(np.bincount(labels).max()) / len(labels))


def measure(
    backend: Backend,
    step: LookStep,
    state: Tree,
    data: Tree,
    xs: Tree,
    probe: Probe,
    rows: Sequence[LayerRow],
    at: int,
) -> ActivationStats:
    """Vital signs of `state`, which stands before step `at` + 1 and is not changed; `xs` is that step's chunk."""
    network, like = step.step.objective.network, probe.inputs
    table = backend.xp.zeros((len(rows) + 1, 4), dtype=like.dtype, device=device_of(like))
    read = {"state": state, "data": data, "inputs": like, "labels": probe.labels}
    first = tree_map(lambda a: a[:1, ...], xs)
    *found, run = backend.to_numpy(backend.scan(step, table, read, first)).astype(float).tolist()
    weighted, units = [], []
    for row, layer, params, (weights, update, delta, share) in zip(
        rows, network.layers, state["params"], found, strict=True
    ):
        if matrices(params):
            weighted.append(Weighted(row.name, weights, update, delta))
        if isinstance(layer, ReLU | Sigmoid | Tanh):
            kind, last = type(layer).__name__.lower(), row.index == len(rows)
            units.append(Units(row.name, kind, math.prod(row.out_shape), share, last))
    n = probe.labels.shape[0]
    return ActivationStats(at, n, run[2], run[0], run[1] / n, tuple(weighted), tuple(units))


@dataclass(frozen=True, eq=False)
class LookStep:
    """`table, data, x -> table`, for `Backend.scan`, so that a library that compiles steps compiles a look too.

    The table has a row a layer, (norm of weights, of update, of dJ/dy, idle share), and last (J, right answers,
    rate, 0); what a layer does not have is 0. `data` holds the training state, which is only read.
    """

    step: TrainStep

    def __call__(self, table: Array, data: Tree, x: Tree) -> Array:
        """Measure on the probe, in evaluation mode as dropout would hide what is dead, and take the next step."""
        xp, objective, params = self.step.xp, self.step.objective, data["state"]["params"]
        zero = table[0, 0] * 0
        y, caches, shares = data["inputs"], [], []
        for layer, p in zip(objective.network.layers, params, strict=True):
            y, cache = layer.forward(xp, p, y, None)
            caches.append(cache)
            shares.append(idle(xp, layer, y))
        targets = objective.targets(xp, y, data["labels"])
        J, dy = objective.loss(xp, y, targets)
        if not isinstance(layer, ReLU):
            shares[-1] = None if objective.loss.labels else stuck(xp, layer, y, targets)
        deltas = self._way_back(params, caches, dy)
        correct = count_correct(xp, y, data["labels"], objective.threshold)
        rows = [(*norms, deltas[i], shares[i]) for i, norms in enumerate(self._update(data, x))]
        rows.append((objective.penalised(xp, params, J), correct, x["scalars"]["lr"], None))
        return xp.stack([xp.stack([zero if a is None else xp.astype(a, zero.dtype) for a in row]) for row in rows])

    def _way_back(self, params: Params, caches: Sequence[Any], dy: Array) -> list[Array | None]:
        """Norm of dJ/dy of each layer with weight matrices; nothing is computed below the first of them."""
        xp, layers = self.step.xp, self.step.objective.network.layers
        weighted = [i for i, p in enumerate(params) if matrices(p)]
        deltas: list[Array | None] = [None] * len(params)
        for i in range(len(layers) - 1, min(weighted, default=len(layers)) - 1, -1):
            if i in weighted:
                deltas[i] = norm(xp, [dy])
            if i > weighted[0]:
                dy, _ = layers[i].backward(xp, params[i], caches[i], dy, True)
        return deltas

    def _update(self, data: Tree, x: Tree) -> Iterator[tuple[Array | None, Array | None]]:
        """Norms of each layer's weights and of what the next step, taken on a copy of the state, adds to them."""
        xp = self.step.xp
        copy = tree_map(lambda a: xp.asarray(a, copy=True), data["state"])
        after = self.step(copy, data["data"], x)["params"]
        for old, new in zip(data["state"]["params"], after, strict=True):
            names = matrices(old)
            if not names:
                yield None, None
                continue
            yield norm(xp, [old[name] for name in names]), norm(xp, [new[name] - old[name] for name in names])


def matrices(params: dict[str, Array]) -> list[str]:
    """Names of a layer's weight matrices: biases begin at zero, and no update is small beside that."""
    return [name for name, values in params.items() if values.ndim > 1]


def norm(xp: Any, arrays: Sequence[Array]) -> Array:
    """Euclidean norm of all numbers of some arrays."""
    return xp.sqrt(sum(xp.sum(a * a) for a in arrays))


def idle(xp: Any, layer: Any, y: Array) -> Array | None:
    """The share of a hidden layer that passes no gradient; see `Units`."""
    if isinstance(layer, ReLU):
        return xp.mean(xp.astype(xp.max(y, axis=0) <= 0, y.dtype))
    return xp.mean(xp.astype(flat(layer, y), y.dtype)) if isinstance(layer, Sigmoid | Tanh) else None


def stuck(xp: Any, layer: Any, y: Array, t: Array) -> Array | None:
    """The share of samples with an output that is flat and more than half its range from its target."""
    if not isinstance(layer, Sigmoid | Tanh):
        return None
    far = xp.abs(y - t) > (0.5 if isinstance(layer, Sigmoid) else 1.0)
    return xp.mean(xp.astype(xp.any(xp.logical_and(flat(layer, y), far), axis=1), y.dtype))


def flat(layer: Sigmoid | Tanh, y: Array) -> Array:
    """Where the slope of outputs y is under 1% of its greatest: 4 y (1 - y) and 1 - y^2."""
    slope = 4.0 * y * (1.0 - y) if isinstance(layer, Sigmoid) else 1.0 - y * y
    return slope < FLAT
