"""Gradient descent on one batch at a time, plain or with momentum: Robbins and Monro, 1951; Polyak, 1964.

Momentum as in Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
learning", ICML 2013, in PyTorch's form: the learning rate multiplies the velocity where it is used, so a change of
rate acts on the whole velocity at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array, ElementwiseKernel

from .base import Optimizer, check_decay


def sgd_kernel(xp: Any, w: Array, dw: Array, lr: Array) -> Array:
    """w <- w - lr dw (derivation, D9, D22)."""
    return w - lr * dw


@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain stochastic gradient descent: w <- w - lr dw."""

    kernel: ClassVar[ElementwiseKernel] = sgd_kernel


def momentum_kernel(xp: Any, w: Array, dw: Array, v: Array, lr: Array, momentum: float) -> tuple[Array, Array]:
    """v <- momentum v + dw;  w <- w - lr v."""
    v = momentum * v + dw
    return w - lr * v, v


def nesterov_kernel(xp: Any, w: Array, dw: Array, v: Array, lr: Array, momentum: float) -> tuple[Array, Array]:
    """v <- momentum v + dw;  w <- w - lr (dw + momentum v)."""
    v = momentum * v + dw
    return w - lr * (dw + momentum * v), v


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Heavy ball: v <- momentum v + dw;  w <- w - lr v. Polyak, 1964; PyTorch's SGD with dampening 0."""

    momentum: float = 0.9

    kernel: ClassVar[ElementwiseKernel] = momentum_kernel
    state_names: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("momentum", self.momentum)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v <- momentum v + dw;  w <- w - lr (dw + momentum v): PyTorch's SGD with nesterov=True."""

    kernel: ClassVar[ElementwiseKernel] = nesterov_kernel
