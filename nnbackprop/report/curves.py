"""What changes from epoch to epoch: loss, accuracy, and the norm of each layer's gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .formatting import loss, share
from .style import PALETTE, canvas

Row = Mapping[str, Any]

PARTS = {"train": PALETTE[0], "validation": PALETTE[2], "test": PALETTE[1]}
LINES = ("-", "--", ":", "-.")
WIDE = 30  # a loss that falls by more than this factor is drawn on a logarithmic scale
DOTTED = 30  # epochs up to which each is a dot
LABEL = 1 / 16  # height of a label with its space, as a share of the axes


def curves(rows: Sequence[Row], what: str) -> Figure:
    """`loss` or `accuracy` of each part against the epoch; each line is named at its end, with its last value."""
    figure, axes = canvas(f"{what.capitalize()} by epoch (train: as its steps saw it)")
    for part, colour in PARTS.items():
        if any(row[f"{part}_{what}"] is not None for row in rows):
            _line(axes, rows, [row[f"{part}_{what}"] for row in rows], part, color=colour)
    if what == "accuracy":
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}%")
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.0))
    elif _wide(axes):
        _logarithmic(axes)
    _finish(axes, rows, what, share if what == "accuracy" else loss)
    if what == "accuracy" and axes.get_ylim()[1] > 1:
        axes.set_yticks([y for y in axes.get_yticks() if axes.get_ylim()[0] <= y <= 1])
    return figure


def gradient_norms(rows: Sequence[Row]) -> Figure:
    """Norm of each layer's gradient against the epoch, on a logarithmic scale; a dead layer's lies at its foot."""
    figure, axes = canvas("Gradient norm of each layer by epoch")
    for i, name in enumerate(dict.fromkeys(name for row in rows for name in row["gradient_norms"])):
        values = [row["gradient_norms"].get(name) for row in rows]
        colour, dashes = PALETTE[i % len(PALETTE)], LINES[i // len(PALETTE) % len(LINES)]
        _line(axes, rows, values, name, color=colour, linestyle=dashes)
    if (_values(axes) > 0).any():
        _logarithmic(axes)
    _finish(axes, rows, "norm", None)
    return figure


def _line(axes: Axes, rows: Sequence[Row], values: Sequence[float | None], name: str, **look: Any) -> None:
    """A line with gaps where a value is missing or no finite number; what stands alone between gaps is a dot."""
    numbers = [v if v is not None and math.isfinite(v) else math.nan for v in values]
    there = np.isfinite([math.nan, *numbers, math.nan])
    alone = there[1:-1] & ~there[:-2] & ~there[2:]
    dots = None if len(rows) <= DOTTED else np.flatnonzero(alone).tolist()
    epochs = [row["epoch"] for row in rows]
    axes.plot(epochs, numbers, label=name, lw=1.6, marker="o", ms=3.5, markevery=dots, clip_on=False, **look)


def _values(axes: Axes) -> np.ndarray:
    return np.concatenate([np.empty(0), *(np.asarray(line.get_ydata(), float) for line in axes.get_lines())])


def _wide(axes: Axes) -> bool:
    y = _values(axes)
    y = y[np.isfinite(y)]
    return y.size > 0 and y.min() > 0 and y.max() > WIDE * y.min()


def _logarithmic(axes: Axes) -> None:
    """A logarithmic y axis labelled in plain numbers, at 2 and 5 too where it spans little.

    Where zero occurs, which has no logarithm, the axis is linear below the decade of the smallest other value.
    """
    y = _values(axes)
    if (y == 0).any():
        axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(y[y > 0].min())), linscale=0.5)
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,)))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, rows: Sequence[Row], what: str, value: Any) -> None:
    """Whole epochs along x, what is drawn along y, and each line's name (and `value` of its last point)."""
    axes.set(xlabel="epoch", ylabel=what)
    axes.grid(color="#E6E6E6")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if len(rows) == 1:
        axes.set_xlim(rows[0]["epoch"] - 0.5, rows[0]["epoch"] + 0.5)
    elif rows:
        first, last = rows[0]["epoch"], rows[-1]["epoch"]
        axes.set_xlim(first - (last - first) / 40, last + (last - first) / 40)
    if not np.isfinite(_values(axes)).any():
        words = "no finite value" if rows else "no epoch was finished"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center")
    _name_lines(axes, value)


def _name_lines(axes: Axes, value: Any) -> None:
    """Write each line's name to the right of the axes at the height of its last finite value."""
    axes.get_ylim()  # settles the limits, which the transformations below need
    ends = []
    for line in axes.get_lines():
        y = np.asarray(line.get_ydata(), float)
        if (finite := y[np.isfinite(y)]).size:
            place = axes.transAxes.inverted().transform(axes.transData.transform((0, finite[-1])))[1]
            ends.append((place, line, f" {value(finite[-1])}" if value else ""))
    ends.sort(key=lambda end: end[0])
    for height, (_, line, number) in zip(spread([end[0] for end in ends], LABEL), ends, strict=True):
        axes.annotate(
            f"{line.get_label()}{number}",
            (1.01, height),
            xycoords="axes fraction",
            color=line.get_color(),
            va="center",
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Rising `places` in 0..1 moved until `gap` lies between any two: up first, then down from the top."""
    gap = min(gap, 1 / max(len(places) - 1, 1))
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    top = 1.0
    for i in range(len(moved) - 1, -1, -1):
        moved[i] = min(moved[i], top)
        top = moved[i] - gap
    return moved
