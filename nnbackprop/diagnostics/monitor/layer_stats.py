"""Statistics of a training state, layer by layer: on a fixed batch of samples, and of the step that comes next.

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

from backends import Array, Tree, device_of, leaves, tree_map
from nnbackprop.data.batch import get_batch
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.nn.layers import ReLU, Sigmoid, Tanh
from nnbackprop.nn.metrics import predicted_classes
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import LayerTrace
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

SAMPLES = 256  # a unit that is active on 1 sample in 50 is zero on all of them once in 170 measurements

SATURATED_SLOPE = 0.01
"""A sigmoid or tanh is saturated where its slope is under 1% of its greatest, at |z| > 6.0 and |z| > 3.0."""


@dataclass(frozen=True)
class LayerStats:
    """Statistics of one layer; those it does not have are None.

    weight_norm, update_norm, dy_norm   of its weight matrices, of their next update, and of dJ/dy
    inactive   fraction, 0..1, that passes no gradient. Of a ReLU: units that are zero on all samples. Of a sigmoid
               or tanh: outputs, over units and samples, that are saturated; where it is the last layer, samples
               with an output that is saturated and wrong, as right ones should be saturated.
    """

    name: str
    kind: str = ""  # the layer's class in lower case
    units: int = 0
    last: bool = False
    weight_norm: float | None = None
    update_norm: float | None = None
    dy_norm: float = 0.0
    inactive: float | None = None

    @property
    def update_ratio(self) -> float:
        """Update-to-weight ratio; 0 without weights."""
        if not self.weight_norm:
            return math.inf if self.update_norm else 0.0
        return (self.update_norm or 0.0) / self.weight_norm


@dataclass(frozen=True)
class NetworkStats:
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
        return tuple(layer for layer in self.layers if layer.weight_norm is not None)

    @property
    def largest_update(self) -> LayerStats:
        """The layer with the largest update-to-weight ratio; without layers, one whose ratio is 0."""
        return max(self.weighted, key=lambda layer: layer.update_ratio, default=LayerStats(""))


def probe_batch(device_data: DeviceDataset, samples: int) -> tuple[Array, Array]:
    """Inputs and targets on the device, spread evenly over the training part, which may be sorted."""
    n = len(device_data.dataset)
    rows = np.linspace(0, n - 1, min(samples, n)).astype(np.int64)
    x = tree_map(lambda a: device_data.backend.asarray(a)[0, ...], device_data.batches(rows.reshape(1, -1)))
    return get_batch(device_data.backend.xp, device_data.arrays, x)[:2]


def measure(
    trainer: Trainer, stats_step: StatsStep, batch: tuple[Array, Array], state: Tree, batches: Tree, step: int
) -> NetworkStats:
    """Statistics of `state`, which is before step `step` + 1 and not changed; `batches` is that step's chunk."""
    backend, (inputs, targets) = trainer.backend, batch
    layers = list(trainer.network.named_layers(state["params"]))
    constants = {"state": state, "data": trainer.device_data.arrays, "inputs": inputs, "targets": targets}
    table = backend.xp.zeros((len(layers) + 1, 4), dtype=inputs.dtype, device=device_of(inputs))
    table = backend.scan(stats_step, table, constants, tree_map(lambda a: a[:1, ...], batches))
    *rows, (J, correct, lr, _) = backend.to_numpy(table).astype(float).tolist()
    units = {row.name: math.prod(row.out_shape) for row in trainer.layer_table}
    stats: list[LayerStats] = []
    for (name, layer, params), row in zip(layers, rows, strict=True):
        weight_norm, update_norm, dy_norm = row[:3] if matrices(params) else (None, None, 0.0)
        inactive = row[3] if isinstance(layer, ReLU | Sigmoid | Tanh) else None
        kind, last = type(layer).__name__.lower(), len(stats) == len(rows) - 1
        stats.append(
            LayerStats(
                name=name,
                kind=kind,
                units=units[name],
                last=last,
                weight_norm=weight_norm,
                update_norm=update_norm,
                dy_norm=dy_norm,
                inactive=inactive,
            )
        )
    n = targets.shape[0]
    accuracy = correct / n if len(targets.shape) == 1 else math.nan
    return NetworkStats(step=step, samples=n, lr=lr, loss=J, accuracy=accuracy, layers=tuple(stats))


@dataclass(frozen=True, eq=False)
class StatsStep:
    """`table, constants, batch -> table`, for `Backend.scan`: a library that compiles steps compiles this too.

    The table has a row a layer, (weight norm, update norm, dy norm, inactive fraction), and last (J, correct
    answers, learning rate, 0); what a layer does not have is 0. `constants` hold the training state, which is only
    read.
    """

    step: TrainStep

    def __call__(self, table: Array, constants: Tree, batch: Tree) -> Array:
        """Measure in evaluation mode, as dropout would hide dead units, and take the next step on a copy."""
        xp, objective, params = self.step.xp, self.step.objective, constants["state"]["params"]
        zero = table[0, 0] * 0
        trace = objective.network.trace(xp, params, constants["inputs"])
        t = objective.loss.encode_targets(xp, trace.y, constants["targets"])
        J, dy = objective.loss(xp, trace.y, t)
        dy_norms = {layer.name: norm(xp, [dy]) for layer, dy, _, _ in trace.backward(xp, dy)}
        copy = tree_map(lambda a: xp.asarray(a, copy=True), constants["state"])
        updated = self.step(copy, constants["data"], batch)["params"]
        rows, last = [], trace.layers[-1]
        for layer in trace.layers:
            if isinstance(layer.layer, Sequential):
                continue  # the sum of a residual block
            old, new = matrices(layer.params), matrices(reduce(getitem, layer.path, updated))
            update = [b - a for a, b in zip(old, new, strict=True)]
            norms = [norm(xp, old), norm(xp, update), dy_norms[layer.name]] if old else [zero] * 3
            rows.append([*norms, _inactive(xp, layer, t if layer is last else None)])
        correct = zero
        if len(constants["targets"].shape) == 1:
            right = predicted_classes(xp, trace.y, objective.loss.threshold) == constants["targets"]
            correct = xp.sum(xp.astype(right, zero.dtype))
        rows.append([objective.regularized_loss(xp, params, J), correct, batch["scalars"]["lr"], zero])
        columns = [[zero if a is None else xp.astype(a, zero.dtype) for a in row] for row in rows]
        return xp.stack([xp.stack(row) for row in columns])


def matrices(params: Tree) -> list[Array]:
    """A layer's weight matrices: biases start at zero, and no update is small beside that."""
    return [a for a in leaves(params) if len(a.shape) > 1]


def norm(xp: Any, arrays: Sequence[Array]) -> Array:
    """Euclidean norm of all numbers of some arrays, which does not overflow where they do not."""
    top = xp.max(xp.stack([xp.max(xp.abs(a)) for a in arrays]))
    unit = xp.where(top > 0, top, xp.ones_like(top))
    return unit * xp.sqrt(sum(xp.sum((a / unit) ** 2) for a in arrays))


def _inactive(xp: Any, t: LayerTrace, targets: Array | None) -> Array | None:
    """The fraction of a layer that passes no gradient, as in `LayerStats`; `targets` of the last layer."""
    if isinstance(t.layer, ReLU):
        return xp.mean(xp.astype(xp.max(t.y, axis=0) <= 0, t.y.dtype))
    if not isinstance(t.layer, Sigmoid | Tanh):
        return None
    sigmoid = isinstance(t.layer, Sigmoid)
    saturated = (4.0 * t.y * (1.0 - t.y) if sigmoid else 1.0 - t.y * t.y) < SATURATED_SLOPE
    if targets is not None:
        if targets.shape != t.y.shape:
            return None
        wrong = xp.abs(t.y - targets) > (0.5 if sigmoid else 1.0)  # by more than half its range
        saturated = xp.any(xp.logical_and(saturated, wrong), axis=1)
    return xp.mean(xp.astype(saturated, t.y.dtype))
