"""The report of a gradient check: each tensor's error and verdict, and the mistake behind a wrong gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnbackprop._html import html_table, html_text

from .mistakes.catalogue import Mistake


@dataclass(frozen=True)
class Entry:
    """One number of a gradient."""

    index: tuple[int, ...]
    analytic: float
    numerical: float


@dataclass(frozen=True)
class TensorCheck:
    """The check of one tensor.

    `error` is rms(analytic - numerical), relative to the larger rms, along the directions, in expectation that of
    the whole gradient; at most `tolerance` where rounding in J explains the difference. `ratio` is the median of
    analytic / numerical; `worst` the entry furthest off, of a tensor that failed; `kinks` directions and entries
    were left out because J has a kink there. Where nothing could be measured, `error` is NaN and the tensor does
    not pass.
    """

    name: str
    shape: tuple[int, ...]
    tolerance: float
    error: float
    ratio: float | None = None
    worst: Entry | None = None
    kinks: int = 0

    @property
    def passed(self) -> bool:
        """Whether the gradient is right."""
        return self.error <= self.tolerance

    @property
    def verdict(self) -> str:
        """The check in a word."""
        return "ok" if self.passed else "not checked: kinks" if math.isnan(self.error) else "WRONG"

    def __str__(self) -> str:
        """Shape, error and verdict; of a wrong one the ratio and the worst entry."""
        shape = " x ".join(map(str, self.shape)) or "1"
        line = f"{shape:<10}  relative error {self.error:.1e}  {self.verdict}"
        if not self.passed and self.ratio is not None:
            line += f"  analytic / numerical {self.ratio:.6g}"
        if self.worst:
            analytic, numerical = self.worst.analytic, self.worst.numerical
            line += f"  worst {list(self.worst.index)}: analytic {analytic:.4g}, numerical {numerical:.4g}"
        return line


@dataclass(frozen=True)
class Report:
    """J, the check of each tensor, and the mistake behind a wrong gradient."""

    loss: float
    tensors: tuple[TensorCheck, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def passed(self) -> bool:
        """Whether every tensor's gradient is right and nothing else was found."""
        return not self.mistakes and all(tensor.passed for tensor in self.tensors)

    @property
    def numbers(self) -> int:
        """How many derivatives were checked."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def verdict(self) -> str:
        """Whether it passed, in a line."""
        wrong = sum(not tensor.passed for tensor in self.tensors)
        verdict = "passed" if self.passed else f"FAILED: {wrong} of {len(self.tensors)} tensors"
        tolerance = self.tensors[0].tolerance
        return f"{verdict}, {self.numbers:,} numbers, loss {self.loss:.6g}, tolerance {tolerance:g}"

    def __str__(self) -> str:
        """A line a tensor, the verdict, then the mistake in a paragraph."""
        width = max(len(tensor.name) for tensor in self.tensors)
        lines = [f"{tensor.name:<{width}}  {tensor}" for tensor in self.tensors]
        if kinks := sum(tensor.kinks for tensor in self.tensors):
            lines.append(f"{kinks} directions and entries met a kink and were left out")
        lines.append(self.verdict)
        return "\n".join([*lines, *(f"\n{mistake}" for mistake in self.mistakes)])

    def _repr_html_(self) -> str:
        ratios = ["" if t.passed or t.ratio is None else f"{t.ratio:.6g}" for t in self.tensors]
        rows = [
            (t.name, " x ".join(map(str, t.shape)), f"{t.error:.1e}", t.verdict, ratio)
            for t, ratio in zip(self.tensors, ratios, strict=True)
        ]
        heads = ("tensor", "shape", "relative error", "verdict", "analytic / numerical")
        return html_table(heads, rows, self.verdict) + "".join(html_text(str(m)) for m in self.mistakes)
