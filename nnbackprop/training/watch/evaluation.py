"""What a layer makes of the same input twice: dropout belongs to training and must rest in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, Backend
from nnbackprop.network import Params
from nnbackprop.random import Draw
from nnbackprop.training.step import TrainingStep

from .vitals import Probe, norm


@dataclass(frozen=True)
class Dropping:
    """A layer asked four times with one input: how far answers are apart, and how many inputs became zero.

    `in_training` and `in_evaluation` are ||y - y'|| / ||y|| of two answers, `dropped` the share of nonzero inputs
    that evaluation makes zero, of a layer that keeps its input's shape.
    """

    name: str
    in_training: float
    in_evaluation: float
    dropped: float

    @property
    def random(self) -> bool:
        """Whether there is anything to rest in evaluation."""
        return self.in_training > 0 or self.in_evaluation > 0


def droppings(
    backend: Backend, step: TrainingStep, params: Params, probe: Probe, at: Array
) -> tuple[Dropping, ...]:
    """Every layer asked twice in training mode, as in steps `at` and `at` + 1, and twice in evaluation."""
    xp, network = step.xp, step.objective.network
    x, rows = probe.inputs, []
    for i, (layer, p) in enumerate(zip(network.layers, params, strict=True)):
        draws = (None, None, Draw(step.seed, at).at(i), Draw(step.seed, at + 1).at(i))
        y, again, *trained = (layer.forward(xp, p, x, draw)[0] for draw in draws)
        gone = xp.logical_and(x != 0, y == 0) if x.shape == y.shape else xp.zeros_like(x)
        rows.append(xp.stack([_apart(xp, *trained), _apart(xp, y, again), xp.mean(xp.astype(gone, x.dtype))]))
        x = y
    found = backend.to_numpy(xp.stack(rows)).astype(float).tolist()
    return tuple(Dropping(name, *row) for name, row in zip(network.names, found, strict=True))


def _apart(xp: Any, y: Array, again: Array) -> Array:
    size = norm(xp, [y])
    return norm(xp, [y - again]) / xp.where(size > 0, size, xp.ones_like(size))
