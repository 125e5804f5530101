"""The benchmark as a picture: how many times as long as us everybody takes, a panel a work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnbackprop.report.formatting import plural
from nnbackprop.report.style import save

from .contestants import ENTRIES
from .results import Result, Timing
from .table import times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
NAMES = {
    "ours": "nnbackprop on other arrays, or without numba",
    "floor": "the matrix products alone",
    "rival": "others",
}


def draw(result: Result, path: Path) -> None:
    """Write the picture as PNG; RunFolderError if it cannot be written."""
    from nnbackprop.report.style import style

    with style():
        save(chart(result), path)


def chart(result: Result) -> Figure:
    """Bars from 1, which is ourselves, to each one's time divided by ours: to the right is slower than us."""
    from matplotlib.figure import Figure

    timings = result.timings
    shown = [name for name in ENTRIES if any(r.contestant == name != t.us for t in timings for r in t.rows)]
    columns, rows = min(COLUMNS, len(timings)), math.ceil(len(timings) / COLUMNS)
    figure = Figure(figsize=(2.8 + 2.9 * columns, 1.3 + rows * (0.7 + 0.23 * len(shown))), layout="constrained")
    figure.suptitle(
        "Time divided by ours: to the right is slower", x=0.01, ha="left", fontsize=12, fontweight="bold"
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, timing in zip(grid.flat, timings, strict=False):
        _panel(axes, timing, shown)
    for axes in grid.flat[len(timings) :]:
        axes.set_visible(False)
    _scale(grid[0, 0], [edge for t in timings for r in t.rows for edge in (r.ratio.low, r.ratio.high)])
    grid[0, 0].set_yticks(range(len(shown)), [ENTRIES[name].title for name in shown])
    grid[0, 0].set_ylim(len(shown) - 0.4, -0.6)
    _legend(figure, result, columns)
    return figure


def _legend(figure: Figure, result: Result, columns: int) -> None:
    """What the colours are, who is 1, and where."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=NAMES[kind]) for kind, colour in _colours().items()]
    us, machine = ENTRIES[result.timings[0].us].title, result.machine
    words = f"1 is {us}; thin lines: all rounds. {machine.processor}, {plural(machine.threads, 'thread')}."
    legend = figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=1 if columns == 1 else 3,
        frameon=False,
        title=words,
        alignment="left",
    )
    legend.get_title().set_fontsize(9.5)


def _panel(axes: Axes, timing: Timing, shown: Sequence[str]) -> None:
    """The bars of a work, the range of the rounds as a thin line, the median written at the end."""
    axes.set_title(f"{timing.work}  {timing.title}", loc="left", fontsize=9.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.axvline(1, color="black", lw=1.1, zorder=3)
    axes.grid(axis="x", color="#E6E6E6")
    there = {row.contestant: row for row in timing.rows}
    for y, name in enumerate(shown):
        if not (row := there.get(name)):
            continue
        ratio = row.ratio
        axes.barh(y, ratio.median - 1, left=1, height=0.68, color=_colours()[row.kind])
        axes.plot([ratio.low, ratio.high], [y, y], color="black", lw=0.8, alpha=0.55)
        left = ratio.median < 1
        place, end = (-3 if left else 3, 0), ratio.low if left else ratio.high
        words, side = times(ratio.median), "right" if left else "left"
        axes.annotate(words, (end, y), place, textcoords="offset points", va="center", ha=side, fontsize=8.5)


def _colours() -> dict[str, str]:
    from nnbackprop.report.style import PALETTE

    return {"ours": PALETTE[5], "floor": "#BBBBBB", "rival": PALETTE[4]}


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic, with room for the numbers, and powers of two written out."""
    from matplotlib.ticker import NullLocator

    low, high = min(values), max(values)
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / (1.2 * (high / low) ** 0.13), high * (1.2 * (high / low) ** 0.13))
    powers = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    apart = max(1, round(len(powers) / 6))
    axes.set_xticks([2.0**p for p in powers if p % apart == 0], labels=None)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
