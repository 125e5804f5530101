"""How far a library is from the first: what was measured, what was judged, and by which tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["activations", "gradients", "weights"]
KINDS: tuple[Kind, ...] = ("activations", "gradients", "weights")

Begin = Literal["own weights", "same weights"]
"""What a library begins each step from: what it has made itself, or the same as the first library, copied."""

OWN: Begin = "own weights"

TOLERANCES: dict[tuple[str, Begin], float | None] = {
    ("float64", "own weights"): 1e-12,
    ("float32", "same weights"): 1e-5,
    ("float32", "own weights"): None,
}
"""Largest relative difference by norm, for each dtype and beginning; None is reported and not judged."""

WHY = (
    "Differences are by norm, tensor by tensor: ||a - b|| / ||b||, b on the first library. float64: 1e-12 over "
    "100 steps, as rounding is 1.1e-16 and a step adds little to it, while a mistake or one other dropout mask "
    "adds 1e-3. float32: 1e-5 in steps that begin from the same weights, as rounding is 6e-8 and sums of a "
    "thousand terms add to it. A float32 run of many steps is not judged: it parts where rounding decides the "
    "sign of a unit."
)
"""Where the tolerances come from."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One tensor after one step: max |a - b| and ||a - b|| / ||b||, b on the first library.

    `tensor` is a layer's name for its activations, such as relu1, else layer and parameter, such as dense1.W.
    `norm` is ||a - b||. `excuse` says why a difference is not judged: a kink (see `Kink`), or, past the tolerance,
    that rounding alone may make as much of this tensor there (see `rounding`).
    """

    step: int
    kind: Kind
    layer: str
    tensor: str
    absolute: float
    relative: float
    norm: float
    excuse: Literal["kink", "rounding"] | None = None


@dataclass(frozen=True)
class Kink:
    """A step in which `units` pre-activations of `layer` are above 0 on one library and not on the other.

    Forward there hardly differs, backward does: that gradient is passed on or stopped. `unit` and `sample`,
    counted from 0, say where the first of them is, in the layer and in the batch; `reference` and `other` are its
    pre-activation on the first library and on the one compared.
    """

    step: int
    layer: str
    unit: int
    sample: int
    reference: float
    other: float
    units: int


@dataclass(frozen=True)
class Comparison:
    """A library against the first, in one dtype, its steps begun in one way; a difference a tensor and step.

    `kinks` are the first of the run where steps begin from own weights, which part there, and else every one.
    """

    library: str
    dtype: str
    begin: Begin
    differences: tuple[Difference, ...]
    kinks: tuple[Kink, ...]

    @property
    def tolerance(self) -> float | None:
        """Largest relative difference that passes; None where any finite one does."""
        return TOLERANCES[self.dtype, self.begin]

    @property
    def passed(self) -> bool:
        """Whether activations, gradients and weights all are within the tolerance."""
        return all(self.within(kind) for kind in KINDS)

    def within(self, kind: Kind) -> bool:
        """Whether something of a kind was judged, and all of it is within the tolerance, and a finite number."""
        rows = [d for d in self.differences if d.kind == kind]
        return any(not d.excuse for d in rows) and not any(self._past(d) for d in rows)

    def first_failure(self) -> Difference | None:
        """The first difference past the tolerance: of its step, the first on the way from input to weights."""
        return next((d for d in self.differences if self._past(d)), None)

    def _past(self, d: Difference) -> bool:
        if not math.isfinite(d.absolute):
            return True
        return not d.excuse and self.tolerance is not None and not d.relative <= self.tolerance

    def worst(self, kind: Kind, tensor: str | None = None) -> Difference | None:
        """The largest relative difference of a kind, of one tensor or of all; None if none was judged."""
        rows = (d for d in self.differences if not d.excuse and d.kind == kind and tensor in (None, d.tensor))
        return max(rows, key=lambda d: (d.relative, d.absolute), default=None)

    def absolute(self, kind: Kind, tensor: str | None = None) -> float:
        """The largest absolute difference among the same."""
        rows = (
            d.absolute for d in self.differences if not d.excuse and d.kind == kind and tensor in (None, d.tensor)
        )
        return max(rows, default=math.nan)

    def by_step(self) -> Iterator[tuple[int, float]]:
        """The largest judged relative difference of each step."""
        largest: dict[int, float] = {}
        for d in self.differences:
            if not d.excuse:
                largest[d.step] = max(largest.get(d.step, 0.0), d.relative)
        yield from sorted(largest.items())

    def tensors(self) -> dict[tuple[Kind, str], list[Difference]]:
        """Differences by kind and tensor, each in the order of steps."""
        rows: dict[tuple[Kind, str], list[Difference]] = {}
        for d in self.differences:
            rows.setdefault((d.kind, d.tensor), []).append(d)
        return rows

    def to_json(self) -> dict[str, Any]:
        """See `Parity.to_json`."""
        worst = {kind: self.worst(kind) for kind in KINDS}
        return {
            "library": self.library,
            "dtype": self.dtype,
            "begin": self.begin,
            "tolerance": self.tolerance,
            "passed": self.passed,
            "worst": {kind: d and _plain(asdict(d)) for kind, d in worst.items()},
            "first_failure": (first := self.first_failure()) and _plain(asdict(first)),
            "kinks": [_plain(asdict(kink)) for kink in self.kinks],
            "tensors": [
                {
                    "kind": kind,
                    "layer": rows[0].layer,
                    "tensor": tensor,
                    "absolute": [_number(d.absolute) for d in rows],
                    "relative": [_number(d.relative) for d in rows],
                    "excuse": [d.excuse for d in rows],
                }
                for (kind, tensor), rows in self.tensors().items()
            ],
        }


@dataclass(frozen=True)
class Library:
    """A library that took part."""

    name: str
    version: str
    device: str


@dataclass(frozen=True)
class Absent:
    """A library that could not, why, and what mends it."""

    name: str
    reason: str
    mend: str


@dataclass(frozen=True)
class Parity:
    """The same training on several libraries, all compared with the first."""

    recipe: str
    steps: int
    batch_size: int
    seed: int
    libraries: tuple[Library, ...]
    absent: tuple[Absent, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(comparison.passed for comparison in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite is null.

        recipe, steps, batch_size, seed, passed   what was trained, and whether every comparison passed
        libraries    [{name, version, device}], the first the one compared with
        absent       [{name, reason, mend}]
        tolerances   where they come from, in words
        comparisons  [{library, dtype, begin, tolerance or null, passed,
                       worst: {activations, gradients, weights: a difference or null},
                       first_failure: a difference or null,
                       kinks: [{step, layer, unit, sample, reference, other, units}],
                       tensors: [{kind, layer, tensor, absolute, relative, excuse}]}]
        A difference is {step, kind, layer, tensor, absolute, relative, norm, excuse}; the lists of a tensor have a
        value a step, from step 1 on. Units and samples count from 0.
        """
        return {
            "recipe": self.recipe,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "passed": self.passed,
            "libraries": [asdict(library) for library in self.libraries],
            "absent": [asdict(library) for library in self.absent],
            "tolerances": WHY,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }


def difference(step: int, kind: Kind, layer: str, tensor: str, a: np.ndarray, b: np.ndarray) -> Difference:
    """How far `a` is from `b`, the first library's; what is no number is infinite."""
    a, b = a.astype(float), b.astype(float)  # squares of small float32 numbers would be 0
    with np.errstate(all="ignore"):  # inf - inf is said below
        d = a - b
        apart, largest, size = _norm(d), float(np.max(np.abs(d), initial=0.0)), _norm(b)
    if not (math.isfinite(apart) and math.isfinite(largest)):
        return Difference(step, kind, layer, tensor, math.inf, math.inf, math.inf)
    return Difference(step, kind, layer, tensor, largest, _share(apart, size), apart)


def _norm(a: np.ndarray) -> float:
    return math.sqrt(np.sum(a * a))  # np.linalg.norm wakes a thread pool for each tensor


def _share(apart: float, size: float) -> float:
    """apart / size; where size is zero, 0 if apart is too and else infinite."""
    if size == 0.0:
        return 0.0 if apart == 0.0 else math.inf
    return apart / size


def _number(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in row.items()}
