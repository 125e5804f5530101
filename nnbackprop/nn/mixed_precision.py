"""Products in numbers half as wide as the parameters: faster where the hardware has them, and half the memory.

Micikevicius et al., Mixed precision training, ICLR 2018: parameters, their update, the loss and evaluation stay
in float32; a step's way forward and back is made in float16 or bfloat16, on copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, Backend, Tree, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params

from .rng import RngKey
from .sequential import Sequential

SCALES = {"float16": 1024.0, "bfloat16": 1.0}
"""What dJ/dy is multiplied by on its way back, and gradients divided by after it.

float16 has nothing below 6e-8, where gradients of a batch's mean soon are; bfloat16 reaches as far as float32.
"""


@dataclass(frozen=True, init=False)
class MixedPrecision(Sequential):
    """A network that computes in `dtype`, of parameters and for losses that are wider.

    y comes out, and dy goes in, in the parameters' own dtype; so do the gradients come out.
    """

    dtype: str

    def __init__(self, network: Sequential, dtype: str, backend: Backend) -> None:
        if not hasattr(backend.xp, dtype):
            raise UsageError(
                f"The backend {backend.name} has no {dtype}: use --dtype float32, or a backend that has it "
                "(PyTorch and JAX have float16 and bfloat16, NumPy float16; CuPy has float16, and bfloat16 where "
                "ml_dtypes is installed and CUDA and the GPU can compute in it)."
            )
        super().__init__(*network.layers)
        object.__setattr__(self, "dtype", dtype)

    def forward(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> tuple[Array, tuple]:
        """Outputs y (n, ...) in x's dtype, and what is needed to go back, the narrow parameters among it."""
        narrow = self._narrow(xp, params)
        y, caches = super().forward(xp, narrow, self._narrow(xp, x), key)
        return xp.astype(y, x.dtype), (narrow, caches)

    def backward(
        self, xp: Any, params: Params, caches: tuple, dy: Array, need_dx: bool = False
    ) -> tuple[Array | None, Params]:
        """Gradients in dy's dtype; s times as large on the way, s of `SCALES`, as the chain kernel is linear."""
        (narrow, caches), s = caches, SCALES[self.dtype]
        found = super().backward(xp, narrow, caches, self._narrow(xp, dy * s), need_dx)
        dx, grads = (
            tree_map(lambda g: xp.astype(g, dy.dtype) * (1 / s), tree) for tree in (found[0] or (), found[1])
        )
        return (dx if need_dx else None), grads

    def _narrow(self, xp: Any, tree: Tree) -> Tree:
        return tree_map(lambda a: xp.astype(a, getattr(xp, self.dtype)), tree)
