"""A search as lines for the terminal: a trial as it ends, and the table of all."""

from __future__ import annotations

import math
import shlex
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from nnbackprop.runs.search_result import SearchResult, TrialRow

from .formatting import loss, percent
from .tables import MISSING, new_table

MAX_ROWS = 20


def search_report(found: SearchResult) -> RenderableType:
    """The best trials first, with their settings; how much each setting mattered; where the best recipe is."""
    names = list(dict.fromkeys(name for row in found.trials for name in row.params))
    heads = [name.replace("_", "-") for name in names]
    table = new_table("trial", "outcome", "epochs", "loss", *heads, right=("trial", "epochs", "loss", *heads))
    for row in found.ranked[:MAX_ROWS]:
        settings = (value_text(row.params[name]) if name in row.params else MISSING for name in names)
        table.add_row(str(row.number), escape(row.outcome), str(row.epochs), _loss(row), *map(escape, settings))
    if len(found.trials) > MAX_ROWS:
        table.caption = f"and {len(found.trials) - MAX_ROWS} more"
    lines: list[RenderableType] = [table]
    if found.importances:
        shares = (f"{name.replace('_', '-')} {percent(share)}" for name, share in found.importances.items())
        lines.append(Text(f"what mattered: {', '.join(shares)}"))
    if found.best is None:
        lines.append(Text("No trial was trained to its end: the outcomes say why.", "yellow"))
    else:
        lines.append(Text(f"Best: nnbackprop train {shlex.quote(str(found.path / 'best.toml'))}"))
    return Group(*lines)


def trial_line(row: TrialRow, planned: int) -> str:
    """A trial that ended, in a line."""
    settings = "  ".join(f"{name.replace('_', '-')} {value_text(value)}" for name, value in row.params.items())
    what = f"{row.outcome}  loss {_loss(row)}  epochs {row.epochs}"
    return f"{row.number + 1}/{planned}  trial {row.number}  {what}  {settings}"


def value_text(value: Any) -> str:
    """A setting's value in a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _loss(row: TrialRow) -> str:
    return MISSING if math.isnan(row.loss) else loss(row.loss)
