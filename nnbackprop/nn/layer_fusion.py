"""Dense, ReLU and Dropout in a row by one kernel forward and one backward, besides the products.

For a backend on which a small step takes as long as the launches of its kernels: see `Backend.launch_bound`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, Backend
from nnbackprop.nn.layers.activations import ReLU, positive, relu_vjp
from nnbackprop.nn.layers.base import Backward, Cache, Caches, LayerParams, Params
from nnbackprop.nn.layers.dense import Dense
from nnbackprop.nn.layers.dropout import Dropout

from .rng import RngKey
from .sequential import Sequential, first_trained


def fuse_layers(network: Sequential, backend: Backend) -> Sequential:
    """The network as a step on this backend computes it best: with its layers fused, or as it is."""
    return FusedSequential(*network.layers) if backend.launch_bound and type(network) is Sequential else network


@dataclass(frozen=True, init=False)
class FusedSequential(Sequential):
    """The same network, of which each Dense with a bias, ReLU and perhaps Dropout in a row are computed as one.

    Parameters, gradients, masks and names are the layers' own, and `trace` shows every layer. Layers of a nested
    network are not fused.
    """

    def precompute(self, xp: Any, x: Array, key: RngKey) -> tuple[Array, dict[str, Array]]:
        """As `Sequential.precompute`; a Dropout at the input is applied to x."""
        x, masks = super().precompute(xp, x, key)
        return (masks["0"] * x if self._dropout_at_input else x), masks

    def forward(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> tuple[Array, Caches]:
        """Outputs y (n, ...), of a prepared x where the key has masks.

        The cache of fused layers stands in the place of the first one's.
        """
        caches: list[Any] = [None] * len(self.layers)
        for i, last, layer in self._fused:
            if i == 0 and self._dropout_at_input and key and key.precomputed_masks:
                caches[0] = key.precomputed_masks["0"]
            else:
                x, caches[i] = layer.forward(xp, params[i], x, key and key.child(last))
        return x, tuple(caches)

    def backward(
        self, xp: Any, params: Params, caches: Caches, dy: Array, need_dx: bool = False
    ) -> tuple[Array | None, Params]:
        """As `Sequential.backward`."""
        stop = 0 if need_dx else first_trained(params)
        grads = list(params)
        for i, _, layer in reversed(self._fused):
            if i >= stop:
                dy, grads[i] = layer.backward(xp, params[i], caches[i], dy, need_dx or i > stop)
        return (dy if need_dx else None), tuple(grads)

    @property
    def _dropout_at_input(self) -> bool:
        return type(self.layers[0]) is Dropout

    @property
    def _fused(self) -> tuple[tuple[int, int, Any], ...]:
        """The layers to compute, each with the indices of the first and the last that it stands for."""
        i, fused = 0, list[tuple[int, int, Any]]()
        while i < len(self.layers):
            dense, relu, dropout = (*self.layers[i:], None, None)[:3]
            if type(dense) is not Dense or not dense.bias or type(relu) is not ReLU:
                fused.append((i, i, dense))
            elif type(dropout) is Dropout:
                fused.append((i, i + 2, DenseReLU(dense, dropout)))
            else:
                fused.append((i, i + 1, DenseReLU(dense)))
            i = fused[-1][1] + 1
        return tuple(fused)


@dataclass(frozen=True)
class DenseReLU:
    """y = m max(x W + b, 0), with m the mask of a Dropout that follows, in training."""

    dense: Dense
    dropout: Dropout | None = None

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """y (n, units), and the cache (x, y, m); `key` is the Dropout's."""
        z = xp.matmul(x, params["W"])
        if self.dropout is None or key is None:
            y = xp.fuse(bias_relu, donate_argnums=(0,))(z, params["b"], 0.0)
            return y, (x, y, None)
        m = self.dropout.draw(xp, key, z.shape, z.dtype)
        y = xp.fuse(bias_relu_dropout, donate_argnums=(0,))(z, params["b"], m, 0.0)
        return y, (x, y, m)

    def backward(self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool) -> Backward:
        """dz = [y > 0] m dy, which also holds where m, and with it y, is 0; the rest is Dense's."""
        x, y, m = cache
        dz = xp.fuse(relu_vjp)(y, dy) if m is None else xp.fuse(relu_dropout_vjp)(y, m, dy)
        return self.dense.backward(xp, params, x, dz, need_dx)


def bias_relu(xp: Any, z: Array, b: Array, zero: float) -> Array:
    """max(z + b, 0): an elementwise kernel."""
    return xp.maximum(z + b, zero)


def bias_relu_dropout(xp: Any, z: Array, b: Array, m: Array, zero: float) -> Array:
    """m max(z + b, 0): an elementwise kernel."""
    return m * xp.maximum(z + b, zero)


def relu_dropout_vjp(xp: Any, y: Array, m: Array, dy: Array) -> Array:
    """[y > 0] m dy: an elementwise kernel."""
    return positive(xp, y) * (m * dy)
