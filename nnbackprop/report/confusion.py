"""Who is taken for whom: right answers along the diagonal, mistakes beside it, each on a scale of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .formatting import share
from .style import canvas, legible

NUMBERED = 12  # classes up to which every cell has its count and its share written in
TICKS = 25


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str]) -> Figure:
    """Counts (K, K), true classes in rows; every cell coloured by its share of the row.

    A good network's mistakes are a hundredth of its right answers: on one colour scale they would all be white.
    """
    total, right = int(confusion.sum()), int(np.trace(confusion))
    accuracy = share(right / max(total, 1))
    size = 3.4 if len(classes) < 5 else 7.2
    figure, axes = canvas(f"{accuracy} right: {total - right:,} of {total:,} taken for another class", 7.5, size)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(classes), dtype=bool)
    mistakes = np.where(diagonal | (confusion == 0), np.nan, shares)
    most = np.nanmax(mistakes) if total > right else 1.0
    axes.imshow(np.where(diagonal, shares, np.nan), cmap="Blues", vmin=0, vmax=1.25)
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=1.6 * most)
    _name(axes, legible(classes))
    if len(classes) <= NUMBERED:
        _number(axes, confusion, shares)
    return figure


def _name(axes: Axes, names: Sequence[str]) -> None:
    ticks = range(0, len(names), math.ceil(len(names) / TICKS))
    axes.set_xticks(ticks, [names[i] for i in ticks])
    if max(map(len, names)) > 4:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [names[i] for i in ticks])
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _number(axes: Axes, confusion: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), n in np.ndenumerate(confusion):
        if n:
            colour = "white" if row == column and shares[row, column] > 0.6 else "black"
            words = f"{n:,}\n{100 * shares[row, column]:.1f}%"
            axes.text(column, row, words, ha="center", va="center", color=colour, fontsize=7.5)
