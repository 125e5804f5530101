"""Weight penalties: what large weights cost, added to the loss and to its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params


@dataclass(frozen=True)
class WeightPenalty:
    """l1 sum |w| + l2/2 sum w^2 over the weights W of all layers, and over the biases b too if `biases`.

    The gradient is l1 sign(w) + l2 w, sign(0) = 0. Neither is divided by the batch: Ng's lambda/m is l2 here
    (Krogh and Hertz, A simple weight decay can improve generalization, NIPS 1991).
    """

    l1: float = 0.0
    l2: float = 0.0
    biases: bool = False

    def __post_init__(self) -> None:
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if not 0 <= value < math.inf:
                raise UsageError(f"{name} must be a finite number of at least 0; got {value}.")

    def loss(self, xp: Any, params: Params) -> Array:
        """l1 sum |w| + l2/2 sum w^2, 0-d (derivation, D28)."""
        terms = [self._term(xp, w) for w in self._penalised(params)]
        return sum(terms[1:], terms[0])

    def gradients(self, xp: Any, params: Params, grads: Params) -> Params:
        """`grads` with l1 sign(w) + l2 w added for every penalised w (derivation, D29)."""
        return tuple(
            {name: g + self._slope(xp, p[name]) if self._counts(name) else g for name, g in layer.items()}
            for p, layer in zip(params, grads, strict=True)
        )

    def _term(self, xp: Any, w: Array) -> Array:
        square = xp.sum(w * w) * (self.l2 / 2)
        return square + xp.sum(xp.abs(w)) * self.l1 if self.l1 else square

    def _slope(self, xp: Any, w: Array) -> Array:
        return self.l2 * w + self.l1 * xp.sign(w) if self.l1 else self.l2 * w

    def _counts(self, name: str) -> bool:
        return name == "W" or self.biases

    def _penalised(self, params: Params) -> Iterator[Array]:
        return (w for layer in params for name, w in layer.items() if self._counts(name))
