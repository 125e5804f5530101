"""Results of a parity run: what was measured, what was judged, and by which tolerance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from backends import BackendStatus
from nnbackprop._json import json_values

Kind = Literal["activations", "gradients", "weights"]
KINDS: tuple[Kind, ...] = ("activations", "gradients", "weights")

Excuse = Literal["kink", "rounding"]
"""Why a difference is not judged: a kink (see `Kink`), or rounding alone (see `Comparison.rounding`)."""

TOLERANCES = {"float64": 1e-12, "float32": 1e-5}
"""Largest relative difference by norm, for each dtype."""

ROUNDING_ERRORS = 100
"""A sum of a thousand terms has some thirty rounding errors; ten thousand have a hundred."""

TOLERANCE_NOTE = (
    "Differences are by norm, tensor by tensor: ||a - b|| / ||b||, b on the first library. float64: 1e-12 over "
    "100 steps, as rounding is 1.1e-16 and a step adds little to it, while a mistake or one other dropout mask "
    "adds 1e-3. float32: 1e-5 in steps that begin from the same weights, as rounding is 6e-8 and sums of a "
    "thousand terms add to it. A float32 run of many steps is not compared: it diverges from the reference where "
    "rounding decides the sign of a unit."
)
"""Where the tolerances come from."""


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """One tensor after one step: max |a - b|, ||a - b|| / ||b|| and ||a - b||, b on the reference library.

    `tensor` is a layer's name for its activations, such as relu1, else layer and parameter, such as dense1.W.
    """

    step: int
    kind: Kind
    layer: str
    tensor: str
    absolute: float
    relative: float
    norm: float
    excuse: Excuse | None = None


@dataclass(frozen=True)
class Kink:
    """A step in which `units` pre-activations of `layer` are above 0 on one library and not on the other.

    Forward there hardly differs, backward does: that gradient is passed on or stopped. `unit` and `sample`,
    counted from 0, say where the first of them is, in the layer and in the batch; `reference` and `other` are its
    pre-activation on the reference library and on the one compared.
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
    """A library against the reference in one dtype; a difference for each tensor and step.

    `kinks` are those of the first step that has any where steps begin from own weights, else all.
    """

    library: str
    dtype: str
    differences: list[TensorDifference] = field(default_factory=list)
    kinks: list[Kink] = field(default_factory=list)

    @property
    def tolerance(self) -> float:
        """Largest relative difference that passes."""
        return TOLERANCES[self.dtype]

    @property
    def rounding(self) -> float:
        """Largest rounding error, as a share of the largest norm of all activations, gradients or weights.

        A tensor may be the small difference of large numbers, such as the slope y (1 - y) of a saturated sigmoid
        or the p - t of a sample that is learned: its own norm says little of its rounding error.
        """
        return ROUNDING_ERRORS * float(np.finfo(self.dtype).eps)

    @property
    def begin(self) -> Literal["own weights", "same weights"]:
        """What each step begins from: the library's own weights, or in float32 the reference library's."""
        return "own weights" if self.dtype == "float64" else "same weights"

    @property
    def passed(self) -> bool:
        """Whether activations, gradients and weights all are within the tolerance."""
        return all(self.within(kind) for kind in KINDS)

    def within(self, kind: Kind) -> bool:
        """Whether some of a kind was judged, and all of it is finite and within the tolerance."""
        failed = any(self._past(d) for d in self.differences if d.kind == kind)
        return bool(self.judged(kind)) and not failed

    def judged(self, kind: Kind) -> list[TensorDifference]:
        """The differences of a kind without an excuse."""
        return [d for d in self.differences if d.kind == kind and not d.excuse]

    def worst(self, kind: Kind) -> TensorDifference | None:
        """The largest judged relative difference of a kind; None if none was judged."""
        return max(self.judged(kind), key=lambda d: (d.relative, d.absolute), default=None)

    def first_failure(self) -> TensorDifference | None:
        """The first difference past the tolerance: of its step, the first on the way from input to weights."""
        return next((d for d in self.differences if self._past(d)), None)

    def _past(self, d: TensorDifference) -> bool:
        return not math.isfinite(d.absolute) or (not d.excuse and not d.relative <= self.tolerance)

    def tensors(self) -> dict[tuple[Kind, str], list[TensorDifference]]:
        """Differences by kind and tensor, each in the order of steps."""
        rows: dict[tuple[Kind, str], list[TensorDifference]] = {}
        for d in self.differences:
            rows.setdefault((d.kind, d.tensor), []).append(d)
        return rows

    def to_json(self) -> dict[str, Any]:
        """See `Parity.to_json`."""
        first, worst = self.first_failure(), {kind: self.worst(kind) for kind in KINDS}
        tensors = [
            {
                "kind": kind,
                "layer": rows[0].layer,
                "tensor": tensor,
                **{name: [getattr(d, name) for d in rows] for name in ("absolute", "relative", "excuse")},
            }
            for (kind, tensor), rows in self.tensors().items()
        ]
        found = {
            "library": self.library,
            "dtype": self.dtype,
            "begin": self.begin,
            "tolerance": self.tolerance,
            "passed": self.passed,
            "worst": {kind: d and asdict(d) for kind, d in worst.items()},
            "first_failure": first and asdict(first),
            "kinks": [asdict(kink) for kink in self.kinks],
            "tensors": tensors,
        }
        return dict(json_values(found))


@dataclass(frozen=True)
class Parity:
    """The same training on several libraries, all compared with the first; `absent` cannot be used here."""

    recipe: str
    steps: int
    batch_size: int
    seed: int
    libraries: tuple[BackendStatus, ...]
    absent: tuple[BackendStatus, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(comparison.passed for comparison in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite is null.

        recipe, steps, batch_size, seed, passed   what was trained, and whether every comparison passed
        libraries    [{name, version, device}], the first the one compared with
        absent       [{name, reason, fix}]
        tolerances   where they come from, as text
        comparisons  [{library, dtype, begin, tolerance, passed,
                       worst: {activations, gradients, weights: a difference or null},
                       first_failure: a difference or null,
                       kinks: [{step, layer, unit, sample, reference, other, units}],
                       tensors: [{kind, layer, tensor, absolute, relative, excuse}]}]
        A difference is {step, kind, layer, tensor, absolute, relative, norm, excuse}; the lists of a tensor have a
        value for each step, from step 1 on. Units and samples count from 0.
        """
        return {
            **{name: getattr(self, name) for name in ("recipe", "steps", "batch_size", "seed", "passed")},
            "libraries": [{"name": s.name, "version": s.version, "device": s.device} for s in self.libraries],
            "absent": [{"name": s.name, "reason": s.reason, "fix": s.fix} for s in self.absent],
            "tolerances": TOLERANCE_NOTE,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }
