"""Steps divided by the root of all squared gradients so far: Duchi, Hazan and Singer, JMLR 12, 2011."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array, ElementwiseKernel

from .base import Optimizer, check_epsilon


def divide_by_sum_of_squares(xp: Any, w: Array, dw: Array, v: Array, lr: Array, eps: float) -> tuple[Array, Array]:
    """v <- v + dw^2;  w <- w - lr dw / (sqrt(v) + eps)."""
    v = v + dw * dw
    return w - lr * dw / (xp.sqrt(v) + eps), v


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """v <- v + dw^2;  w <- w - lr dw / (sqrt(v) + eps). The diagonal variant, v zero at first."""

    eps: float = 1e-10

    kernel: ClassVar[ElementwiseKernel] = divide_by_sum_of_squares
    state_names: ClassVar[tuple[str, ...]] = ("sum_of_squares",)

    def __post_init__(self) -> None:
        check_epsilon(self.eps)
