"""Tables for the terminal: layers, backends, recipes, a run's summary, predictions, a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from backends import BackendStatus
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.runs.config import Config
from nnbackprop.training.events import LayerRow

from .flags import with_flags
from .formatting import count, duration, metric, number, percent, plural, shape, size
from .prediction_metrics import by_class

MISSING = "–"
LEVEL_STYLES = {"fault": "bold red", "warning": "yellow", "note": "cyan"}
MAX_ROWS = 20  # samples of one file shown before the rest is only counted


def new_table(*columns: str, right: Sequence[str] = (), **options: Any) -> Table:
    """An empty table with a rule under its heads, plain text; the columns named in `right` are set right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, **options)
    for name in columns:
        table.add_column(escape(name), justify="right" if name in right else "left", overflow="fold")
    return table


def layer_table(layers: Sequence[LayerRow], width: int = 80) -> Table:
    """Layers: output shape, parameters, their bytes, FLOPs of a sample's forward pass; and the sums.

    Where `width` is too small for all, bytes, FLOPs and shapes are left out in this order: no number is cut.
    """
    columns = {
        "layer": [*(layer.name for layer in layers), "total"],
        "shape": [*(shape(row.out_shape) for row in layers), ""],
        "parameters": [count(n) if n else MISSING for n in _with_sum(row.parameters for row in layers)],
        "bytes": [size(n) if n else MISSING for n in _with_sum(row.bytes for row in layers)],
        "FLOPs": [count(n) for n in _with_sum(row.flops for row in layers)],
    }
    for name in ("bytes", "FLOPs", "shape"):
        if sum(max(map(len, [head, *cells])) + 3 for head, cells in columns.items()) - 1 > width:
            del columns[name]
    right = tuple(columns)[1:]
    table = new_table(*columns, right=right, show_footer=True)
    for column, cells in zip(table.columns, columns.values(), strict=True):
        column.footer, column.no_wrap = cells[-1], column.header != "layer"
    for row in zip(*(cells[:-1] for cells in columns.values()), strict=True):
        table.add_row(*row)
    return table


def _with_sum(numbers: Iterable[int]) -> list[int]:
    numbers = list(numbers)
    return [*numbers, sum(numbers)]


def backends_table(rows: Sequence[BackendStatus]) -> Table:
    """Which array libraries work here; for those that do not, why and the fix."""
    table = new_table("backend", "version", "device", "memory", "remarks")
    for row in rows:
        name = f"[bold green]{row.name}[/]" if row.usable else f"[dim]{row.name}[/]"
        free = row.memory.free if row.memory else None
        memory = MISSING if free is None else f"{size(free)} free"
        if not row.usable:
            remarks = f"{row.reason} {row.fix}"
        elif row.name == "numpy":
            remarks = (
                "works, elementwise kernels fused by numba"
                if row.fused
                else "works; faster with pip install numba"
            )
        else:
            remarks = f"works: {row.description}" if row.description else "works"
        table.add_row(name, row.version or MISSING, row.device or MISSING, memory, escape(remarks))
    return table


def recipes_table(recipes: Sequence[Config]) -> Table:
    """The recipes that come with the package."""
    table = new_table("recipe", "what it is")
    for recipe in recipes:
        table.add_row(f"[bold]{recipe.recipe}[/]", escape(recipe.title))
    return table


def summary_table(summary: Mapping[str, Any]) -> Group:
    """A finished run: loss and metrics of each part, and a line with its steps, time, speed and device."""
    names = [key.removeprefix("train_") for key in summary if key.startswith("train_")]
    heads = [name.replace("_", " ") for name in names]
    table = new_table("", *heads, right=heads)
    for part in ("train", "validation", "test"):
        values = ((name, summary[f"{part}_{name}"]) for name in names)
        table.add_row(part, *(MISSING if value is None else metric(name, value) for name, value in values))
    speed, steps = summary["samples_per_second"], plural(summary["steps"], "step")
    line = (
        f"{plural(summary['epochs'], 'epoch')}, {steps} in {duration(summary['seconds'])}"
        + (f", {count(speed)} samples/s" if speed else "")
        + f", on {summary['backend']} ({summary['device']}, {summary['dtype']})"
    )
    return Group(table, Text(line))


def prediction_table(
    name: str, classes: Sequence[str], predicted: Sequence[int] | np.ndarray, probabilities: np.ndarray
) -> Table:
    """Predicted class of each sample (n,) and the probabilities (n, k) of the three likeliest classes."""
    table = new_table("sample", "class", "likeliest", title=escape(name), title_justify="left")
    for i, (label, row) in enumerate(zip(predicted[:MAX_ROWS], by_class(probabilities), strict=False)):
        likeliest = np.argsort(-row, kind="stable")[:3]
        listed = ", ".join(f"{classes[k]} {percent(float(row[k]))}" for k in likeliest)
        table.add_row(str(i + 1), f"[bold]{escape(classes[label])}[/]", escape(listed))
    if len(predicted) > MAX_ROWS:
        table.caption = f"and {count(len(predicted) - MAX_ROWS)} more"
    return table


def label_table(name: str, labels: Sequence[str], probabilities: np.ndarray) -> Table:
    """The probability (n, k) of each of several labels, and the labels that are likelier than not."""
    heads = (*labels, "labels")
    table = new_table("sample", *heads, right=labels, title=escape(name), title_justify="left")
    for i, row in enumerate(probabilities[:MAX_ROWS]):
        likely = ", ".join(label for label, p in zip(labels, row, strict=True) if p >= 0.5)
        table.add_row(str(i + 1), *(percent(float(p)) for p in row), f"[bold]{escape(likely or MISSING)}[/]")
    if len(probabilities) > MAX_ROWS:
        table.caption = f"and {count(len(probabilities) - MAX_ROWS)} more"
    return table


def value_table(name: str, targets: Sequence[str], values: np.ndarray) -> Table:
    """Predicted numbers (n, k) under the targets' names."""
    table = new_table("sample", *targets, right=targets, title=escape(name), title_justify="left")
    for i, row in enumerate(values[:MAX_ROWS]):
        table.add_row(str(i + 1), *(number(float(value)) for value in row))
    if len(values) > MAX_ROWS:
        table.caption = f"and {count(len(values) - MAX_ROWS)} more"
    return table


def diagnosis_report(diagnosis: Diagnosis) -> RenderableType:
    """What was chosen of a table, all findings, the worst first, and what passed or did not apply."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    lines: list[RenderableType] = [
        Text(f"{name}: {with_flags(text)}") for name, text in diagnosis.description.items()
    ]
    lines += [Text(""), grid] if diagnosis.findings and lines else [grid] if diagnosis.findings else []
    counts = []
    for level, colour in LEVEL_STYLES.items():
        found = [finding for finding in diagnosis.findings if finding.level == level]
        counts += [plural(len(found), level)] if found else []
        for finding in found:
            grid.add_row(f"[{colour}]{level}[/]", f"[bold]{finding.id}[/]")
            for name in ("evidence", "cause", "fix"):
                grid.add_row(f"[dim]{name}[/]", escape(with_flags(getattr(finding, name))))
            grid.add_row()
    lines.append(Text(", ".join(counts) or "no problems found", style="bold"))
    if diagnosis.passed:
        lines.append(Text(f"passed: {', '.join(diagnosis.passed)}"))
    if diagnosis.not_applicable:
        lines.append(Text(f"not applicable: {', '.join(diagnosis.not_applicable)}", style="dim"))
    return Group(*lines)
