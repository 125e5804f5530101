"""A wrong gradient ready for questions: both gradients of each dense layer, and the function at other parameters.

A user's parameters have no layers, only shapes: (784, 100), (100,), (100, 10), (10,). Weights may be (in, out) or
(out, in), biases vectors, rows, columns, the first or last column of the weights (as a column of ones in the data
makes them), or none at all. Here every W is (in, out) and every b (out,).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors, derivatives, partial_derivatives
from nnbackprop.diagnostics.gradcheck.function import INPUT, Function

from .catalogue import COLUMNS, ROWS, ROWS_W_TRANSPOSED

MOST_THIN = 12  # tensors of one row or column may be W or b; each doubles the readings
SAMPLE = 48  # entries of a tensor that are compared one by one
EXACT = 1e-5
"""Relative difference below which two gradients are the same but for rounding."""


class ExperimentError(Exception):
    """The function raised at parameters it was never meant for, such as weights of zero."""


@dataclass(frozen=True)
class DenseLayer:
    """The names of a layer's weights and biases, and how the user keeps them."""

    W: str
    b: str | None  # None: no biases
    transposed: bool  # W is kept as (out, in)
    inside: Literal["first", "last"] | None = None  # where in W the biases are, as weights of an input of 1

    def read(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """W (in, out) and b (out,), by name, of the user's tensors."""
        W = tensors[self.W].T if self.transposed else tensors[self.W]
        if self.b is None:
            return {self.W: W}
        if self.inside is None:
            return {self.W: W, self.b: tensors[self.b].reshape(-1)}
        return {self.W: W[1:], self.b: W[0]} if self.inside == "first" else {self.W: W[:-1], self.b: W[-1]}

    def write(self, tensors: Tensors) -> np.ndarray:
        """The user's tensor with W, of W (in, out) and b (out,)."""
        W = tensors[self.W]
        if self.b is not None and self.inside is not None:
            W = np.vstack([tensors[self.b], W] if self.inside == "first" else [W, tensors[self.b]])
        return W.T if self.transposed else W


@dataclass(frozen=True, eq=False)
class Part:
    """A layer's weights or biases: entries of both gradients, and the parameters there, each (entries,)."""

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
        return self.misfit(self.numerical) <= EXACT

    @cached_property
    def rounding(self) -> float:
        """The norm of what rounding does to `numerical`."""
        return 10 * self.noise * len(self.numerical) ** 0.5

    def misfit(self, expected: np.ndarray) -> float:
        """How far the analytic gradient is from `expected`, relative to both, beyond rounding."""
        scale = max(norm(self.analytic), norm(expected), 10 * self.rounding / EXACT)
        return norm(self.analytic - expected) / scale if scale else 0.0

    @cached_property
    def factor(self) -> float | None:
        """The a of analytic = a numerical, or of analytic = a numerical + c values; None where neither fits."""
        if norm(self.numerical) <= 10 * self.rounding:
            return None
        for columns in ([self.numerical], [self.numerical, self.values]):
            matrix = np.stack(columns, axis=1)
            solution = np.linalg.lstsq(matrix, self.analytic, rcond=None)[0]
            if len(self.analytic) >= 2 * len(columns) - 1 and self.misfit(matrix @ solution) <= EXACT:
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
    """A function whose gradient is wrong somewhere, of W (in, out) and b (out,) of its layers."""

    function: Function
    shapes: Mapping[str, tuple[int, ...]]  # of the user's own tensors
    layers: tuple[DenseLayer, ...]  # () where the shapes do not tell: then tensors are the user's own
    point: Tensors
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, function: Function, point: Tensors, analytic: Tensors) -> Case:
        """Compare a sample of the entries of each layer's weights and biases, or of each tensor."""
        shapes, layers = {name: a.shape for name, a in point.items()}, find_layers(point)
        case = cls(function, shapes, layers, _by_layer(layers, point))
        if case._biases_are_last():
            layers = tuple(replace(layer, inside="last") for layer in layers)
            case = cls(function, shapes, layers, _by_layer(layers, point))
        analytic = _by_layer(layers, analytic)
        places = [(i, k, n) for i, layer in enumerate(layers) for k, n in (("W", layer.W), ("b", layer.b)) if n]
        if not layers:
            places = [(i, "b" if is_bias(n) else "W", n) for i, n in enumerate(point) if n != INPUT]
        parts = [case._part(analytic, *place) for place in places]
        return replace(case, parts=tuple(part for part in parts if len(part.analytic)))

    def at(self, values: Mapping[str, np.ndarray | float]) -> dict[str, np.ndarray]:
        """The point with other values of some tensors."""
        others = {name: np.full(self.point[name].shape, a, np.float64) for name, a in values.items()}
        return {**self.point, **others}

    def value(self, tensors: Tensors) -> float:
        """J; ExperimentError where the function raises."""
        return _call(self.function.value, self._as_kept(tensors))

    def gradients(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """The analytic gradients, in the parameters' shapes; ExperimentError where the function raises."""
        given = _call(self.function.gradients, self._as_kept(tensors))
        return _by_layer(self.layers, {name: given[name].reshape(shape) for name, shape in self.shapes.items()})

    def derivative_along(self, tensors: Tensors, name: str, v: np.ndarray) -> float:
        """The derivative of J along v, a direction of one tensor."""
        return float(derivatives(self.value, tensors, name, [v], 1e-4).values[0])

    @property
    def wrong(self) -> tuple[Part, ...]:
        """The parts whose gradient is wrong."""
        return tuple(part for part in self.parts if not part.right)

    def part(self, layer: int, kind: str) -> Part | None:
        """The weights or biases of a layer."""
        return next((p for p in self.parts if (p.layer, p.kind) == (layer, kind)), None)

    def _as_kept(self, tensors: Tensors) -> dict[str, np.ndarray]:
        kept = dict(tensors) | {layer.W: layer.write(tensors) for layer in self.layers}
        return {name: kept[name].reshape(shape) for name, shape in self.shapes.items()}

    def _biases_are_last(self) -> bool:
        """Whether biases within W are last, not first: then what reads as W_2 = 0 lets an error through."""
        if len(self.layers) < 2 or self.layers[0].inside is None:
            return False
        low, high = self.layers[:2]
        places = (self.point, self.at({high.W: 0}), self.at({high.W: 0, str(high.b): 0}))
        v = np.random.Generator(np.random.Philox(key=3)).standard_normal(self.point[low.W].shape)
        try:
            usual, left, penalty = (self.derivative_along(place, low.W, v) for place in places)
        except ExperimentError:
            return False
        return abs(left - penalty) >= 1e-3 * abs(usual - penalty)

    def _part(self, analytic: Tensors, layer: int, kind: str, name: str) -> Part:
        rng = np.random.Generator(np.random.Philox(key=layer))
        flat = np.sort(rng.permutation(analytic[name].size)[:SAMPLE])
        numerical = partial_derivatives(self.value, self.point, name, flat.tolist(), EXACT)
        known = ~np.isnan(numerical.values)
        of_analytic, values = (a.reshape(-1)[flat][known] for a in (analytic[name], self.point[name]))
        return Part(layer, kind, name, of_analytic, numerical.values[known], values, numerical.noise)


def _by_layer(layers: Sequence[DenseLayer], tensors: Tensors) -> dict[str, np.ndarray]:
    """The tensors with W (in, out) and b (out,) of the layers among them."""
    return dict(tensors) | {name: a for layer in layers for name, a in layer.read(tensors).items()}


def _call(ask: Callable[[Tensors], Any], tensors: Tensors) -> Any:
    try:
        return ask(tensors)
    except Exception as error:
        raise ExperimentError(str(error)) from error


def find_layers(point: Tensors) -> tuple[DenseLayer, ...]:
    """The layers from first to last; () where the shapes do not tell.

    Where several readings fit, as (5, 5), (5, 1), (1, 5), (1, 1) have two, names that begin with b are biases.
    """
    tensors = {name: a for name, a in point.items() if name != INPUT}
    if any(a.ndim not in (1, 2) for a in tensors.values()):
        return ()
    thin = [name for name, a in tensors.items() if a.ndim == 2 and 1 in a.shape]
    wide = [name for name, a in tensors.items() if a.ndim == 2 and 1 not in a.shape]
    readings: list[tuple[DenseLayer, ...]] = []
    for choice in product((False, True), repeat=min(len(thin), MOST_THIN)):
        thin_weights = {name for name, is_weight in zip(thin, choice, strict=False) if is_weight}
        weights = [name for name in tensors if name in wide or name in thin_weights]
        readings += _readings(tensors, weights, [name for name in tensors if name not in weights])

    def names_that_agree(layers: Sequence[DenseLayer]) -> int:
        return sum(is_bias(layer.b or "") - is_bias(layer.W) for layer in layers)

    return max(readings, key=names_that_agree, default=())


def is_bias(name: str) -> bool:
    """Whether a parameter is called a bias: b1, layer.bias, params['biases']."""
    last = re.split(r"[.\[]", name)[-1].strip("'\"]").lower()
    return last.startswith("b") or "bias" in last


def _readings(tensors: Tensors, weights: Sequence[str], biases: Sequence[str]) -> Iterator[tuple[DenseLayer, ...]]:
    """Every way in which these weights and biases make a chain of layers."""
    for transposed in (False, True):
        # a bias stands as the samples do: (1, k) where they are rows, (k, 1) where they are columns
        sizes = [
            b.size if b.ndim == 1 or b.shape[transposed] == 1 else 0 for b in (tensors[name] for name in biases)
        ]
        shapes = [tensors[W].shape[::-1] if transposed else tensors[W].shape for W in weights]
        steps = list(pairwise(shapes))
        fed = all(a[1] == b[0] for a, b in steps)
        if biases and fed and sizes == [shape[1] for shape in shapes]:
            yield tuple(DenseLayer(W, b, transposed) for W, b in zip(weights, biases, strict=True))
        elif weights and not biases and fed:
            yield tuple(DenseLayer(W, None, transposed) for W in weights)
        elif weights and not biases and all(b[0] == a[1] + 1 for a, b in steps):
            yield tuple(DenseLayer(W, f"the biases in {W}", transposed, "first") for W in weights)


def layout(point: Tensors) -> dict[str, str]:
    """A dense layer's formulas as the user writes them; biases (out, 1) mean that samples are columns."""
    layers = find_layers(point)
    if not layers or not layers[0].transposed:
        return ROWS
    columns = any(layer.b in point and point[layer.b].ndim == 2 for layer in layers if layer.b)
    return COLUMNS if columns else ROWS_W_TRANSPOSED


def listed(parts: Sequence[Part]) -> str:
    """Their names."""
    return ", ".join(dict.fromkeys(part.name for part in parts))


def norm(a: np.ndarray) -> float:
    """The Euclidean norm."""
    return float(np.linalg.norm(a))
