"""Which parameter is what, read off the shapes: the weights of each layer in their order, and their biases.

A person's parameters have no layers, only shapes: (784, 100), (100,), (100, 10), (10,). Weights may be (in, out)
or (out, in), biases vectors, rows, columns, the first or last column of the weights (as a column of ones in the
data makes them), or none at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np

from nnbackprop.diagnostics.gradcheck.numeric import Tensors

Within = Literal["first", "last"] | None

MOST_THIN = 12  # tensors of one row or column that may be either; each doubles the readings


@dataclass(frozen=True)
class Link:
    """A layer's weights and biases, wherever they are kept; seen through it, W is (in, out) and b (out,)."""

    W: str
    b: str | None  # None: no bias, or within W
    outer_first: bool  # W is kept as (out, in)
    within: Within = None  # where in W the bias is, as the weight of an input that is always 1

    @property
    def biased(self) -> bool:
        """Whether the layer has biases."""
        return self.within is not None or self.b is not None

    def weight(self, tensors: Tensors) -> np.ndarray:
        """W (in, out), a view."""
        rows = {None: slice(None), "first": slice(1, None), "last": slice(None, -1)}[self.within]
        return self._table(tensors)[rows, :]

    def bias(self, tensors: Tensors) -> np.ndarray:
        """b (out,), a view."""
        if self.b is not None:
            return tensors[self.b].reshape(-1)
        return self._table(tensors)[0 if self.within == "first" else -1, :]

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

    def _table(self, tensors: Tensors) -> np.ndarray:
        return tensors[self.W].T if self.outer_first else tensors[self.W]


def chain(tensors: Tensors) -> tuple[Link, ...] | None:
    """The layers from first to last, or None where the shapes do not tell.

    Where several readings fit, as (5, 5), (5, 1), (1, 5), (1, 1) have two, names that begin with b are biases.
    """
    if any(a.ndim not in (1, 2) for a in tensors.values()):
        return None
    thin = [name for name, a in tensors.items() if a.ndim == 2 and 1 in a.shape]
    wide = [name for name, a in tensors.items() if a.ndim == 2 and 1 not in a.shape]
    readings: list[tuple[Link, ...]] = []
    for choice in product((False, True), repeat=min(len(thin), MOST_THIN)):
        weighty = {name for name, is_weight in zip(thin, choice, strict=False) if is_weight}
        weights = [name for name in tensors if name in wide or name in weighty]
        readings += _readings(tensors, weights, [name for name in tensors if name not in weights])
    return max(readings, key=_likely, default=None)


def _likely(links: Sequence[Link]) -> int:
    """How many names say what this reading says."""
    biases = [link.b for link in links if link.b is not None]
    return sum(named_bias(b) for b in biases) - sum(named_bias(link.W) for link in links)


def named_bias(name: str) -> bool:
    """Whether a parameter is called a bias: b1, layer.bias, biases."""
    last = name.rpartition(".")[2].lower()
    return last.startswith("b") or "bias" in last


def _readings(tensors: Tensors, weights: Sequence[str], biases: Sequence[str]) -> Iterator[tuple[Link, ...]]:
    """Every way in which these weights make a chain with these biases."""
    for outer_first in (False, True):
        shapes = [tensors[W].shape[::-1] if outer_first else tensors[W].shape for W in weights]
        steps, outs = list(pairwise(shapes)), [shape[1] for shape in shapes]
        fed = all(a[1] == b[0] for a, b in steps)
        if biases and fed and [_size(tensors[b], outer_first) for b in biases] == outs:
            yield tuple(Link(W, b, outer_first) for W, b in zip(weights, biases, strict=True))
        elif weights and not biases and fed:
            yield tuple(Link(W, None, outer_first) for W in weights)
        elif weights and not biases and all(b[0] == a[1] + 1 for a, b in steps):
            yield tuple(Link(W, None, outer_first, "first") for W in weights)


def _size(b: np.ndarray, outer_first: bool) -> int:
    """The length of a bias; 0 if it stands the other way than the samples: rows have (1, k), columns (k, 1)."""
    return b.size if b.ndim == 1 or b.shape[int(outer_first)] == 1 else 0
