"""The result as a picture: everybody's time divided by ours, a panel a workload."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nnbackprop.report.style import PALETTE, save, style

from .report import format_ratio
from .results import Result, Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
KINDS = {
    "ours": (PALETTE[5], "nnbackprop on other arrays, or without numba"),
    "floor": ("#BBBBBB", "matrix products only"),
    "rival": (PALETTE[4], "others"),
}
"""Colour and label."""


def draw(result: Result, path: Path) -> None:
    """Write the picture as PNG; RunFolderError if it cannot be written."""
    with style():
        save(chart(result), path)


def chart(result: Result) -> Figure:
    """Bars from 1, which is ourselves, to each one's time divided by ours: to the right is slower than us."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import NullLocator

    timings, base = result.timings, result.timings[0].base
    titles = {name: row.title for name, row in result.rivals.items() if name != base.rival}
    columns, rows = min(COLUMNS, len(timings)), math.ceil(len(timings) / COLUMNS)
    figure = Figure(figsize=(2.8 + 2.9 * columns, 1.3 + rows * (0.7 + 0.23 * len(titles))), layout="constrained")
    figure.suptitle("Time divided by ours: to the right is slower", fontsize=12, fontweight="bold")
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, timing in zip(panels, timings, strict=False):
        _draw_panel(axes, timing, list(titles))
    for axes in panels[len(timings) :]:
        axes.set_visible(False)
    first = panels[0]
    first.set_xscale("log", base=2)
    first.margins(x=0.2)
    first.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
    first.xaxis.set_minor_locator(NullLocator())
    first.set_yticks(range(len(titles)), titles.values())
    first.invert_yaxis()
    handles = [Patch(color=colour, label=label) for colour, label in KINDS.values()]
    title = f"1 is {base.title}; thin lines: all rounds. {result.machine.name}."
    figure.legend(handles=handles, title=title, loc="outside lower left", frameon=False, alignment="left")
    return figure


def _draw_panel(axes: Axes, timing: Timing, names: list[str]) -> None:
    """A bar each, the range of the rounds as a thin line, the median written at its end."""
    axes.set_title(f"{timing.workload}, {timing.label}", loc="left", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="both", length=0, labelbottom=True)
    axes.axvline(1, color="black", lw=1.1)
    axes.grid(axis="x", color="#E6E6E6")
    for y, name in enumerate(names):
        if row := timing.row(name):
            ratios = row.ratios(timing.base)
            middle, low, high = median(ratios), min(ratios), max(ratios)
            axes.barh(y, middle - 1, left=1, height=0.68, color=KINDS[row.kind][0])
            axes.plot([low, high], [y, y], color="black", lw=0.8, alpha=0.55)
            x, offset, side = (low, (-3, 0), "right") if middle < 1 else (high, (3, 0), "left")
            text = format_ratio(middle)
            axes.annotate(text, (x, y), offset, textcoords="offset points", va="center", ha=side, fontsize=8.5)
