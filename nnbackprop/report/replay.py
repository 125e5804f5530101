"""A run trained again, in tables: weights and figures beside those that were kept, and a verdict."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nnbackprop.diagnostics.repetition import Change, Figure, Repetition, Tensor

from .formatting import plural, share
from .tables import NONE, ruled

EQUAL = "bit for bit"


def repetition_report(found: Repetition) -> RenderableType:
    """What was trained again, every tensor, every figure, the changes, and the verdict."""
    head = f"{found.run}: {plural(found.steps, 'step')} again on {found.backend} ({found.device}, {found.dtype})"
    lines: list[RenderableType] = [Text(head), tensors_table(found)]
    if found.figures:
        lines.append(figures_table(found))
    else:
        lines.append("The run has not ended: there are no figures and no best weights to compare.")
    lines += [Text(change_words(change), style="yellow") for change in found.changes]
    style = "bold green" if found.passed else "bold red"
    return Group(*lines, Text(verdict(found), style=style))


def tensors_table(found: Repetition) -> Table:
    """A row a tensor: equal bit for bit, or its relative distance, among the last and among the best weights."""
    names = {tensor.name: "" for tensor in found.tensors}
    places = {(tensor.name, tensor.which): tensor for tensor in found.tensors}
    table = ruled("weights", "last", "best", right=("last", "best"))
    for name in names:
        table.add_row(name, *(_apart(places.get((name, which)), found.bound) for which in ("last", "best")))
    return table


def figures_table(found: Repetition) -> Table:
    """A row a figure: as it was kept, as it came out."""
    table = ruled("", "kept", "again", right=("kept", "again"))
    for figure in found.figures:
        kept, again = (_number(figure, value) for value in (figure.kept, figure.again))
        table.add_row(figure.name.replace("_", " "), kept, again if figure.agrees else f"[bold red]{again}")
    return table


def _apart(tensor: Tensor | None, bound: float | None) -> str:
    if tensor is None:
        return NONE
    if tensor.equal:
        return EQUAL
    return f"{'[bold red]' if bound is not None and tensor.apart > bound else ''}{tensor.apart:.1e}"


def _number(figure: Figure, value: float | None) -> str:
    if value is None:
        return NONE
    if figure.name.endswith("accuracy"):
        return share(value)
    return f"{value:.17g}" if figure.kept != figure.again and isinstance(value, float) else f"{value:.6g}"


def change_words(change: Change) -> str:
    """What is another now, in a line."""
    kept, now = ("not said" if value is None else value for value in (change.kept, change.now))
    return f"{change.name}: {now} now, {kept} then"


def verdict(found: Repetition) -> str:
    """Whether it is the same run, and by what it was judged."""
    if found.exact:
        return "the same, bit for bit"
    if not found.changes and all(tensor.equal for tensor in found.tensors):
        return (
            "FAILED: the weights are the same, the figures are not: what it is judged on was altered, or they were"
        )
    if not found.changes:
        return "FAILED: not the same, though nothing around the run has changed"
    if found.bound is not None:
        words = f"float64 weights within {found.bound:g}, accuracies the same"
    else:
        words = f"{found.dtype} parts where rounding decides a sign; the accuracy is that of the same recipe"
    return f"{'passed' if found.passed else 'FAILED'}, as the surroundings have changed: {words}"
