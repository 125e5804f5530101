"""A checked gradient as a table: each tensor's error, its worst entry, and the mistake by name."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from nnbackprop.diagnostics.gradcheck.gradcheck import Report, TensorCheck

from .findings import findings_table
from .formatting import count, plural, shape
from .tables import NONE, ruled


def gradients_report(report: Report) -> RenderableType:
    """The table, what was left out, the verdict, and the likely mistake."""
    right = ("shape", "relative error", "hand / numeric")
    worst = ("worst: hand, numeric",) if any(tensor.worst for tensor in report.tensors) else ()
    grid = ruled("tensor", *right, *worst, "", right=right)
    for tensor in report.tensors:
        grid.add_row(*_row(tensor), *(_worst(tensor) for _ in worst), _coloured(tensor))
    wrong = sum(not tensor.passed for tensor in report.tensors)
    lines: list[RenderableType] = [grid]
    if kinks := sum(tensor.kinks for tensor in report.tensors):
        asked = sum(tensor.asked for tensor in report.tensors)
        lines.append(Text(f"{kinks} of {plural(asked, 'direction')} and entries met a kink and were left out"))
    verdict = "passed" if report.passed else f"FAILED: {plural(wrong, 'tensor')} of {len(report.tensors)}"
    tolerance = report.tensors[0].tolerance
    words = f"{verdict}, {count(report.numbers)} numbers, loss {report.loss:.6g}, tolerance {tolerance:g}"
    lines.append(Text(words, style="bold green" if report.passed else "bold red"))
    return Group(*lines, "", findings_table(report.mistakes)) if report.mistakes else Group(*lines)


def _row(tensor: TensorCheck) -> tuple[str, ...]:
    return (
        escape(tensor.name),
        shape(tensor.shape),
        f"{tensor.error:.1e}",
        NONE if tensor.ratio is None else f"{tensor.ratio:.6g}",
    )


def _coloured(tensor: TensorCheck) -> str:
    return f"[green]{tensor.verdict}[/]" if tensor.passed else f"[bold red]{tensor.verdict}[/]"


def _worst(tensor: TensorCheck) -> str:
    if tensor.worst is None:
        return NONE
    index = ",".join(map(str, tensor.worst.index))
    return escape(f"[{index}] {tensor.worst.hand:.4g}, {tensor.worst.numeric:.4g}")
