"""What is measured of a state, on a fixed batch of training samples and on the step that comes next.

All of it is computed on the device and read in one piece, so that a look is one wait.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import Array, Backend, Tree, tree_map
from nnbackprop.data.batches import Feed, fetch
from nnbackprop.layers import Layer, ReLU, Sigmoid, Tanh
from nnbackprop.metrics import count_correct
from nnbackprop.network import Params
from nnbackprop.training.step import TrainingStep

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
class Vitals:
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
    """A fixed batch, as `fetch` gives it: inputs (n, features) and labels (n,), on the device.

    `commonest` is the share of the commonest class in the whole training part: what answering it always scores.
    """

    inputs: Array
    labels: Array
    commonest: float

    @classmethod
    def of(cls, xp: Any, feed: Feed) -> Probe:
        """Samples spread evenly over the training part, which may be sorted."""
        labels = feed.dataset.labels
        rows = np.linspace(0, len(labels) - 1, min(SAMPLES, len(labels))).astype(np.int64)
        x = tree_map(lambda a: feed.backend.asarray(a)[0, ...], feed.xs(rows.reshape(1, -1)))
        return cls(*fetch(xp, feed.data, x), float(np.bincount(labels).max()) / len(labels))


Values = dict[tuple[str, int], Array]
"""0-d arrays by what they are and which layer's."""


def measure(
    backend: Backend, step: TrainingStep, state: Tree, data: Tree, x: Tree, probe: Probe, at: int
) -> Vitals:
    """Vital signs of `state`, which stands before step `at` + 1 and is not changed; `x` is that step's batch."""
    xp, network = step.xp, step.objective.network
    values = _on_probe(step, state["params"], probe) | _update(step, state, data, x)
    row = xp.stack([xp.astype(value, probe.inputs.dtype) for value in values.values()])
    found = dict(zip(values, backend.to_numpy(row).astype(float).tolist(), strict=True))
    weighted, units = [], []
    for i, (name, layer) in enumerate(zip(network.names, network.layers, strict=True)):
        if ("weights", i) in found:
            weighted.append(Weighted(name, *(found[what, i] for what in ("weights", "update", "delta"))))
        if ("share", i) in found:
            kind, last = type(layer).__name__.lower(), i + 1 == len(network.layers)
            units.append(Units(name, kind, round(found["width", i]), found["share", i], last))
    n = probe.labels.shape[0]
    loss, accuracy = found["loss", 0], found["correct", 0] / n
    return Vitals(at, n, found["lr", 0], loss, accuracy, tuple(weighted), tuple(units))


def _on_probe(step: TrainingStep, params: Params, probe: Probe) -> Values:
    """Loss, right answers, units and dJ/dy of each layer, in evaluation mode: dropout would hide what is dead."""
    xp, objective = step.xp, step.objective
    layers, y, caches = objective.network.layers, probe.inputs, []
    values: Values = {}
    for i, (layer, p) in enumerate(zip(layers, params, strict=True)):
        y, cache = layer.forward(xp, p, y, None)
        caches.append(cache)
        if i + 1 < len(layers) or isinstance(layer, ReLU):
            values |= _idle(xp, layer, y, i)
    targets = objective.targets(xp, y, probe.labels)
    J, dy = objective.loss(xp, y, targets)
    values["loss", 0] = objective.penalised(xp, params, J)
    values["correct", 0] = count_correct(xp, y, probe.labels, objective.threshold)
    if not objective.loss.labels:
        values |= _stuck(xp, layers[-1], y, targets, len(layers) - 1)
    return values | _way_back(xp, layers, params, caches, dy)


def _way_back(xp: Any, layers: Sequence[Layer], params: Params, caches: Sequence[Any], dy: Array) -> Values:
    """Norm of dJ/dy of each layer with weight matrices; nothing is computed below the first of them."""
    weighted = [i for i, p in enumerate(params) if _matrices(p)]
    values: Values = {}
    for i in range(len(layers) - 1, min(weighted, default=len(layers)) - 1, -1):
        if i in weighted:
            values["delta", i] = norm(xp, [dy])
        if i > weighted[0]:
            dy, _ = layers[i].backward(xp, params[i], caches[i], dy, True)
    return values


def _update(step: TrainingStep, state: Tree, data: Tree, x: Tree) -> Values:
    """Norms of the weights and of what the next step adds to them, found by taking it on a copy of the state."""
    xp = step.xp
    copy = tree_map(lambda a: xp.asarray(a, copy=True), state)
    after = step(copy, data, x)["params"]
    values: Values = {("lr", 0): x["scalars"]["lr"]}
    for i, (old, new) in enumerate(zip(state["params"], after, strict=True)):
        if names := _matrices(old):
            values["weights", i] = norm(xp, [old[name] for name in names])
            values["update", i] = norm(xp, [new[name] - old[name] for name in names])
    return values


def _matrices(params: dict[str, Array]) -> list[str]:
    """Names of a layer's weight matrices: biases begin at zero, and no update is small beside that."""
    return [name for name, values in params.items() if values.ndim > 1]


def norm(xp: Any, arrays: Sequence[Array]) -> Array:
    """Euclidean norm of all numbers of some arrays."""
    return xp.sqrt(sum(xp.sum(a * a) for a in arrays))


def _idle(xp: Any, layer: Any, y: Array, i: int) -> Values:
    """The share of a hidden layer that passes no gradient; see `Units`."""
    if isinstance(layer, ReLU):
        idle = xp.max(y, axis=0) <= 0
    elif isinstance(layer, Sigmoid | Tanh):
        idle = flat(layer, y)
    else:
        return {}
    return _share(xp, idle, y, i)


def _stuck(xp: Any, layer: Any, y: Array, t: Array, i: int) -> Values:
    """The share of samples with an output that is flat and more than half its range from its target."""
    if not isinstance(layer, Sigmoid | Tanh):
        return {}
    far = 0.5 if isinstance(layer, Sigmoid) else 1.0
    return _share(xp, xp.any(xp.logical_and(flat(layer, y), xp.abs(y - t) > far), axis=1), y, i)


def _share(xp: Any, idle: Array, y: Array, i: int) -> Values:
    share = xp.mean(xp.astype(idle, y.dtype))
    return {("share", i): share, ("width", i): xp.zeros_like(share) + math.prod(y.shape[1:])}


def flat(layer: Sigmoid | Tanh, y: Array) -> Array:
    """Where the slope of outputs y is under 1% of its greatest: 4 y (1 - y) and 1 - y^2."""
    slope = 4.0 * y * (1.0 - y) if isinstance(layer, Sigmoid) else 1.0 - y * y
    return slope < FLAT
