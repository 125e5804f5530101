"""The learning-rate range test as lines for the terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from nnbackprop.training.lr_finder import LRFinderResult

from . import formatting
from .tables import new_table

BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 60  # of the curve in the terminal


def lr_find_report(found: LRFinderResult) -> RenderableType:
    """The smoothed loss as a row of bars over the learning rate, and both suggestions."""
    lrs, least = found.lrs, found.smoothed[found.lowest]
    end = "the loss exploded there" if found.exploded else "the loss did not explode"
    lines = [
        f"loss  {bars(found.smoothed)}",
        f"lr    {lrs[0]:.1g} to {lrs[-1]:.2g}: {end}; least loss {formatting.loss(float(least))} at "
        f"{lrs[found.lowest]:.2g}",
    ]
    if found.steepest is None or found.minimum_over_ten is None:
        last = Text("The loss falls at no learning rate: nnbackprop doctor looks for the reason.", style="yellow")
        return Group(*lines, last)
    table = new_table("suggestion", "flag")
    table.add_row("least loss, divided by 10 (--lr auto)", f"--lr {found.minimum_over_ten:.2g}")
    table.add_row("steepest fall of the loss", f"--lr {found.steepest:.2g}")
    return Group(*lines, table)


def bars(values: np.ndarray, columns: int = COLUMNS) -> str:
    """Values (n,) as a row of bars, the least as the lowest; means of neighbours where they are more."""
    heights = np.array([part.mean() for part in np.array_split(values, min(columns, len(values)))])
    low, high = heights.min(), heights.max()
    levels = (heights - low) / ((high - low) or 1.0) * (len(BARS) - 1)
    return "".join(BARS[round(level)] for level in levels.tolist())
