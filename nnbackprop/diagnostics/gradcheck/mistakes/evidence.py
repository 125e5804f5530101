"""A wrong gradient ready for questions: each layer's weights and biases, and the function at other parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors, derivatives, partial_derivatives
from nnbackprop.diagnostics.gradcheck.function import INPUT, Function

from .dense_layers import DenseLayer, find_layers, is_bias_name

T = TypeVar("T")

SAMPLE = 48  # entries of a tensor that are compared one by one
EXACT = 1e-5
"""Relative difference below which two gradients are the same but for rounding."""


class ExperimentError(Exception):
    """The function raised at parameters it was never meant for, such as weights of zero."""


@dataclass(frozen=True, eq=False)
class Part:
    """A layer's weights or biases: entries of both gradients, and the parameters there, each (entries,)."""

    layer: int
    kind: Literal["W", "b"]
    name: str
    analytic: np.ndarray
    numerical: np.ndarray
    values: np.ndarray
    noise: float

    @cached_property
    def good(self) -> bool:
        """Whether the gradient is right."""
        return self.misfit(self.numerical) <= EXACT

    def misfit(self, expected: np.ndarray) -> float:
        """How far the analytic gradient is from `expected`, relative to both, beyond rounding."""
        scale = max(norm(self.analytic), norm(expected), 100 * self.noise * len(expected) ** 0.5 / EXACT)
        return norm(self.analytic - expected) / scale if scale else 0.0

    @cached_property
    def factor(self) -> float | None:
        """The a of analytic = a numerical, or of analytic = a numerical + c values; None where neither fits."""
        square = float(self.numerical @ self.numerical)
        if square <= (100 * self.noise) ** 2 * len(self.numerical):
            return None
        a = float(self.analytic @ self.numerical) / square
        if self.misfit(a * self.numerical) <= EXACT:
            return a
        columns = np.stack([self.numerical, self.values], axis=1)
        solution = np.linalg.lstsq(columns, self.analytic, rcond=None)[0]
        fits = len(self.analytic) >= 3 and self.misfit(columns @ solution) <= EXACT
        return float(solution[0]) if fits else None

    @cached_property
    def precision(self) -> float:
        """To how much, relative to 1, `factor` is known."""
        return 1e-8 + 10 * self.noise * len(self.numerical) ** 0.5 / (norm(self.numerical) or 1.0)

    def excess(self, values: np.ndarray) -> float | None:
        """The c of analytic = numerical + c values, where it fits and is not zero."""
        square = float(values @ values)
        if self.good or not square:
            return None
        difference = self.analytic - self.numerical
        c = float(difference @ values) / square
        rest, noise = norm(difference - c * values), 100 * self.noise * len(difference) ** 0.5
        return c if rest <= 1e-3 * norm(difference) + noise else None


@dataclass(frozen=True, eq=False)
class Case:
    """A function whose gradient is wrong somewhere."""

    function: Function
    point: Tensors
    layers: tuple[DenseLayer, ...]  # () where the shapes do not tell
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, function: Function, point: Tensors, analytic: Tensors) -> Case:
        """Compare a sample of the entries of each layer's weights and biases, or of each tensor."""
        own = {name: a for name, a in point.items() if name != INPUT}
        case = cls(function, point, find_layers(own), ())
        case = replace(case, layers=case._biases_placed())
        parts = [case._part(analytic, *place) for place in case._places(own)]
        return replace(case, parts=tuple(part for part in parts if len(part.analytic)))

    def value(self, tensors: Tensors) -> float:
        """J; ExperimentError where the function raises."""
        return _asked(self.function.value, tensors)

    def gradients(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """The analytic gradients, in the parameters' shapes; ExperimentError where the function raises."""
        given = _asked(self.function.gradients, tensors)
        return {name: g.reshape(self.point[name].shape) for name, g in given.items()}

    def numerical(self, tensors: Tensors, name: str) -> np.ndarray:
        """The numerical gradient of a whole tensor, 0 where J has a kink."""
        found = partial_derivatives(self.value, tensors, name, range(tensors[name].size), 1e-4)
        return np.nan_to_num(found.values).reshape(tensors[name].shape)

    def along(self, tensors: Tensors, name: str, v: np.ndarray) -> float:
        """The derivative of J along v, a direction of one tensor."""
        return float(derivatives(self.value, tensors, name, [v], 1e-4).values[0])

    @property
    def bad(self) -> tuple[Part, ...]:
        """The parts whose gradient is wrong."""
        return tuple(part for part in self.parts if not part.good)

    def part(self, layer: int, kind: str) -> Part | None:
        """The weights or biases of a layer."""
        return next((p for p in self.parts if (p.layer, p.kind) == (layer, kind)), None)

    def _biases_placed(self) -> tuple[DenseLayer, ...]:
        """Biases inside W are first or last: with all else of the next W at zero, no error comes back by them."""
        if len(self.layers) < 2 or self.layers[0].inside is None:
            return self.layers
        low, high = self.layers[:2]
        cut = high.with_weight(self.point, 0.0)
        v = np.random.Generator(np.random.Philox(key=3)).standard_normal(self.point[low.W].shape)
        places = (self.point, cut, {**cut, high.W: np.zeros_like(cut[high.W])})
        try:
            usual, left, penalty = (self.along(place, low.W, v) for place in places)
        except ExperimentError:
            return self.layers
        if abs(left - penalty) < 1e-3 * abs(usual - penalty):
            return self.layers
        return tuple(replace(layer, inside="last") for layer in self.layers)

    def _places(self, own: Tensors) -> list[tuple[int, Literal["W", "b"], str, np.ndarray]]:
        """Layer, kind, tensor and flat indices of each part."""
        indices: Tensors = {name: np.arange(a.size).reshape(a.shape) for name, a in own.items()}
        if not self.layers:
            return [(i, "b" if is_bias_name(name) else "W", name, indices[name]) for i, name in enumerate(own)]
        places: list[tuple[int, Literal["W", "b"], str, np.ndarray]] = []
        for i, layer in enumerate(self.layers):
            places.append((i, "W", layer.W, layer.weight(indices)))
            if layer.biased:
                places.append((i, "b", layer.b or layer.W, layer.bias(indices)))
        return places

    def _part(
        self, analytic: Tensors, layer: int, kind: Literal["W", "b"], name: str, indices: np.ndarray
    ) -> Part:
        rng = np.random.Generator(np.random.Philox(key=layer))
        flat = np.sort(rng.permutation(indices.reshape(-1))[:SAMPLE])
        numerical = partial_derivatives(self.value, self.point, name, flat.tolist(), EXACT)
        known = ~np.isnan(numerical.values)
        of_analytic, values = (a.reshape(-1)[flat][known] for a in (analytic[name], self.point[name]))
        return Part(layer, kind, name, of_analytic, numerical.values[known], values, numerical.noise)


def _asked(ask: Callable[[Tensors], T], tensors: Tensors) -> T:
    try:
        return ask(tensors)
    except Exception as error:
        raise ExperimentError(str(error)) from error


def listed(parts: Sequence[Part]) -> str:
    """Their names."""
    return ", ".join(dict.fromkeys(part.name for part in parts))


def norm(a: np.ndarray) -> float:
    """The Euclidean norm."""
    return float(np.linalg.norm(a))
