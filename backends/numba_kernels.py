"""Native kernels by numba, for `Namespace.native` on the CPU: convolution and max pooling.

Images are (n, rows, columns, channels). Each kernel returns None for arrays that it has no loop for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .namespace import Formula
from .numba_conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .numba_pool import max_pool, max_pool_vjp

NUMBA_KERNELS: dict[Formula, Callable[..., Any]] = {
    Formula.CONV2D: conv2d,
    Formula.CONV2D_WEIGHT_GRAD: conv2d_weight_grad,
    Formula.CONV2D_INPUT_GRAD: conv2d_input_grad,
    Formula.MAX_POOL: max_pool,
    Formula.MAX_POOL_VJP: max_pool_vjp,
}
