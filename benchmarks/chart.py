"""The result as a picture: how many times as long as us everybody takes, a panel a workload."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from nnbackprop.report.style import PALETTE, save, style

from .report import times
from .results import Result, Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
COLOURS = {"ours": PALETTE[5], "floor": "#BBBBBB", "rival": PALETTE[4]}
LABELS = {
    "ours": "nnbackprop on other arrays, or without numba",
    "floor": "the matrix products alone",
    "rival": "others",
}


def draw(result: Result, path: Path) -> None:
    """Write the picture as PNG; RunFolderError if it cannot be written."""
    with style():
        save(chart(result), path)


def chart(result: Result) -> Figure:
    """Bars from 1, which is ourselves, to each one's time divided by ours: to the right is slower than us."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    timings = result.timings
    rivals = {name: row.title for name, row in result.rivals.items() if {name} != {t.us for t in timings}}
    shown = list(rivals)
    columns, rows = min(COLUMNS, len(timings)), math.ceil(len(timings) / COLUMNS)
    figure = Figure(figsize=(2.8 + 2.9 * columns, 1.3 + rows * (0.7 + 0.23 * len(shown))), layout="constrained")
    figure.suptitle(
        "Time divided by ours: to the right is slower", x=0.01, ha="left", fontsize=12, fontweight="bold"
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    edges = [
        edge for axes, timing in zip(grid.flat, timings, strict=False) for edge in _panel(axes, timing, shown)
    ]
    for axes in grid.flat[len(timings) :]:
        axes.set_visible(False)
    _scale(grid[0, 0], min(edges), max(edges))
    grid[0, 0].set_yticks(range(len(shown)), rivals.values())
    grid[0, 0].set_ylim(len(shown) - 0.4, -0.6)
    handles = [Patch(color=colour, label=LABELS[kind]) for kind, colour in COLOURS.items()]
    title = f"1 is {result.rivals[timings[0].us].title}; thin lines: all rounds. {result.machine.name}."
    options: Any = {"loc": "outside lower left", "frameon": False, "alignment": "left", "title_fontsize": 9.5}
    figure.legend(handles=handles, title=title, ncols=1 if columns == 1 else 3, **options)
    return figure


def _panel(axes: Axes, timing: Timing, shown: Sequence[str]) -> list[float]:
    """The bars of a workload, the range of the rounds as a thin line, the median written at the end."""
    axes.set_title(f"{timing.workload}  {timing.title}", loc="left", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.axvline(1, color="black", lw=1.1, zorder=3)
    axes.grid(axis="x", color="#E6E6E6")
    us, edges = timing.row(timing.us), [1.0]
    for y, name in enumerate(shown):
        if not us or not (row := timing.row(name)):
            continue
        ratios = row.ratios(us)
        middle, low, high = median(ratios), min(ratios), max(ratios)
        axes.barh(y, middle - 1, left=1, height=0.68, color=COLOURS[row.kind])
        axes.plot([low, high], [y, y], color="black", lw=0.8, alpha=0.55)
        place, end, side = ((-3, 0), low, "right") if middle < 1 else ((3, 0), high, "left")
        axes.annotate(
            times(middle), (end, y), place, textcoords="offset points", va="center", ha=side, fontsize=8.5
        )
        edges += [low, high]
    return edges


def _scale(axes: Axes, low: float, high: float) -> None:
    """Logarithmic, with room for the numbers, and powers of two written out."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xlim(low / (1.2 * (high / low) ** 0.13), high * (1.2 * (high / low) ** 0.13))
    powers = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    apart = max(1, round(len(powers) / 6))
    axes.set_xticks([2.0**p for p in powers if p % apart == 0], labels=None)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
