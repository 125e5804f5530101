"""What a run has kept beside what came out when it was trained again, and how near that has to be.

In the same surroundings every bit is the same. In others sums are added up in another order: in float64 that
stays as small as rounding is; in float32 it grows from the first unit whose sign it decides, and all that can be
asked for then is that the run comes out as good. docs/reproducibility.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnbackprop.diagnostics.parity.results import difference
from nnbackprop.errors import RunFolderError

BOUND = 1e-12
"""Of the relative distance of float64 weights trained in other surroundings."""

ERRORS = 3
"""Standard errors by which the accuracies of two float32 runs of one recipe may differ."""

Which = Literal["last", "best"]


@dataclass(frozen=True)
class Tensor:
    """Weights: whether they are equal bit for bit, and ||a - b|| / ||b||, b those the run kept."""

    which: Which
    name: str
    equal: bool
    apart: float


@dataclass(frozen=True)
class Figure:
    """A figure of the summary as the run kept it and as it came out; `allowed` is None where it is only shown."""

    name: str
    kept: float | None
    again: float | None
    allowed: float | None

    @property
    def agrees(self) -> bool:
        """Whether the two are as near as is asked for."""
        if self.allowed is None or self.kept is None or self.again is None:
            return self.allowed is None or self.kept == self.again
        return abs(self.kept - self.again) <= self.allowed


@dataclass(frozen=True)
class Change:
    """Something of the surroundings that was another when the run was made."""

    name: str
    kept: Any
    now: Any


@dataclass(frozen=True)
class Repetition:
    """A run's last weights and, where it has ended, its best and its figures, beside those trained again."""

    run: Path
    backend: str
    device: str
    dtype: str
    steps: int
    tensors: tuple[Tensor, ...]
    figures: tuple[Figure, ...]
    changes: tuple[Change, ...]

    @property
    def exact(self) -> bool:
        """Whether every bit is the same."""
        return all(t.equal for t in self.tensors) and all(f.kept == f.again for f in self.figures)

    @property
    def bound(self) -> float | None:
        """How far apart weights may be in other surroundings; None of a dtype in which nothing can be promised."""
        return BOUND if self.dtype == "float64" else None

    @property
    def passed(self) -> bool:
        """Whether it is exact or, in other surroundings, as near as can be asked for."""
        near = self.bound is None or all(t.apart <= self.bound for t in self.tensors)
        return self.exact or (bool(self.changes) and near and all(f.agrees for f in self.figures))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        verdict = {"exact": self.exact, "bound": self.bound, "passed": self.passed}
        return {**asdict(self), "run": str(self.run), **verdict}


def tensors(
    which: Which, names: Sequence[str], kept: Mapping[str, np.ndarray], again: Mapping[str, np.ndarray]
) -> Iterator[Tensor]:
    """Every parameter of two checkpoints by the name of its layer; RunFolderError if `kept` lacks one."""
    for path, a in again.items():
        kind, layer, parameter = (*path.split("/"), "", "")[:3]
        if kind != "params":
            continue
        b = kept.get(path)
        if b is None or (b.shape, b.dtype) != (a.shape, a.dtype):
            raise RunFolderError(
                f"The {which} checkpoint has no {path} of shape {a.shape} and {a.dtype}, which the network of its "
                "config.toml has: one of the two is another run's. Put back its own."
            )
        name = f"{names[int(layer)]}.{parameter}"
        apart = difference(0, "weights", "", name, a, b).relative
        yield Tensor(which, name, a.tobytes() == b.tobytes(), apart)


def figures(
    kept: Mapping[str, Any], again: Mapping[str, Any], samples: Mapping[str, int], judge: str, dtype: str
) -> Iterator[Figure]:
    """Losses and accuracies of the parts, each of so many `samples`, and the best epoch.

    In float64 accuracies have to be equal. Else that of the part that judges the run has to be within `ERRORS`
    standard errors of the difference of two runs' accuracies p on n samples, (2 p (1 - p) / n)^(1/2).
    """
    for part, n in samples.items():
        for what in ("loss", "accuracy"):
            name = f"{part}_{what}"
            a, b, allowed = _number(kept.get(name)), again[name], None
            if what == "accuracy" and dtype == "float64":
                allowed = 0.0
            elif what == "accuracy" and part == judge:
                p = b if a is None else (a + b) / 2
                allowed = ERRORS * math.sqrt(2 * max(0.0, p * (1 - p)) / n)
            yield Figure(name, a, b, allowed)
    if "validation" in samples:
        yield Figure("best_epoch", _number(kept.get("best_epoch")), again["best_epoch"], None)


def changes(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """What one env.json says otherwise than another; `why` a backend was chosen changes nothing."""
    before, after = _flat(kept), _flat(now)
    for name in sorted(before.keys() | after.keys()):
        if name != "why" and before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """{"blas": {"kernel": k}} as {"blas kernel": k}."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        inner = _flat(value) if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name} {key}".strip(): v for key, v in inner.items()}
    return flat


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) else None
