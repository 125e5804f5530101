"""Steps divided by a running root mean square: Tieleman and Hinton, Coursera lecture 6e, 2012."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array, ElementwiseKernel

from .base import Optimizer, check_epsilon, check_share


def divide_by_mean_square(
    xp: Any, w: Array, dw: Array, v: Array, lr: Array, rho: float, one_minus_rho: float, eps: float
) -> tuple[Array, Array]:
    """v <- rho v + (1 - rho) dw^2;  w <- w - lr dw / (sqrt(v) + eps)."""
    v = rho * v + one_minus_rho * dw * dw
    return w - lr * dw / (xp.sqrt(v) + eps), v


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v <- rho v + (1 - rho) dw^2;  w <- w - lr dw / (sqrt(v) + eps).

    `rho` is PyTorch's alpha, and 0.9 by default as in the lecture (0.99 there); not centred, no momentum.
    """

    rho: float = 0.9
    eps: float = 1e-8

    kernel: ClassVar[ElementwiseKernel] = divide_by_mean_square
    state_names: ClassVar[tuple[str, ...]] = ("mean_square",)

    def __post_init__(self) -> None:
        check_share("rho", self.rho)
        check_epsilon(self.eps)

    def arguments(self, s: dict[str, Any]) -> tuple[Any, ...]:
        """Return (lr, rho, 1 - rho, eps)."""
        return s["lr"], self.rho, 1 - self.rho, self.eps
