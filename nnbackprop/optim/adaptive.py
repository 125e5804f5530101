"""Steps divided by a root mean square of the gradients, parameter by parameter.

Adagrad: Duchi, Hazan and Singer, JMLR 12, 2011. RMSprop: Tieleman and Hinton, Coursera lecture 6e, 2012. Adam:
Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1. AdamW: Loshchilov and Hutter,
"Decoupled weight decay regularization", ICLR 2019, algorithm 2, in PyTorch's form: the learning rate multiplies
the decay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array, ElementwiseKernel
from nnbackprop.errors import UsageError

from .base import Optimizer, check_decay, check_epsilon


def adagrad_kernel(xp: Any, w: Array, dw: Array, v: Array, lr: Array, eps: float) -> tuple[Array, Array]:
    """v <- v + dw^2;  w <- w - lr dw / (sqrt(v) + eps)."""
    v = v + dw * dw
    return w - lr * dw / (xp.sqrt(v) + eps), v


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """v <- v + dw^2;  w <- w - lr dw / (sqrt(v) + eps). The diagonal variant, v zero at first."""

    eps: float = 1e-10

    kernel: ClassVar[ElementwiseKernel] = adagrad_kernel
    state_names: ClassVar[tuple[str, ...]] = ("sum_of_squares",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_epsilon(self.eps)


def rmsprop_kernel(
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

    kernel: ClassVar[ElementwiseKernel] = rmsprop_kernel
    state_names: ClassVar[tuple[str, ...]] = ("mean_square",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("rho", self.rho)
        check_epsilon(self.eps)

    def kernel_args(self, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """Return (lr, rho, 1 - rho, eps)."""
        return scalars["lr"], self.rho, 1 - self.rho, self.eps


def adam_kernel(
    xp: Any,
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    step_size: Array,
    correction: Array,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """m <- b1 m + (1 - b1) dw;  v <- b2 v + (1 - b2) dw^2;  w <- w - lr m^ / (sqrt(v^) + eps).

    With m^ = m / (1 - b1^t) and v^ = v / (1 - b2^t): step_size is lr / (1 - b1^t), correction is
    1 / sqrt(1 - b2^t), and so lr m^ = step_size m, sqrt(v^) = correction sqrt(v).
    """
    m = beta1 * m + one_minus_beta1 * dw
    v = beta2 * v + one_minus_beta2 * dw * dw
    return w - step_size * m / (correction * xp.sqrt(v) + eps), m, v


def adamw_kernel(
    xp: Any,
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    step_size: Array,
    correction: Array,
    decay_factor: Array,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """As `adam_kernel`, from decay_factor w in place of w, decay_factor being 1 - lr weight_decay."""
    m = beta1 * m + one_minus_beta1 * dw
    v = beta2 * v + one_minus_beta2 * dw * dw
    return decay_factor * w - step_size * m / (correction * xp.sqrt(v) + eps), m, v


@dataclass(frozen=True)
class Adam(Optimizer):
    """m <- b1 m + (1 - b1) dw;  v <- b2 v + (1 - b2) dw^2;  w <- w - lr m^ / (sqrt(v^) + eps).

    With m^ = m / (1 - b1^t) and v^ = v / (1 - b2^t) at step t, counted from 1.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    kernel: ClassVar[ElementwiseKernel] = adam_kernel
    state_names: ClassVar[tuple[str, ...]] = ("m", "v")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("beta1", self.beta1)
        check_decay("beta2", self.beta2)
        check_epsilon(self.eps)

    def step_scalars(self, t: int, lr: float) -> dict[str, float]:
        """Return lr, step_size = lr / (1 - beta1^t) and correction = 1 / sqrt(1 - beta2^t)."""
        return {
            **super().step_scalars(t, lr),
            "step_size": float(lr) / (1 - self.beta1**t),
            "correction": 1 / math.sqrt(1 - self.beta2**t),
        }

    def kernel_args(self, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """Return (step_size, correction, beta1, 1 - beta1, beta2, 1 - beta2, eps)."""
        betas = self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2
        return scalars["step_size"], scalars["correction"], *betas, self.eps


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam after w <- (1 - lr weight_decay) w: the decay stays out of the gradient and its moments.

    It shrinks all parameters, biases too, as PyTorch's AdamW does. For a penalty that spares biases use Adam
    with `WeightPenalty(l2=...)`.
    """

    weight_decay: float = 0.01

    kernel: ClassVar[ElementwiseKernel] = adamw_kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(
                f"weight_decay is a rate of shrinking and must be at least 0; got {self.weight_decay!r}."
            )

    def step_scalars(self, t: int, lr: float) -> dict[str, float]:
        """Return Adam's scalars and decay_factor = 1 - lr weight_decay."""
        return super().step_scalars(t, lr) | {"decay_factor": 1 - float(lr) * self.weight_decay}

    def kernel_args(self, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """Return Adam's, with decay_factor before the betas."""
        step_size, correction, *rest = super().kernel_args(scalars)
        return step_size, correction, scalars["decay_factor"], *rest
