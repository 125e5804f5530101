"""Statistics of a state, on a fixed batch of training samples and on the step that comes next.

All of it is computed on the device, within `Backend.scan`, and read in one piece: a measurement is one wait.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np

from backends import Array, Backend, Tree, device_of, leaves, tree_map
from backends.base import Step
from nnbackprop.data.loader import DataLoader, get_batch
from nnbackprop.nn.layers import ReLU, Sigmoid, Tanh
from nnbackprop.nn.metrics import predicted_classes
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import LayerTrace
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

FEW = 32  # samples that randomness is measured on
SAMPLES = 256  # a unit that is active on 1 sample in 50 is zero on all of them once in 170 measurements

FLAT = 0.01
"""A sigmoid or tanh is flat where its slope is under 1% of its greatest, at |z| > 6.0 and |z| > 3.0."""


@dataclass(frozen=True)
class LayerStats:
    """Statistics of one layer; those it does not have are None.

    weights, update, delta   norms of its weight matrices, of their next update, and of dJ/dy
    idle   share, 0..1, that passes no gradient. Of a ReLU: units that are zero on all samples. Of a sigmoid or
           tanh: outputs, over units and samples, that are flat; where it is the last layer, samples with an output
           that is flat and wrong, as right ones should be flat.
    """

    name: str
    kind: str = ""  # the layer's class in lower case
    units: int = 0
    last: bool = False
    weights: float | None = None
    update: float | None = None
    delta: float = 0.0
    idle: float | None = None

    @property
    def ratio(self) -> float:
        """Update-to-weight ratio; 0 without weights."""
        if not self.weights:
            return float("inf" if self.update else 0.0)
        return (self.update or 0.0) / self.weights


@dataclass(frozen=True)
class LayerRandomness:
    """How much a layer's outputs differ, relative to their norm, between passes over the same inputs.

    evaluation, training   between two evaluations, and between two training steps
    dropped                share of nonzero inputs that are zero in evaluation's output
    """

    name: str
    evaluation: float
    training: float
    dropped: float


@dataclass(frozen=True)
class ActivationStats:
    """Statistics before step `step` + 1, of `samples` samples in evaluation mode."""

    step: int
    samples: int
    lr: float
    loss: float
    accuracy: float  # NaN where targets are no class labels
    layers: tuple[LayerStats, ...]

    @property
    def weighted(self) -> tuple[LayerStats, ...]:
        """The layers with weight matrices."""
        return tuple(layer for layer in self.layers if layer.weights is not None)

    @property
    def largest(self) -> LayerStats | None:
        """The layer with the largest update-to-weight ratio."""
        return max(self.weighted, key=lambda layer: layer.ratio, default=None)


def probe_batch(loader: DataLoader, samples: int) -> tuple[Array, Array]:
    """Inputs and targets on the device, spread evenly over the training part, which may be sorted."""
    n = len(loader.dataset)
    rows = np.linspace(0, n - 1, min(samples, n)).astype(np.int64)
    x = tree_map(lambda a: loader.backend.asarray(a)[0, ...], loader.batches(rows.reshape(1, -1)))
    return get_batch(loader.backend.xp, loader.data, x)[:2]


def measure(
    trainer: Trainer, stats_step: StatsStep, batch: tuple[Array, Array], state: Tree, xs: Tree, step: int
) -> ActivationStats:
    """Statistics of `state`, which is before step `step` + 1 and is not changed; `xs` is that step's chunk."""
    inputs, targets = batch
    layers = list(trainer.network.named_layers(state["params"]))
    data = {"state": state, "data": trainer.loader.data, "inputs": inputs, "targets": targets}
    *rows, totals = _scan_once(trainer.backend, stats_step, (len(layers) + 1, 4), data, xs)
    units = {row.name: math.prod(row.out_shape) for row in trainer.layers}
    stats: list[LayerStats] = []
    for (name, layer, params), row in zip(layers, rows, strict=True):
        weights, update, delta = row[:3] if matrices(params) else (None, None, 0.0)
        idle = row[3] if isinstance(layer, ReLU | Sigmoid | Tanh) else None
        kind, last = type(layer).__name__.lower(), len(stats) == len(rows) - 1
        stats.append(LayerStats(name, kind, units[name], last, weights, update, delta, idle))
    (J, right, lr, _), n = totals, targets.shape[0]
    accuracy = right / n if len(targets.shape) == 1 else math.nan
    return ActivationStats(step, n, lr, J, accuracy, tuple(stats))


def measure_randomness(
    trainer: Trainer, step: RandomnessStep, batch: tuple[Array, Array], state: Tree, xs: Tree
) -> list[LayerRandomness]:
    """What is random in the layers of `state`."""
    names = [name for name, _, _ in trainer.network.named_layers(state["params"])]
    data = {"params": state["params"], "inputs": batch[0][:FEW, ...]}
    rows = _scan_once(trainer.backend, step, (len(names), 3), data, xs)
    return [LayerRandomness(name, *row) for name, row in zip(names, rows, strict=True)]


def _scan_once(backend: Backend, step: Step, shape: tuple[int, int], data: Tree, xs: Tree) -> list[list[float]]:
    """The table of numbers that `step` makes of the first step of a chunk."""
    inputs, first = data["inputs"], tree_map(lambda a: a[:1, ...], xs)
    table = backend.xp.zeros(shape, dtype=inputs.dtype, device=device_of(inputs))
    return backend.to_numpy(backend.scan(step, table, data, first)).astype(float).tolist()


@dataclass(frozen=True, eq=False)
class StatsStep:
    """`table, data, x -> table`, for `Backend.scan`, so that a library that compiles steps compiles this too.

    The table has a row a layer, (norm of weights, of update, of dJ/dy, idle share), and last (J, right answers,
    rate, 0); what a layer does not have is 0. `data` holds the training state, which is only read.
    """

    step: TrainStep

    def __call__(self, table: Array, data: Tree, x: Tree) -> Array:
        """Measure in evaluation mode, as dropout would hide dead units, and take the next step on a copy."""
        xp, objective, params = self.step.xp, self.step.objective, data["state"]["params"]
        zero = table[0, 0] * 0
        run = objective.network.trace(xp, params, data["inputs"])
        t = objective.loss.encode(xp, run.y, data["targets"])
        J, dy = objective.loss(xp, run.y, t)
        deltas = {layer.name: norm(xp, [dy]) for layer, dy, _, _ in run.backward(xp, dy)}
        copy = tree_map(lambda a: xp.asarray(a, copy=True), data["state"])
        after = self.step(copy, data["data"], x)["params"]
        rows, last = [], run.layers[-1]
        for layer in run.layers:
            if isinstance(layer.layer, Sequential):
                continue  # the sum of a residual block
            old, new = matrices(layer.params), matrices(reduce(getitem, layer.path, after))
            update = [b - a for a, b in zip(old, new, strict=True)]
            norms = [norm(xp, old), norm(xp, update), deltas[layer.name]] if old else [zero] * 3
            rows.append([*norms, _idle(xp, layer, t if layer is last else None)])
        correct = zero
        if len(data["targets"].shape) == 1:
            right = predicted_classes(xp, run.y, objective.loss.threshold) == data["targets"]
            correct = xp.sum(xp.astype(right, zero.dtype))
        rows.append([objective.penalised(xp, params, J), correct, x["scalars"]["lr"], zero])
        return _stack(xp, [[zero if a is None else a for a in row] for row in rows], zero.dtype)


@dataclass(frozen=True, eq=False)
class RandomnessStep:
    """`table, data, x -> table`, for `Backend.scan`: a row a layer, the numbers of its `LayerRandomness`."""

    step: TrainStep

    def __call__(self, table: Array, data: Tree, x: Tree) -> Array:
        """Each layer's passes over the inputs that it has in evaluation."""
        xp, rows = self.step.xp, []
        keys = [RngKey(self.step.seed, number).at(0) for number in (x["step"], x["step"] + 1)]
        for t in self.step.objective.network.trace(xp, data["params"], data["inputs"]).layers:
            if isinstance(t.layer, Sequential):
                continue  # the sum of a residual block
            again, *trained = (t.layer.forward(xp, t.params, t.x, key)[0] for key in (None, *keys))
            dropped = xp.logical_and(t.x != 0, t.y == 0) if t.x.shape == t.y.shape else t.x != t.x
            share = xp.mean(xp.astype(dropped, t.y.dtype))
            rows.append([_difference(xp, t.y, again), _difference(xp, *trained), share])
        return _stack(xp, rows, table.dtype)


def _difference(xp: Any, y: Array, again: Array) -> Array:
    """||y - again|| / ||y||, and 0 where y is 0."""
    size = norm(xp, [y])
    return norm(xp, [y - again]) / xp.where(size > 0, size, xp.ones_like(size)) * xp.astype(size > 0, size.dtype)


def _stack(xp: Any, rows: list[list[Array]], dtype: Any) -> Array:
    return xp.stack([xp.stack([xp.astype(a, dtype) for a in row]) for row in rows])


def matrices(params: Tree) -> list[Array]:
    """A layer's weight matrices: biases start at zero, and no update is small beside that."""
    return [a for a in leaves(params) if len(a.shape) > 1]


def norm(xp: Any, arrays: Sequence[Array]) -> Array:
    """Euclidean norm of all numbers of some arrays, which does not overflow where they do not."""
    top = xp.max(xp.stack([xp.max(xp.abs(a)) for a in arrays]))
    unit = xp.where(top > 0, top, xp.ones_like(top))
    return unit * xp.sqrt(sum(xp.sum((a / unit) ** 2) for a in arrays))


def _idle(xp: Any, t: LayerTrace, targets: Array | None) -> Array | None:
    """The share of a layer that passes no gradient, as `LayerStats.idle` has it; `targets` of the last layer."""
    if isinstance(t.layer, ReLU):
        return xp.mean(xp.astype(xp.max(t.y, axis=0) <= 0, t.y.dtype))
    if not isinstance(t.layer, Sigmoid | Tanh):
        return None
    sigmoid = isinstance(t.layer, Sigmoid)
    idle = (4.0 * t.y * (1.0 - t.y) if sigmoid else 1.0 - t.y * t.y) < FLAT
    if targets is not None:
        if targets.shape != t.y.shape:
            return None
        wrong = xp.abs(t.y - targets) > (0.5 if sigmoid else 1.0)  # by more than half its range
        idle = xp.any(xp.logical_and(idle, wrong), axis=1)
    return xp.mean(xp.astype(idle, t.y.dtype))
