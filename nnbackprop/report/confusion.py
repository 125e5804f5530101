"""The confusion matrix: right answers on the diagonal, mistakes beside it, each on its own colour scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .formatting import share
from .style import printable, shorten, single, text

NUMBERED = 12  # classes up to which each cell has its count and its share written in
LARGEST = 100  # classes up to which there is a matrix: one of 10,000 classes would take gigabytes
PAIRS = 25  # most confused pairs listed beyond that
TICKS = 25


def confusion_plot(targets: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """Counts of true classes `targets` (n,) in rows and predicted classes (n,) in columns.

    A cell's colour is its share of the row. With more than `LARGEST` classes the most confused pairs are listed.
    """
    wrong = int((targets != predicted).sum())
    accuracy = share(1 - wrong / len(targets)) if len(targets) else share(0)
    title = f"{accuracy} right: {wrong:,} of {len(targets):,} taken for another class"
    if len(classes) > LARGEST:
        return text(title, most_confused(targets, predicted, classes))
    k = len(classes)
    counts = np.bincount(targets.astype(np.int64) * k + predicted, minlength=k * k).reshape(k, k)
    return _matrix(title, counts, classes)


def most_confused(targets: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> list[str]:
    """The pairs of true and predicted class with the most mistakes, a line each under a head."""
    wrong = np.stack([targets, predicted], axis=1)[targets != predicted]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    lines = [f"{'true class':<26}{'predicted class':<26}{'samples':>8}{'of its class':>14}"]
    sizes = np.bincount(targets, minlength=len(classes))
    for i in np.argsort(-counts, kind="stable")[:PAIRS]:
        true, other = (printable([shorten(classes[k], 24)])[0] for k in pairs[i])
        of_class = share(counts[i] / sizes[pairs[i][0]])
        lines.append(f"{true:<26}{other:<26}{counts[i]:>8,}{of_class:>14}")
    return lines


def _matrix(title: str, counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """A good network's mistakes are a hundredth of its right answers: on one scale they would all be white."""
    figure, axes = single(title, 7.5, 3.4 if len(classes) < 5 else 7.2)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(classes), dtype=bool)
    mistakes = np.where(diagonal | (counts == 0), np.nan, shares)
    most = 1.0 if np.isnan(mistakes).all() else np.nanmax(mistakes)
    axes.imshow(np.where(diagonal, shares, np.nan), cmap="Blues", vmin=0, vmax=1.25)
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=1.6 * most)
    _name_classes(axes, printable(classes))
    if len(classes) <= NUMBERED:
        for (row, column), n in np.ndenumerate(counts):
            if n:
                colour = "white" if row == column and shares[row, column] > 0.6 else "black"
                label = f"{n:,}\n{100 * shares[row, column]:.1f}%"
                axes.text(column, row, label, ha="center", va="center", color=colour, fontsize=7.5)
    return figure


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    ticks = range(0, len(names), math.ceil(len(names) / TICKS))
    axes.set_xticks(ticks, [names[i] for i in ticks])
    if max(map(len, names)) > 4:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [names[i] for i in ticks])
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
