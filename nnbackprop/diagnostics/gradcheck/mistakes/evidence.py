"""The evidence of a wrong gradient: both gradients of each dense layer, and the function at other parameters.

A user's parameters have no layers, only shapes: (784, 100), (100,), (100, 10), (10,). Weights may be (in, out) or
(out, in), biases vectors, rows, columns, the first column of the weights (as a column of ones in the data makes
them), or none at all. Here every W is (in, out) and every b (out,).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import (
    Tensors,
    derivatives,
    partial_derivatives,
    relative_error,
)
from nnbackprop.diagnostics.gradcheck.function import INPUT, Function

from .catalogue import COLUMNS, ROWS, ROWS_W_TRANSPOSED

SAMPLE = 48  # entries of a tensor that are compared one by one
EXACT_TOLERANCE = 1e-5
"""Relative difference below which two gradients are the same but for rounding."""


class ExperimentError(Exception):
    """The function raised at parameters it was never meant for, such as weights of zero."""


@dataclass(frozen=True)
class DenseLayer:
    """The names of a layer's weights and biases, and their layout in the user's tensors."""

    W: str
    b: str | None  # None: no biases
    transposed: bool  # W is (out, in)
    biases_inside: bool = False  # b is the first row of W (in, out): the weights of an input of 1

    def from_user(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """W (in, out) and b (out,), by name, of the user's tensors."""
        W = tensors[self.W].T if self.transposed else tensors[self.W]
        if self.b is None:
            return {self.W: W}
        return (
            {self.W: W[1:], self.b: W[0]}
            if self.biases_inside
            else {self.W: W, self.b: tensors[self.b].reshape(-1)}
        )

    def to_user(self, tensors: Tensors) -> np.ndarray:
        """The user's tensor with W, of W (in, out) and b (out,)."""
        W = tensors[self.W]
        if self.b is not None and self.biases_inside:
            W = np.vstack([tensors[self.b], W])
        return W.T if self.transposed else W


@dataclass(frozen=True, eq=False)
class TensorGradients:
    """Both gradients of a layer's weights or biases at some entries, and the parameters there, each (entries,)."""

    layer: int
    kind: str  # W or b
    name: str
    analytic: np.ndarray
    numerical: np.ndarray
    values: np.ndarray
    noise: float

    @cached_property
    def right(self) -> bool:
        """Whether the gradient is right."""
        return self.error(self.numerical) <= EXACT_TOLERANCE

    @cached_property
    def rounding(self) -> float:
        """The norm of the rounding error of `numerical`."""
        return 10 * self.noise * len(self.numerical) ** 0.5

    def error(self, expected: np.ndarray) -> float:
        """The distance of the analytic gradient from `expected`, relative to the larger, beyond rounding."""
        size = max(norm(self.analytic), norm(expected))
        return relative_error(norm(self.analytic - expected), size, 10 * self.rounding, EXACT_TOLERANCE)

    @cached_property
    def factor(self) -> float | None:
        """The a of analytic = a numerical, or of analytic = a numerical + c values; None where neither fits."""
        if norm(self.numerical) <= 10 * self.rounding:
            return None
        for columns in ([self.numerical], [self.numerical, self.values]):
            matrix = np.stack(columns, axis=1)
            solution = np.linalg.lstsq(matrix, self.analytic, rcond=None)[0]
            if len(self.analytic) >= 2 * len(columns) - 1 and self.error(matrix @ solution) <= EXACT_TOLERANCE:
                return float(solution[0])
        return None

    def excess(self, values: np.ndarray) -> float | None:
        """The c of analytic = numerical + c values, where it fits and is not zero."""
        difference = self.analytic - self.numerical
        c = float(difference @ values) / (float(values @ values) or 1.0)
        fits = norm(difference - c * values) <= 1e-3 * norm(difference) + 10 * self.rounding
        return c if fits and c and not self.right else None


@dataclass(frozen=True, eq=False)
class Case:
    """A function with a wrong gradient, and where: `params` are the user's own tensors."""

    function: Function
    params: Tensors

    @cached_property
    def layers(self) -> tuple[DenseLayer, ...]:
        """From first to last; () where the shapes do not tell: then tensors are the user's own."""
        return find_layers(self.params)

    @cached_property
    def point(self) -> dict[str, np.ndarray]:
        """The parameters as W (in, out) and b (out,), by name."""
        return self._from_user(self.params)

    @cached_property
    def analytic(self) -> dict[str, np.ndarray]:
        """The user's gradients at `point`, in its layout."""
        return self.gradients(self.point)

    @cached_property
    def tensors(self) -> tuple[TensorGradients, ...]:
        """Both gradients of each layer's weights and biases, or of each tensor."""
        places = [
            (i, k, n) for i, layer in enumerate(self.layers) for k, n in (("W", layer.W), ("b", layer.b)) if n
        ]
        if not self.layers:
            places = [(i, "b" if is_bias(n) else "W", n) for i, n in enumerate(self.point) if n != INPUT]
        return tuple(t for t in (self._compare(*place) for place in places) if len(t.analytic))

    @property
    def wrong(self) -> tuple[TensorGradients, ...]:
        """The tensors whose gradient is wrong."""
        return tuple(t for t in self.tensors if not t.right)

    def tensor(self, layer: int, kind: str) -> TensorGradients | None:
        """The weights or biases of a layer."""
        return next((t for t in self.tensors if (t.layer, t.kind) == (layer, kind)), None)

    def point_with(self, values: Mapping[str, np.ndarray | float]) -> dict[str, np.ndarray]:
        """The point with other values of some tensors."""
        others = {name: np.full(self.point[name].shape, a, np.float64) for name, a in values.items()}
        return {**self.point, **others}

    def value(self, tensors: Tensors) -> float:
        """J; ExperimentError where the function raises."""
        return self._call(self.function.value, tensors)

    def gradients(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """The analytic gradients, in the parameters' shapes; ExperimentError where the function raises."""
        returned = self._call(self.function.gradients, tensors)
        return self._from_user({name: returned[name].reshape(a.shape) for name, a in self.params.items()})

    def derivative_along(self, tensors: Tensors, name: str, v: np.ndarray) -> float:
        """The derivative of J along v, a direction of one tensor."""
        return float(derivatives(self.value, tensors, name, [v], 1e-4).values[0])

    def _from_user(self, tensors: Tensors) -> dict[str, np.ndarray]:
        return dict(tensors) | {name: a for layer in self.layers for name, a in layer.from_user(tensors).items()}

    def _call(self, function: Callable[[Tensors], Any], tensors: Tensors) -> Any:
        of_user = dict(tensors) | {layer.W: layer.to_user(tensors) for layer in self.layers}
        try:
            return function({name: of_user[name].reshape(a.shape) for name, a in self.params.items()})
        except Exception as error:
            raise ExperimentError(str(error)) from error

    def _compare(self, layer: int, kind: str, name: str) -> TensorGradients:
        rng = np.random.Generator(np.random.Philox(key=layer))
        entries = np.sort(rng.permutation(self.point[name].size)[:SAMPLE])
        numerical = partial_derivatives(self.value, self.point, name, entries.tolist(), EXACT_TOLERANCE)
        smooth = ~np.isnan(numerical.values)
        analytic, values = (a[name].reshape(-1)[entries][smooth] for a in (self.analytic, self.point))
        return TensorGradients(layer, kind, name, analytic, numerical.values[smooth], values, numerical.noise)


def find_layers(point: Tensors) -> tuple[DenseLayer, ...]:
    """The layers from first to last; () where the shapes do not tell.

    Where several layouts fit, as (5, 5), (5, 1), (1, 5), (1, 1) has two, names that begin with b are biases.
    """
    names = [name for name in point if name != INPUT]
    half = len(names) // 2
    pairs = [(names[::2], names[1::2]), (names[:half], names[half:])]
    orders = [*pairs, *((weights, biases) for biases, weights in pairs), (names, [])]
    found = [layers for order in orders for layers in _layouts(point, *order)]

    def names_that_agree(layers: Sequence[DenseLayer]) -> int:
        return sum(is_bias(layer.b or "") - is_bias(layer.W) for layer in layers)

    return max(found, key=names_that_agree, default=())


def is_bias(name: str) -> bool:
    """Whether a parameter is called a bias: b1, layer.bias, params['biases']."""
    last = re.split(r"[.\[]", name)[-1].strip("'\"]").lower()
    return last.startswith("b") or "bias" in last


def _layouts(point: Tensors, weights: Sequence[str], biases: Sequence[str]) -> Iterator[tuple[DenseLayer, ...]]:
    """Every layout in which these weights and biases make a chain of layers."""
    if any(point[W].ndim != 2 for W in weights) or any(point[b].ndim not in (1, 2) for b in biases):
        return
    for transposed in (False, True):
        # a bias has the direction of the samples: (1, k) where they are rows, (k, 1) where they are columns
        sizes = [
            b.size if b.ndim == 1 or b.shape[transposed] == 1 else 0 for b in (point[name] for name in biases)
        ]
        shapes = [point[W].shape[::-1] if transposed else point[W].shape for W in weights]
        steps = list(pairwise(shapes))
        chained = all(a[1] == b[0] for a, b in steps)
        if biases and chained and sizes == [shape[1] for shape in shapes]:
            yield tuple(DenseLayer(W, b, transposed) for W, b in zip(weights, biases, strict=True))
        elif weights and not biases and chained:
            yield tuple(DenseLayer(W, None, transposed) for W in weights)
        elif weights and not biases and all(b[0] == a[1] + 1 for a, b in steps):
            yield tuple(DenseLayer(W, f"the biases in {W}", transposed, biases_inside=True) for W in weights)


def layout(point: Tensors) -> dict[str, str]:
    """A dense layer's formulas as the user writes them; biases (out, 1) mean that samples are columns."""
    layers = find_layers(point)
    if not layers or not layers[0].transposed:
        return ROWS
    columns = any(layer.b in point and point[layer.b].ndim == 2 for layer in layers if layer.b)
    return COLUMNS if columns else ROWS_W_TRANSPOSED


def names_of(tensors: Sequence[TensorGradients]) -> str:
    """Their names."""
    return ", ".join(tensor.name for tensor in tensors)


def norm(a: np.ndarray) -> float:
    """The Euclidean norm."""
    return float(np.linalg.norm(a))
