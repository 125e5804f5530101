"""What a layer makes of the same input twice: dropout belongs to training and must rest in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, Backend, Tree, device_of
from nnbackprop.nn.layers import ACTIVATIONS, Dense, Dropout
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.training.step import TrainStep

from .activation_stats import Probe, norm

OURS = {Dense, Dropout, *ACTIVATIONS.values()}
"""Layers whose evaluation the tests prove to be at rest: only a person's own are asked."""


@dataclass(frozen=True)
class Dropping:
    """How a layer behaves in evaluation, where it is random at all.

    `apart` is ||y - y'|| / ||y|| of two evaluations, `dropped` the share of nonzero inputs that evaluation makes
    zero, of a layer that keeps its input's shape.
    """

    name: str
    random: bool
    apart: float = 0.0
    dropped: float = 0.0


def droppings(
    backend: Backend, step: DroppingStep, params: Params, xs: Tree, probe: Probe
) -> tuple[Dropping, ...]:
    """Every layer of a person's own, asked with the probe; the package's own are known."""
    layers, names, like = step.step.objective.network.layers, step.step.objective.network.names, probe.inputs
    known = [Dropping(n, isinstance(x, Dropout) and x.rate > 0) for n, x in zip(names, layers, strict=True)]
    if all(type(layer) in OURS for layer in layers):
        return tuple(known)
    table = backend.xp.zeros((len(known), 3), dtype=like.dtype, device=device_of(like))
    first = {"step": xs["step"][:1]}
    found = backend.to_numpy(backend.scan(step, table, {"params": params, "inputs": like}, first))
    return tuple(
        known[i] if type(layer) in OURS else Dropping(known[i].name, bool(trained or apart), apart, dropped)
        for i, (layer, (trained, apart, dropped)) in enumerate(
            zip(layers, found.astype(float).tolist(), strict=True)
        )
    )


@dataclass(frozen=True, eq=False)
class DroppingStep:
    """`table, data, x -> table`, for `Backend.scan`: a row a layer, with zeros for layers that are not asked.

    How far two answers are apart, in training and in evaluation, and the share dropped.
    """

    step: TrainStep

    def __call__(self, table: Array, data: Tree, x: Tree) -> Array:
        """Ask each layer with what the one before it gives in evaluation."""
        xp, y, rows = self.step.xp, data["inputs"], []
        for i, (layer, p) in enumerate(zip(self.step.objective.network.layers, data["params"], strict=True)):
            before, (y, _) = y, layer.forward(xp, p, y, None)
            draws = [RngKey(self.step.seed, step).at(i) for step in (x["step"], x["step"] + 1)]
            rows.append(table[i, :] if type(layer) in OURS else self._ask(layer, p, before, y, draws))
        return xp.stack(rows)

    def _ask(self, layer: Any, params: Any, x: Array, y: Array, draws: list[RngKey]) -> Array:
        xp = self.step.xp
        again, *trained = (layer.forward(xp, params, x, draw)[0] for draw in (None, *draws))
        gone = xp.logical_and(x != 0, y == 0) if x.shape == y.shape else xp.zeros_like(x)
        return xp.stack([_apart(xp, *trained), _apart(xp, y, again), xp.mean(xp.astype(gone, y.dtype))])


def _apart(xp: Any, y: Array, again: Array) -> Array:
    size = norm(xp, [y])
    return norm(xp, [y - again]) / xp.where(size > 0, size, xp.ones_like(size))
