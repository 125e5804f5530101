"""Tables of several runs: the list of a folder, and a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.runs.run_table import RunInfo, RunTable

from .formatting import age, duration, loss, metric
from .lr_find import bars
from .tables import MISSING, new_table

STATUS_STYLES = {"running": "cyan", "diverged": "red", "damaged": "red", "unfinished": "yellow", "empty": "dim"}
CURVE = 24  # columns of a loss curve


def runs_table(found: RunTable) -> RenderableType:
    """A row a run: status, epochs, best score, time of training, age, tags."""
    if not found.runs:
        return Text("There are no runs here: nnbackprop train makes one; --runs-dir names another folder.")
    tags = ["tags"] if any(run.tags for run in found.runs) else []
    heads = ("run", "status", "epochs", "loss", "score", "of", "time", "age", *tags)
    table = new_table(*heads, right=("epochs", "loss", "score", "time", "age"))
    for column in table.columns[1:8]:
        column.no_wrap = True  # names and tags may go on in a second line, nothing else
    now = time.time()
    for run in found.runs:
        planned = f"{run.epochs}/{run.config.epochs}" if run.config else MISSING
        cells = (_name(run), _status(run), planned, *_score(run), duration(run.seconds), age(now - run.changed))
        table.add_row(*cells, *(_tags(run) for _ in tags))
    return table


def comparison_report(found: RunTable) -> RenderableType:
    """A column a run: scores, the settings that differ; and the loss by epoch as a row of bars."""
    metrics = list(dict.fromkeys(name for run in found.runs for name in run.score if name != "loss"))
    scores = new_table("", *(run.name for run in found.runs))
    rows: dict[str, Callable[[RunInfo], str]]
    rows = {
        "status": _status,
        "epochs": lambda run: str(run.epochs),
        "best epoch": _best_epoch,
        "scored on": _part,
    }
    rows |= {name.replace("_", " "): partial(_metric, name) for name in ("loss", *metrics)}
    rows["time"] = lambda run: duration(run.seconds)
    for name, cell in rows.items():
        scores.add_row(name, *map(cell, found.runs))
    curves = new_table("run", "loss by epoch")
    for run in found.runs:
        curves.add_row(_name(run), bars(np.array(losses), CURVE) if (losses := part_losses(run)) else MISSING)
    settings = _settings(found) if found.differences else Text("All settings are the same.")
    return Group(scores, curves, settings)


def _metric(name: str, run: RunInfo) -> str:
    if (value := run.score.get(name)) is None:
        return MISSING
    return loss(value) if name == "loss" else metric(name, value)


def _best_epoch(run: RunInfo) -> str:
    return str(run.best_row["epoch"]) if run.best_row else MISSING


def _part(run: RunInfo) -> str:
    return run.part if run.score else MISSING


def part_losses(run: RunInfo) -> list[float]:
    """The loss of each epoch, of the part that the run's score is of."""
    losses = (row.get(f"{run.part}_loss") for row in run.rows)
    return [value for value in losses if value is not None]


def _settings(found: RunTable) -> Table:
    table = new_table("setting", *(run.name for run in found.runs))
    for name, values in found.differences.items():
        table.add_row(name.replace("_", "-"), *(escape(_value(value)) for value in values))
    return table


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(_value, value)) or MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _name(run: RunInfo) -> str:
    return f"[bold]{escape(run.name)}[/]"


def _status(run: RunInfo) -> str:
    style = STATUS_STYLES.get(run.status, "green")
    return f"[{style}]{escape(run.status)}[/]"


def _score(run: RunInfo) -> tuple[str, str, str]:
    """Loss, first metric and the part they are of."""
    if not run.score:
        return MISSING, MISSING, MISSING
    first, *metrics = run.score
    return _metric(first, run), _metric(metrics[0], run) if metrics else MISSING, run.part


def _tags(run: RunInfo) -> str:
    return escape(" ".join(run.tags))
