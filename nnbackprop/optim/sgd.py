"""Gradient descent on one batch at a time, plain or with momentum: Robbins and Monro, 1951; Polyak, 1964.

Momentum as in Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
learning", ICML 2013, in PyTorch's form: the learning rate multiplies the velocity where it is used, so a change of
rate acts on the whole velocity at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array, ElementwiseKernel

from .base import Optimizer, check_share


def descend(xp: Any, w: Array, dw: Array, lr: Array) -> Array:
    """w <- w - lr dw (derivation, D9, D22)."""
    return w - lr * dw


@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain stochastic gradient descent: w <- w - lr dw."""

    kernel: ClassVar[ElementwiseKernel] = descend


def heavy_ball(xp: Any, w: Array, dw: Array, v: Array, lr: Array, mu: float) -> tuple[Array, Array]:
    """v <- mu v + dw;  w <- w - lr v."""
    v = mu * v + dw
    return w - lr * v, v


def look_ahead(xp: Any, w: Array, dw: Array, v: Array, lr: Array, mu: float) -> tuple[Array, Array]:
    """v <- mu v + dw;  w <- w - lr (dw + mu v)."""
    v = mu * v + dw
    return w - lr * (dw + mu * v), v


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Heavy ball: v <- mu v + dw;  w <- w - lr v. Polyak, 1964; PyTorch's SGD with dampening 0."""

    mu: float = 0.9

    kernel: ClassVar[ElementwiseKernel] = heavy_ball
    state_names: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        check_share("mu", self.mu)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Nesterov's momentum: v <- mu v + dw;  w <- w - lr (dw + mu v). PyTorch's SGD with nesterov=True."""

    kernel: ClassVar[ElementwiseKernel] = look_ahead
