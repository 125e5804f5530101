"""Which parameter is what, by shape: the weights and biases of each dense layer in order.

A user's parameters have no layers, only shapes: (784, 100), (100,), (100, 10), (10,). Weights may be (in, out) or
(out, in), biases vectors, rows, columns, the first or last column of the weights (as a column of ones in the data
makes them), or none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors

from .catalogue import COLUMNS, ROWS, ROWS_W_TRANSPOSED

MOST_THIN = 12  # tensors of one row or column may be W or b; each doubles the readings


@dataclass(frozen=True)
class DenseLayer:
    """Where a layer's weights and biases are kept; read through it, W is (in, out) and b (out,)."""

    W: str
    b: str | None  # None: no bias, or inside W
    transposed: bool  # W is kept as (out, in)
    inside: Literal["first", "last"] | None = None  # where in W the bias is, as the weight of an input of 1

    @property
    def biased(self) -> bool:
        """Whether the layer has biases."""
        return self.inside is not None or self.b is not None

    def weight(self, tensors: Tensors) -> np.ndarray:
        """W (in, out), a view."""
        rows = {None: slice(None), "first": slice(1, None), "last": slice(None, -1)}[self.inside]
        return self._matrix(tensors)[rows, :]

    def bias(self, tensors: Tensors) -> np.ndarray:
        """b (out,), a view."""
        if self.b is not None:
            return tensors[self.b].reshape(-1)
        return self._matrix(tensors)[0 if self.inside == "first" else -1, :]

    def with_weight(self, tensors: Tensors, W: np.ndarray | float) -> dict[str, np.ndarray]:
        """The tensors with W (in, out) in its place."""
        changed = {**tensors, self.W: tensors[self.W].copy()}
        self.weight(changed)[...] = W
        return changed

    def with_bias(self, tensors: Tensors, b: np.ndarray | float) -> dict[str, np.ndarray]:
        """The tensors with b (out,) in its place."""
        name = self.b or self.W
        changed = {**tensors, name: np.ascontiguousarray(tensors[name]).copy()}
        self.bias(changed)[...] = b
        return changed

    def _matrix(self, tensors: Tensors) -> np.ndarray:
        return tensors[self.W].T if self.transposed else tensors[self.W]


def find_layers(tensors: Tensors) -> tuple[DenseLayer, ...]:
    """The layers from first to last; () where the shapes do not tell.

    Where several readings fit, as (5, 5), (5, 1), (1, 5), (1, 1) have two, names that begin with b are biases.
    """
    if any(a.ndim not in (1, 2) for a in tensors.values()):
        return ()
    thin = [name for name, a in tensors.items() if a.ndim == 2 and 1 in a.shape]
    wide = [name for name, a in tensors.items() if a.ndim == 2 and 1 not in a.shape]
    readings: list[tuple[DenseLayer, ...]] = []
    for choice in product((False, True), repeat=min(len(thin), MOST_THIN)):
        thin_weights = {name for name, is_weight in zip(thin, choice, strict=False) if is_weight}
        weights = [name for name in tensors if name in wide or name in thin_weights]
        readings += _readings(tensors, weights, [name for name in tensors if name not in weights])
    return max(readings, key=_names_that_agree, default=())


def _names_that_agree(layers: Sequence[DenseLayer]) -> int:
    return sum(is_bias_name(layer.b or "") - is_bias_name(layer.W) for layer in layers)


def is_bias_name(name: str) -> bool:
    """Whether a parameter is called a bias: b1, layer.bias, params['biases']."""
    last = re.split(r"[.\[]", name)[-1].strip("'\"]").lower()
    return last.startswith("b") or "bias" in last


def _readings(tensors: Tensors, weights: Sequence[str], biases: Sequence[str]) -> Iterator[tuple[DenseLayer, ...]]:
    """Every way in which these weights and biases make a chain of layers."""
    for transposed in (False, True):
        shapes = [tensors[W].shape[::-1] if transposed else tensors[W].shape for W in weights]
        steps, outs = list(pairwise(shapes)), [shape[1] for shape in shapes]
        fed = all(a[1] == b[0] for a, b in steps)
        if biases and fed and [_bias_size(tensors[b], transposed) for b in biases] == outs:
            yield tuple(DenseLayer(W, b, transposed) for W, b in zip(weights, biases, strict=True))
        elif weights and not biases and fed:
            yield tuple(DenseLayer(W, None, transposed) for W in weights)
        elif weights and not biases and all(b[0] == a[1] + 1 for a, b in steps):
            yield tuple(DenseLayer(W, None, transposed, "first") for W in weights)


def _bias_size(b: np.ndarray, transposed: bool) -> int:
    """The length of a bias; 0 if it stands the other way than the samples: rows have (1, k), columns (k, 1)."""
    return b.size if b.ndim == 1 or b.shape[int(transposed)] == 1 else 0


def layout(layers: Sequence[DenseLayer], tensors: Tensors) -> dict[str, str]:
    """A dense layer's formulas as the user writes them; biases (out, 1) mean that samples are columns."""
    if not layers or not layers[0].transposed:
        return ROWS
    columns = any(layer.b is not None and tensors[layer.b].ndim == 2 for layer in layers)
    return COLUMNS if columns else ROWS_W_TRANSPOSED
