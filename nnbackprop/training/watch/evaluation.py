"""What a layer makes of the same input twice: dropout belongs to training and must rest in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, Backend, Tree, device_of
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
    backend: Backend, step: DroppingStep, params: Params, xs: Tree, probe: Probe
) -> tuple[Dropping, ...]:
    """Every layer asked twice in training mode, as in the first step of `xs` and the next, and in evaluation."""
    names, like = step.step.objective.network.names, probe.inputs
    table = backend.xp.zeros((len(names), 3), dtype=like.dtype, device=device_of(like))
    first = {"step": xs["step"][:1]}
    found = backend.to_numpy(backend.loop(step, table, {"params": params, "inputs": like}, first))
    return tuple(Dropping(name, *row) for name, row in zip(names, found.astype(float).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class DroppingStep:
    """`table, data, x -> table`, for `Backend.loop`: a row a layer, the numbers of a `Dropping`."""

    step: TrainingStep

    def __call__(self, table: Array, data: Tree, x: Tree) -> Array:
        """Ask each layer with what the one before it gives in evaluation."""
        xp, y, rows = self.step.xp, data["inputs"], []
        for i, (layer, p) in enumerate(zip(self.step.objective.network.layers, data["params"], strict=True)):
            draws = (None, None, *(Draw(self.step.seed, step).at(i) for step in (x["step"], x["step"] + 1)))
            before = y
            y, again, *trained = (layer.forward(xp, p, before, draw)[0] for draw in draws)
            gone = xp.logical_and(before != 0, y == 0) if before.shape == y.shape else xp.zeros_like(before)
            rows.append(xp.stack([_apart(xp, *trained), _apart(xp, y, again), xp.mean(xp.astype(gone, y.dtype))]))
        return xp.stack(rows)


def _apart(xp: Any, y: Array, again: Array) -> Array:
    size = norm(xp, [y])
    return norm(xp, [y - again]) / xp.where(size > 0, size, xp.ones_like(size))
