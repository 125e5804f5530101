"""Weight penalties: what large weights cost, added to the loss and to its gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Layer, LayerParams, Params, map_layers, use_python_numbers
from nnbackprop.nn.sequential import Sequential


@dataclass(frozen=True)
class WeightPenalty:
    """l1 sum |w| + l2/2 sum w^2 over the weights that the layers call `regularized`, such as W of Dense.

    With `biases` it is over every trained parameter: biases, gamma and the like too. The gradient is
    l1 sign(w) + l2 w, sign(0) = 0. Neither is divided by the batch: Ng's lambda/m is l2 here (Krogh and Hertz, A
    simple weight decay can improve generalization, NIPS 1991).
    """

    l1: float = 0.0
    l2: float = 0.0
    biases: bool = False

    def __post_init__(self) -> None:
        use_python_numbers(self)
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if not 0 <= value < math.inf:
                raise UsageError(f"{name} must be a finite number of at least 0; got {value}.")

    def loss(self, xp: Any, network: Sequential, params: Params) -> Array:
        """l1 sum |w| + l2/2 sum w^2, 0-d (derivation, D28)."""
        layers = network.named_layers(params)
        terms = [
            self._loss_of(xp, w)
            for _, layer, p in layers
            for name, w in p.items()
            if self._is_regularized(layer, name)
        ]
        if not terms:
            raise UsageError(
                "A weight penalty needs a layer with regularized parameters, such as Dense; got none."
            )
        return sum(terms[1:], terms[0])

    def add_gradients(self, xp: Any, network: Sequential, params: Params, grads: Params) -> Params:
        """`grads` with l1 sign(w) + l2 w added for every regularized w (derivation, D29)."""

        def add(layer: Layer, p: LayerParams, g: LayerParams) -> LayerParams:
            return {
                name: d + self._gradient(xp, p[name]) if self._is_regularized(layer, name) else d
                for name, d in g.items()
            }

        return map_layers(add, network, params, grads)

    def _loss_of(self, xp: Any, w: Array) -> Array:
        square = xp.sum(w * w) * (self.l2 / 2)
        return square + xp.sum(xp.abs(w)) * self.l1 if self.l1 else square

    def _gradient(self, xp: Any, w: Array) -> Array:
        return self.l2 * w + self.l1 * xp.sign(w) if self.l1 else self.l2 * w

    def _is_regularized(self, layer: Layer, name: str) -> bool:
        if self.biases:
            return name not in getattr(layer, "buffers", ())
        return name in getattr(layer, "regularized", ())
