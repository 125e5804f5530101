"""The evidence: each layer's weights and biases with their gradients by hand and by differences, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from nnbackprop.diagnostics.gradcheck.function import INPUT, Function
from nnbackprop.diagnostics.gradcheck.numeric import Tensors, entry, slopes

from .chain import Link, chain, named_bias

SAMPLE = 48  # entries of a piece that are compared one by one
EXACT = 1e-5
"""Relative misfit below which numbers that differ by rounding and differences alone are the same."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A layer's weights or biases: entries of the gradient by hand, by differences, and the parameters there."""

    layer: int
    kind: Literal["W", "b"]
    name: str
    hand: np.ndarray
    numeric: np.ndarray
    values: np.ndarray
    noise: float

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.name

    @cached_property
    def good(self) -> bool:
        """Whether the gradient is right."""
        return self.misfit(self.numeric) <= EXACT

    def misfit(self, expected: np.ndarray) -> float:
        """How far the gradient by hand is from `expected`, relative to both, beyond what rounding does."""
        scale = max(norm(self.hand), norm(expected), 100 * self.noise * len(expected) ** 0.5 / EXACT)
        return norm(self.hand - expected) / scale if scale else 0.0

    @cached_property
    def factor(self) -> float | None:
        """The a of hand = a numeric, where one number fits all entries; None where none does."""
        square = float(self.numeric @ self.numeric)
        if square <= (100 * self.noise) ** 2 * len(self.numeric):
            return None
        a = float(self.hand @ self.numeric) / square
        return a if self.misfit(a * self.numeric) <= EXACT else None

    @cached_property
    def line(self) -> tuple[float, float] | None:
        """The (a, c) of hand = a numeric + c parameters, where they fit and c is not zero."""
        if len(self.hand) < 3 or self.factor is not None:
            return None
        columns = np.stack([self.numeric, self.values], axis=1)
        (a, c), *_ = np.linalg.lstsq(columns, self.hand, rcond=None)
        return (float(a), float(c)) if self.misfit(columns @ [a, c]) <= EXACT else None

    @cached_property
    def excess(self) -> float | None:
        """The c of hand = numeric + c parameters, where it fits and is not zero."""
        square = float(self.values @ self.values)
        if self.good or not square:
            return None
        apart = self.hand - self.numeric
        c = float(apart @ self.values) / square
        rest, noise = norm(apart - c * self.values), 100 * self.noise * len(apart) ** 0.5
        return c if rest <= 1e-3 * norm(apart) + noise else None


@dataclass(frozen=True, eq=False)
class Case:
    """A function whose gradient is wrong somewhere, ready for questions."""

    function: Function
    point: Tensors
    links: tuple[Link, ...] | None
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, function: Function, point: Tensors, hand: Tensors, links: tuple[Link, ...] | None = None) -> Case:
        """Compare a sample of each piece's entries; the layers are read off the shapes unless they are given."""
        own = {name: a for name, a in point.items() if name != INPUT}
        links = links or _settled(function, point, chain(own))
        pieces = tuple(_pieces(function, point, hand, links))
        return cls(function, point, links, tuple(p for p in pieces if len(p.hand)))

    def readings(self) -> Iterator[Case]:
        """The case, and where all is in one matrix, the case with its first or last row as the biases."""
        yield self
        if self.links and len(self.links) == 1 and not self.links[0].biased:
            hand = self.function.gradients(self.point)
            for within in ("first", "last"):
                yield Case.of(self.function, self.point, hand, (replace(self.links[0], within=within),))

    @property
    def bad(self) -> tuple[Piece, ...]:
        """The pieces whose gradient is wrong."""
        return tuple(piece for piece in self.pieces if not piece.good)

    def piece(self, layer: int, kind: str) -> Piece | None:
        """The weights or biases of a layer."""
        return next((p for p in self.pieces if (p.layer, p.kind) == (layer, kind)), None)


def _settled(function: Function, point: Tensors, links: tuple[Link, ...] | None) -> tuple[Link, ...] | None:
    """Biases within W are first or last: of the next W only theirs is kept, and no error may come back by it."""
    if not links or len(links) < 2 or links[0].within is None:
        return links
    low, high = links[0], links[1]
    cut = high.with_weight(point, 0.0)
    places = (point, cut, {**cut, high.W: np.zeros_like(point[high.W])})
    v = [np.random.Generator(np.random.Philox(key=3)).standard_normal(point[low.W].shape)]
    usual, left, penalty = (float(slopes(function.value, p, low.W, v, EXACT).values[0]) for p in places)
    if abs(left - penalty) < 1e-3 * abs(usual - penalty):
        return links
    return tuple(replace(link, within="last") for link in links)


def _pieces(function: Function, point: Tensors, hand: Tensors, links: Sequence[Link] | None) -> list[Piece]:
    if links is None:
        names = [name for name in point if name != INPUT]
        kinds = {name: "b" if named_bias(name) else "W" for name in names}
        return [
            _piece(function, point, hand, i, kinds[name], name, np.arange(point[name].size))
            for i, name in enumerate(names)
        ]
    pieces = []
    for layer, link in enumerate(links):
        places: Mapping[str, np.ndarray] = {name: np.arange(a.size).reshape(a.shape) for name, a in point.items()}
        pieces.append(_piece(function, point, hand, layer, "W", link.W, link.weight(places)))
        if link.biased:
            pieces.append(_piece(function, point, hand, layer, "b", link.b or link.W, link.bias(places)))
    return pieces


def _piece(
    function: Function, point: Tensors, hand: Tensors, layer: int, kind: str, name: str, places: np.ndarray
) -> Piece:
    rng = np.random.Generator(np.random.Philox(key=layer))
    flat = np.sort(rng.permutation(places.reshape(-1))[:SAMPLE])
    found = slopes(function.value, point, name, [entry(point[name].shape, i) for i in flat.tolist()], EXACT)
    known = ~np.isnan(found.values)
    of_hand = hand[name].reshape(-1)[flat]
    return Piece(
        layer,
        "W" if kind == "W" else "b",
        name,
        of_hand[known],
        found.values[known],
        point[name].reshape(-1)[flat][known],
        found.noise,
    )


def norm(a: np.ndarray) -> float:
    """The Euclidean norm."""
    return float(np.linalg.norm(a))
