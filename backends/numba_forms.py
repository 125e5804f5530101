"""The formulas that numba has a form of its own for, by name: for `Namespace.specialize` on the CPU.

Images are (n, rows, columns, channels). Each form returns None for arrays that it has no loop for.
"""

from __future__ import annotations

from .numba_conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .numba_pool import max_pool, max_pool_vjp

FORMS = {form.__name__: form for form in (conv2d, conv2d_weight_grad, conv2d_input_grad, max_pool, max_pool_vjp)}
