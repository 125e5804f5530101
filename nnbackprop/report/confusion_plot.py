"""How the confusion of classes changed over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import GREY, new_rows, printable, shorten

MAX_PAIRS = 8
MAX_EPOCHS_LABELLED = 16  # epochs up to which each cell has its share
NAME_LENGTH = 14


def confusion_history(rows: Sequence[Mapping[str, Any]], n_classes: int) -> tuple[list[int], np.ndarray] | None:
    """Epochs, and their counts (epochs, true class, predicted class), of rows of metrics.jsonl that have them.

    None where fewer than two have: there is no change to be shown.
    """
    kept = [(row["epoch"], np.asarray(row["confusion"])) for row in rows if "confusion" in row]
    kept = [(epoch, counts) for epoch, counts in kept if counts.shape == (n_classes, n_classes)]
    return ([epoch for epoch, _ in kept], np.stack([counts for _, counts in kept])) if len(kept) > 1 else None


def confusion_by_epoch(epochs: Sequence[int], counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Of each class the share that is misclassified, an epoch a column, and below the pairs confused most.

    counts (epochs, k, k) are of true classes in rows, predicted ones in columns. The pairs are those with the most
    mistakes over all epochs, the last counting most.
    """
    names = [shorten(name, NAME_LENGTH) for name in printable(classes)]
    shares = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
    wrong = 1 - np.diagonal(shares, axis1=1, axis2=2)
    wrong = np.where(counts.sum(axis=2) > 0, wrong, np.nan)
    pairs = most_confused_pairs(counts)
    of_pairs = np.stack([shares[:, true, other] for true, other in pairs], axis=1) if pairs else None
    heights = [0.75 + 0.24 * len(names), *([0.75 + 0.24 * len(pairs)] if pairs else [])]
    title = "Share of each class that is misclassified, by epoch"
    figure, grid = new_rows(title, [1] * len(heights), 7.5, heights)
    most = float(np.nanmax(wrong)) or 1.0
    _draw_shares(grid[0][0], epochs, wrong, names, most)
    grid[0][0].set_ylabel("true class")
    if of_pairs is not None:
        words = [f"{names[true]} as {names[other]}" for true, other in pairs]
        _draw_shares(grid[1][0], epochs, of_pairs, words, most)
        grid[1][0].set_title("the pairs confused most, as a share of the true class", fontsize=9.5, loc="left")
    grid[-1][0].set_xlabel("epoch")
    return figure


def most_confused_pairs(counts: np.ndarray) -> list[tuple[int, int]]:
    """(true, predicted) of up to `MAX_PAIRS` pairs with the most mistakes, each epoch twice the one before it."""
    weights = 2.0 ** np.arange(-len(counts) + 1, 1)
    total = np.tensordot(weights, counts, axes=1)
    np.fill_diagonal(total, 0)
    order = np.argsort(-total, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = [divmod(int(place), total.shape[1]) for place in order]
    return [(true, other) for true, other in pairs if total[true, other] > 0]


def _draw_shares(axes: Axes, epochs: Sequence[int], shares: np.ndarray, names: Sequence[str], most: float) -> None:
    """A row a name and a column an epoch, darker where the share (epochs, names) is larger."""
    norm = PowerNorm(0.5, 0, most)  # the first epochs' mistakes are many times those of the last
    axes.imshow(shares.T, cmap="Oranges", norm=norm, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(names)), names)
    if len(epochs) <= MAX_EPOCHS_LABELLED:
        for (column, row), share in np.ndenumerate(shares):
            if share > 0:
                colour = "white" if share > 0.55 * most else "black"
                axes.text(column, row, _percent(share), ha="center", va="center", fontsize=7.5, color=colour)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.xaxis.set_major_formatter(lambda x, _: f"{epochs[round(x)]}" if 0 <= round(x) < len(epochs) else "")
    axes.tick_params(length=0)
    axes.spines[:].set_color(GREY)
    axes.spines[:].set_linewidth(0.4)


def _percent(share: float) -> str:
    """Two digits of a share in per cent, which a cell has room for."""
    if not math.isfinite(share):
        return ""
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{100 * share:.1f}%"
