"""Plots of what changes from epoch to epoch: the loss, each metric, and the gradient norm of each layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from . import formatting
from .style import PALETTE, single

Row = Mapping[str, Any]

PARTS = {"train": PALETTE[0], "validation": PALETTE[2], "test": PALETTE[1]}
LINES = ("-", "--", ":", "-.")
LOG_RATIO = 30  # a loss that falls by more than this factor is drawn on a logarithmic scale
MARKED = 30  # epochs up to which each has a marker
LEGEND_ROWS = 22


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Names of the metrics in rows of metrics.jsonl, such as accuracy: what the train part has beside its loss."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("train_"))
    return [key.removeprefix("train_") for key in keys if key != "train_loss"]


def curves(rows: Sequence[Row], what: str) -> Figure:
    """The loss or a metric of each part against the epoch; the legend has each line's last value."""
    name = what.replace("_", " ")
    figure, axes = single(f"{name.capitalize()} by epoch (train: mean over its steps)")
    for part, colour in PARTS.items():
        values = [row.get(f"{part}_{what}") for row in rows]
        if any(value is not None for value in values):
            _line(axes, rows, values, part, color=colour)
    if what.endswith("accuracy"):
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}%")
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.0))
    elif what == "loss":
        y = _values(axes)
        y = y[np.isfinite(y)]
        if y.size and y.min() > 0 and y.max() > LOG_RATIO * y.min():
            _logarithmic(axes)
    _finish(axes, rows, name)
    _legend(figure, axes, lambda value: f"  {formatting.metric(what, value)}")
    return figure


def gradient_norms(rows: Sequence[Row]) -> Figure:
    """Norm of each layer's gradient against the epoch, on a logarithmic scale; zero lies at its foot."""
    figure, axes = single("Gradient norm of each layer by epoch")
    for i, name in enumerate(dict.fromkeys(name for row in rows for name in row["gradient_norms"])):
        values = [row["gradient_norms"].get(name) for row in rows]
        colour, dashes = PALETTE[i % len(PALETTE)], LINES[i // len(PALETTE) % len(LINES)]
        _line(axes, rows, values, name, color=colour, linestyle=dashes)
    if (_values(axes) > 0).any():
        _logarithmic(axes)
    _finish(axes, rows, "norm")
    _legend(figure, axes, lambda _: "")
    return figure


def _line(axes: Axes, rows: Sequence[Row], values: Sequence[float | None], name: str, **look: Any) -> None:
    """A line with gaps where a value is missing or not finite; a value alone between gaps has a marker."""
    numbers = [v if v is not None and math.isfinite(v) else math.nan for v in values]
    there = np.isfinite([math.nan, *numbers, math.nan])
    alone = there[1:-1] & ~there[:-2] & ~there[2:]
    marked = None if len(rows) <= MARKED else np.flatnonzero(alone).tolist()
    epochs = [row["epoch"] for row in rows]
    axes.plot(epochs, numbers, label=name, lw=1.6, marker="o", ms=3.5, markevery=marked, clip_on=False, **look)


def _values(axes: Axes) -> np.ndarray:
    return np.concatenate([np.empty(0), *(np.asarray(line.get_ydata(), float) for line in axes.get_lines())])


def _logarithmic(axes: Axes) -> None:
    """A logarithmic y axis labelled in plain numbers, more of them where it spans little.

    Where zero occurs, which has no logarithm, the axis is linear below the decade of the smallest other value.
    """
    y = _values(axes)
    if (y == 0).any():
        axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(y[y > 0].min())), linscale=0.5)
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        powers = LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,))
        axes.yaxis.set_major_locator(powers if high > 10 * low else MaxNLocator(6))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, rows: Sequence[Row], what: str) -> None:
    """Label the axes, with whole epochs along x; say so where there is nothing to draw."""
    axes.set(xlabel="epoch", ylabel=what)
    axes.grid(color="#E6E6E6")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if len(rows) == 1:
        axes.set_xlim(rows[0]["epoch"] - 0.5, rows[0]["epoch"] + 0.5)
    if not np.isfinite(_values(axes)).any():
        message = "no finite value" if rows else "no epoch was finished"
        axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center")


def _legend(figure: Figure, axes: Axes, suffix: Callable[[float], str]) -> None:
    """Lines named beside the axes in the order and the colours of their ends, with `suffix` of the last value."""
    ends = []
    for line in axes.get_lines():
        y = np.asarray(line.get_ydata(), float)
        if (finite := y[np.isfinite(y)]).size:
            ends.append((float(finite[-1]), line))
    ends.sort(key=lambda end: -end[0])
    if ends:
        labels = [f"{line.get_label()}{suffix(value)}" for value, line in ends]
        look: dict[str, Any] = {"frameon": False, "labelcolor": "linecolor", "handlelength": 1.6}
        columns = math.ceil(len(ends) / LEGEND_ROWS)
        figure.legend([line for _, line in ends], labels, loc="outside right upper", ncols=columns, **look)
