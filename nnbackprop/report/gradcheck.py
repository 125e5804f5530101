"""A gradient check as a table: each tensor's error, its worst entry, and the mistake by name."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.diagnostics.gradcheck.gradcheck import Report, TensorCheck
from nnbackprop.diagnostics.gradcheck.mistakes import Mistake

from .formatting import count, plural, shape
from .tables import NONE, ruled


def gradcheck_report(report: Report) -> RenderableType:
    """The table, what was left out, the verdict, and the mistake."""
    right = ("shape", "relative error", "analytic / numerical")
    worst = ("worst: analytic, numerical",) if any(tensor.worst for tensor in report.tensors) else ()
    grid = ruled("tensor", *right, *worst, "", right=right)
    for tensor in report.tensors:
        grid.add_row(*_row(tensor), *(_worst(tensor) for _ in worst), _verdict(tensor))
    wrong = sum(not tensor.passed for tensor in report.tensors)
    lines: list[RenderableType] = [grid]
    if kinks := sum(tensor.kinks for tensor in report.tensors):
        asked = sum(tensor.asked for tensor in report.tensors)
        lines.append(Text(f"{kinks} of {plural(asked, 'direction')} and entries met a kink and were left out"))
    verdict = "passed" if report.passed else f"FAILED: {plural(wrong, 'tensor')} of {len(report.tensors)}"
    tolerance = report.tensors[0].tolerance
    words = f"{verdict}, {count(report.numbers)} numbers, loss {report.loss:.6g}, tolerance {tolerance:g}"
    lines.append(Text(words, style="bold green" if report.passed else "bold red"))
    for mistake in report.mistakes:
        lines += ["", _mistake(mistake)]
    return Group(*lines)


def _row(tensor: TensorCheck) -> tuple[str, ...]:
    ratio = NONE if tensor.ratio is None else f"{tensor.ratio:.6g}"
    return escape(tensor.name), shape(tensor.shape), f"{tensor.error:.1e}", ratio


def _verdict(tensor: TensorCheck) -> str:
    return f"[green]{tensor.verdict}[/]" if tensor.passed else f"[bold red]{tensor.verdict}[/]"


def _worst(tensor: TensorCheck) -> str:
    if tensor.worst is None:
        return NONE
    index = ",".join(map(str, tensor.worst.index))
    return escape(f"[{index}] {tensor.worst.analytic:.4g}, {tensor.worst.numerical:.4g}")


def _mistake(mistake: Mistake) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    grid.add_row("[bold red]mistake[/]", f"[bold]{escape(mistake.name)}[/]")
    for name in ("evidence", "cause", "fix"):
        grid.add_row(f"[dim]{name}[/]", escape(getattr(mistake, name)))
    return grid
