"""What training minimizes: the loss of a network's outputs plus the penalty on its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from backends import Array

from .layers.base import Params
from .losses import Loss
from .regularization import WeightPenalty
from .rng import RngKey
from .sequential import Sequential


class ValueAndGrad(NamedTuple):
    """What one pass forward and back gives: J, the outputs y, dJ/dx or None, dJ/dparams, the layers' caches."""

    J: Array
    y: Array
    dx: Array | None
    grads: Params
    caches: Any


@dataclass(frozen=True)
class Objective:
    """What is minimized: J = loss(network(x), targets) + penalty(params)."""

    network: Sequential
    loss: Loss
    penalty: WeightPenalty | None = None

    def value(
        self, xp: Any, params: Params, x: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """J and the outputs y (n, k) in evaluation mode; weights (n,) of the samples, if they have any."""
        y, _ = self.network.forward(xp, params, x, None)
        J, _ = self.loss(xp, y, self.loss.encode_targets(xp, y, targets), weights)
        return self.regularized_loss(xp, params, J), y

    def value_and_grad(
        self,
        xp: Any,
        params: Params,
        x: Array,
        targets: Array,
        key: RngKey | None,
        weights: Array | None = None,
        need_dx: bool = False,
    ) -> ValueAndGrad:
        """J and its gradients (derivation, D29), in training mode where a key is given."""
        y, caches = self.network.forward(xp, params, x, key)
        J, dy = self.loss(xp, y, self.loss.encode_targets(xp, y, targets), weights)
        dx, grads = self.network.backward(xp, params, caches, dy, need_dx)
        if self.penalty:
            grads = self.penalty.add_gradients(xp, self.network, params, grads)
        return ValueAndGrad(self.regularized_loss(xp, params, J), y, dx, grads, caches)

    def regularized_loss(self, xp: Any, params: Params, J: Array) -> Array:
        """The loss of the batch plus the penalty on the weights (derivation, D28)."""
        return J + self.penalty.loss(xp, self.network, params) if self.penalty else J
