"""Gradient descent on one batch at a time: Robbins and Monro, "A stochastic approximation method", 1951."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array, ElementwiseKernel

from .base import Optimizer


def descend(xp: Any, w: Array, dw: Array, lr: Array) -> Array:
    """w <- w - lr dw (derivation, D9, D22)."""
    return w - lr * dw


@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain stochastic gradient descent: w <- w - lr dw."""

    kernel: ClassVar[ElementwiseKernel] = descend
