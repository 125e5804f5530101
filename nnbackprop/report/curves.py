"""Curves: loss, metrics and gradient norms by epoch, and the loss of a range test by learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from nnbackprop.runs.run_table import RunTable
from nnbackprop.training.lr_finder import LRFinderResult

from . import formatting
from .style import PALETTE, new_plot, new_plots, printable

Row = Mapping[str, Any]

PART_COLOURS = {"train": PALETTE[0], "validation": PALETTE[2], "test": PALETTE[1]}
LINE_STYLES = ("-", "--", ":", "-.")
LOG_RATIO = 30  # a loss that falls by more than this factor is drawn on a logarithmic scale
MAX_MARKERS = 30  # epochs up to which each has a marker
LEGEND_ROWS = 22


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Names of the metrics in rows of metrics.jsonl, such as accuracy: what the train part has beside its loss."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("train_"))
    return [key.removeprefix("train_") for key in keys if key != "train_loss"]


def learning_curves(rows: Sequence[Row], name: str) -> Figure:
    """The loss or a metric of each part against the epoch; the legend has each line's last value."""
    title = name.replace("_", " ")
    figure, axes = new_plot(f"{title.capitalize()} by epoch (train: mean over its steps)")
    _draw_metric(axes, rows, name)
    _add_legend(figure, axes, lambda value: f"  {formatting.metric(name, value)}")
    return figure


def history_curves(rows: Sequence[Row]) -> Figure:
    """The loss and each metric of each part against the epoch, side by side."""
    names = ["loss", *metric_names(rows)]
    figure, plots = new_plots("Training by epoch (train: mean over its steps)", len(names), 4.5 * len(names))
    for axes, name in zip(plots, names, strict=True):
        _draw_metric(axes, rows, name)
    handles, labels = plots[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(PART_COLOURS), frameon=False)
    return figure


def _draw_metric(axes: Axes, rows: Sequence[Row], name: str) -> None:
    """A line for each part that has values of the loss or metric."""
    for part, colour in PART_COLOURS.items():
        values = [row.get(f"{part}_{name}") for row in rows]
        if any(value is not None for value in values):
            _plot_line(axes, rows, values, part, color=colour)
    y = _finite_values(axes)
    if name.endswith("accuracy"):
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.0))
    elif name == "loss" and y.size and 0 < y.min() * LOG_RATIO < y.max():
        _set_log_scale(axes)
    _label_axes(axes, rows, name)


def gradient_norms(rows: Sequence[Row]) -> Figure:
    """Norm of each layer's gradient against the epoch, on a logarithmic scale; zero lies at its foot."""
    figure, axes = new_plot("Gradient norm of each layer by epoch")
    for i, name in enumerate(dict.fromkeys(name for row in rows for name in row["gradient_norms"])):
        values = [row["gradient_norms"].get(name) for row in rows]
        style = LINE_STYLES[i // len(PALETTE) % len(LINE_STYLES)]
        _plot_line(axes, rows, values, name, color=PALETTE[i % len(PALETTE)], linestyle=style)
    if (_finite_values(axes) > 0).any():
        _set_log_scale(axes)
    _label_axes(axes, rows, "norm")
    _add_legend(figure, axes, lambda _: "")
    return figure


def comparison_plot(found: RunTable) -> Figure:
    """Loss, and the first metric where there is one, by epoch: a colour a run, the training part dashed.

    A run whose name the font cannot write is named by its place.
    """
    names = ["loss", *dict.fromkeys(name for run in found.runs for name in metric_names(run.rows)[:1])][:2]
    figure, plots = new_plots("Runs by epoch (dashed: training part)", len(names), 5.5 * len(names))
    for axes, name in zip(plots, names, strict=True):
        lines = []
        for i, run in enumerate(found.runs):
            for part in dict.fromkeys(("train", run.part)):
                values = [row.get(f"{part}_{name}") for row in run.rows]
                colour, ls = PALETTE[i % len(PALETTE)], "-" if part == run.part else "--"
                line = _plot_line(axes, run.rows, values, run.name, color=colour, ls=ls)
            lines.append(line)
        _label_axes(axes, max((run.rows for run in found.runs), key=len), name)
    shown = printable([run.name for run in found.runs])
    pairs = zip(shown, found.runs, strict=True)
    labels = [name if name == run.name else f"run {i}" for i, (name, run) in enumerate(pairs, 1)]
    figure.legend(lines, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def lr_plot(found: LRFinderResult) -> Figure:
    """The loss of a range test against the learning rate, as it was and smoothed, and the suggestions."""
    figure, axes = new_plot("Loss while the learning rate grows")
    axes.plot(found.lrs, found.losses, color="#BBBBBB", lw=1, label="loss of a batch")
    axes.plot(found.lrs, found.smoothed, color=PALETTE[0], lw=2, label="smoothed")
    suggestions = {"least loss / 10": found.minimum_over_ten, "steepest fall": found.steepest}
    for (name, lr), colour in zip(suggestions.items(), PALETTE[1:], strict=False):
        if lr is not None:
            axes.axvline(lr, color=colour, ls="--", lw=1.4, label=f"{name}: {lr:.2g}")
    low, high = found.smoothed.min(), found.smoothed.max()
    room = 0.1 * (high - low) or 1.0
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - room, high + room))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.grid(color="#E6E6E6")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _plot_line(
    axes: Axes, rows: Sequence[Row], values: Sequence[float | None], name: str, **options: Any
) -> Line2D:
    """A line with gaps where a value is missing or not finite."""
    numbers = [v if v is not None and math.isfinite(v) else math.nan for v in values]
    marker = "o" if len(rows) <= MAX_MARKERS else ""
    epochs = [row["epoch"] for row in rows]
    (line,) = axes.plot(epochs, numbers, label=name, lw=1.6, marker=marker, ms=3.5, clip_on=False, **options)
    return line


def _finite_values(axes: Axes) -> np.ndarray:
    y = np.concatenate([np.empty(0), *(np.asarray(line.get_ydata(), float) for line in axes.get_lines())])
    return y[np.isfinite(y)]


def _set_log_scale(axes: Axes) -> None:
    """A logarithmic y axis labelled in plain numbers, more of them where it spans little.

    Where zero occurs, which has no logarithm, the axis is linear below the decade of the smallest other value.
    """
    y = _finite_values(axes)
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


def _label_axes(axes: Axes, rows: Sequence[Row], name: str) -> None:
    """Label the axes, with whole epochs along x and accuracies in %; say so where there is nothing to draw."""
    axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
    if name.endswith("accuracy"):
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}%")
    axes.grid(color="#E6E6E6")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if len(rows) == 1:
        axes.set_xlim(rows[0]["epoch"] - 0.5, rows[0]["epoch"] + 0.5)
    if not _finite_values(axes).size:
        message = "no finite value" if rows else "no epoch was finished"
        axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center")


def _add_legend(figure: Figure, axes: Axes, suffix: Callable[[float], str]) -> None:
    """Lines named beside the axes in the order and the colours of their ends, with `suffix` of the last value."""
    last = {}
    for line in axes.get_lines():
        y = np.asarray(line.get_ydata(), float)
        if (finite := y[np.isfinite(y)]).size:
            last[line] = float(finite[-1])
    lines = sorted(last, key=lambda line: -last[line])
    if lines:
        labels = [f"{line.get_label()}{suffix(last[line])}" for line in lines]
        options: dict[str, Any] = {"frameon": False, "labelcolor": "linecolor", "handlelength": 1.6}
        columns = math.ceil(len(lines) / LEGEND_ROWS)
        figure.legend(lines, labels, loc="outside right upper", ncols=columns, **options)
