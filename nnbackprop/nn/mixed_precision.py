"""Products in numbers half as wide as the parameters: faster where the hardware has them, and half the memory.

Micikevicius et al., Mixed precision training, ICLR 2018: parameters, their update, the loss and evaluation stay
in float32; a step's forward and backward are computed in float16 or bfloat16, on copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, Backend, Tree, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Caches, LayerParams, Params, map_layers

from .rng import RngKey
from .sequential import Sequential
from .trace import LayerTrace, Trace

HALF_DTYPES = "float16", "bfloat16"
"""The dtypes of mixed precision."""

LOSS_SCALES = {"float16": 1024.0, "bfloat16": 1.0}
"""What dJ/dy is multiplied by before backward, and gradients divided by after it.

float16 has nothing below 6e-8, where gradients of a batch's mean soon are; bfloat16 reaches as far as float32.
"""


@dataclass(frozen=True, init=False)
class MixedPrecision(Sequential):
    """A network that computes in `dtype`, of parameters and for losses that are wider.

    y comes out, and dy goes in, in the parameters' own dtype; so do the gradients come out. A layer with
    `full_precision` keeps its parameters as they are.
    """

    dtype: str

    def __init__(self, network: Sequential, dtype: str, backend: Backend) -> None:
        if not hasattr(backend.xp, dtype):
            raise UsageError(
                f"The backend {backend.name} has no {dtype}: use dtype='float32', or a backend that has it "
                "(PyTorch and JAX have float16 and bfloat16, NumPy float16; CuPy has float16, and bfloat16 where "
                "ml_dtypes is installed and CUDA and the GPU can compute in it)."
            )
        super().__init__(*network.layers)
        object.__setattr__(self, "dtype", dtype)

    def forward(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> tuple[Array, Caches]:
        """Outputs y (n, ...) in x's dtype; the caches hold the half-precision parameters too."""
        half = self._half_params(xp, params)
        y, caches = super().forward(xp, half, self._cast(xp, x), key)
        return xp.astype(y, x.dtype), (half, caches)

    def backward(
        self, xp: Any, params: Params, caches: Caches, dy: Array, need_dx: bool = False
    ) -> tuple[Array | None, Params]:
        """Gradients in dy's dtype; on the way s times as large, s of `LOSS_SCALES`: backward is linear."""
        (half, caches), s = caches, LOSS_SCALES[self.dtype]
        dx, grads = super().backward(xp, half, caches, self._cast(xp, dy * s), need_dx)
        return (self._unscale(xp, dx, dy) if need_dx else None), self._unscale(xp, grads, dy)

    def precompute(self, xp: Any, x: Array, key: RngKey) -> tuple[Array, dict[str, Array]]:
        """x, and the layers' masks in half precision."""
        return x, self._draw(xp, x.shape, getattr(xp, self.dtype), key)

    def new_buffers(self, xp: Any, params: Params, caches: Caches) -> Params:
        """The buffers' next values, in their own dtype."""
        return super().new_buffers(xp, params, caches[1])

    def trace(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> Trace:
        """As `Sequential.trace`; the gradients of its backward are in dy's dtype and scale."""
        trace = super().trace(xp, params, x, key)
        return MixedPrecisionTrace(**vars(trace))

    def _unscale(self, xp: Any, tree: Tree, dy: Array) -> Tree:
        wide, s = tree_map(lambda g: xp.astype(g, dy.dtype), tree), LOSS_SCALES[self.dtype]
        return wide if s == 1 else tree_map(lambda g: g * (1 / s), wide)

    def _cast(self, xp: Any, array: Array) -> Array:
        return xp.astype(array, getattr(xp, self.dtype))

    def _half_params(self, xp: Any, params: Params) -> Params:
        def half(layer: Any, p: LayerParams) -> LayerParams:
            return p if getattr(layer, "full_precision", False) else tree_map(lambda a: self._cast(xp, a), p)

        return map_layers(half, self, params)


@dataclass(frozen=True, eq=False)
class MixedPrecisionTrace(Trace):
    """A trace whose layers compute their gradients in half precision, and scaled."""

    network: MixedPrecision

    def backward(self, xp: Any, dy: Array) -> list[tuple[LayerTrace, Array, Array, LayerParams]]:
        """As `Trace.backward`, in dy's dtype and scale."""
        layers = super().backward(xp, dy)
        return [(trace, *self.network._unscale(xp, tuple(arrays), dy)) for trace, *arrays in layers]
