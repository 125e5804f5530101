"""Plots of weights and samples: the first layer, the most confident mistakes, and an attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnbackprop.data.dataset import Dataset

from .formatting import plural, share
from .style import panels, printable, shorten, single, text

UNITS = 64  # of the first layer, shown at most
NUMBERED = 8  # rows and columns up to which a heat map has its numbers written in
MISTAKES = 16
FOOLED = 10
NAME = 11  # characters of a class's name under an image or in a list
INPUTS = 4  # numbers listed of a sample that is not an image


def first_layer(weights: np.ndarray, image_shape: tuple[int, int] | None) -> Figure:
    """Weights (in, units) into the first units: images where the inputs are, else one heat map."""
    inputs, units = weights.shape
    if image_shape is None or math.prod(image_shape) != inputs:
        return _heat_map(weights)
    shown = min(units, UNITS)
    columns = math.ceil(math.sqrt(shown))
    side = min(7.5 / columns, 2.5)
    of = f"{shown} of {units:,} units" if units > shown else plural(units, "unit")
    title = f"First-layer weights of {of}: red counts for, blue against"
    figure, axes = single(title, max(columns * side, 5.0) + 0.9, math.ceil(shown / columns) * side + 0.5)
    _diverging(figure, axes, mosaic(weights[:, :shown].T.reshape(shown, *image_shape), columns), "equal")
    axes.set_axis_off()
    return figure


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, rows, columns) side by side in one array, NaN between them."""
    n, height, width = images.shape
    lines = math.ceil(n / columns)
    cells = np.full((lines * columns, height + 2, width + 2), np.nan)
    cells[:n, 1:-1, 1:-1] = images
    grid = cells.reshape(lines, columns, height + 2, width + 2).transpose(0, 2, 1, 3)
    return grid.reshape(lines * (height + 2), columns * (width + 2))


def _heat_map(weights: np.ndarray) -> Figure:
    figure, axes = single("Weights of the first layer: red counts for a unit, blue against it")
    limit = _diverging(figure, axes, weights, "auto")
    inputs, units = weights.shape
    axes.set(xlabel="unit", ylabel="input")
    axes.set_xticks(range(units) if units <= UNITS // 2 else ())
    axes.set_yticks(range(inputs) if inputs <= UNITS // 2 else ())
    if max(weights.shape) <= NUMBERED:
        for (row, column), w in np.ndenumerate(weights):
            colour = "white" if abs(w) > 0.6 * limit else "black"
            axes.text(column, row, f"{w:.3g}", ha="center", va="center", color=colour)
    return figure


def _diverging(figure: Figure, axes: Axes, values: np.ndarray, aspect: Literal["auto", "equal"]) -> float:
    """Red above zero, blue below, white at it; the scale beside it. Returns its limit."""
    limit = float(np.nanmax(np.abs(values))) or 1.0
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect=aspect, interpolation="nearest")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02).outline.set_visible(False)
    return limit


def wrongest(data: Dataset, predicted: np.ndarray, probabilities: np.ndarray) -> Figure:
    """The samples taken for a wrong class with the greatest confidence."""
    certainty = confidence(predicted, probabilities)
    wrong = np.flatnonzero(predicted != data.targets)
    order = wrong[np.argsort(-certainty[wrong], kind="stable")][:MISTAKES]
    if not len(order):
        return text(f"None of the {len(predicted):,} samples is taken for another class")
    title = f"The {len(order)} most confident of {len(wrong):,} mistakes in {len(predicted):,} samples"
    if len(order) == len(wrong):
        title = f"{plural(len(wrong), 'mistake')} in {len(predicted):,} samples, the most confident first"
    pairs = _pairs(data, order, data.targets, predicted)
    shares = [share(float(certainty[i])) for i in order]
    if data.image_shape is None:
        return text(title, _listed("true → predicted", pairs, shares, data.inputs[order]))
    columns = min(len(order), 4)
    figure, grid = panels(title, math.ceil(len(order) / columns), columns, 1.9)
    for axes, i, pair, certain in zip(grid.flat, order, pairs, shares, strict=False):
        _ink(axes, data.image(int(i)), data.inputs[order])
        _caption(axes, f"{pair}   {certain}" if len(pair) < 12 else f"{pair}\n{certain}")
    for axes in grid.flat[len(order) :]:
        axes.set_axis_off()
    return figure


def confidence(predicted: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Probability (n,) given to the predicted class; a single column is that of class 1."""
    if probabilities.shape[1] == 1:
        return np.where(predicted == 1, probabilities[:, 0], 1 - probabilities[:, 0])
    return np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]


def attack(
    data: Dataset, clean: np.ndarray, moved: np.ndarray, before: np.ndarray, after: np.ndarray, epsilon: float
) -> Figure:
    """Samples whose class an attack of `epsilon` changed: before it, what was added, after it."""
    fooled = np.flatnonzero((before == data.targets) & (after != data.targets))
    title = f"{len(fooled):,} of {len(before):,} samples fooled by moving each input by {epsilon:g} of its range"
    order = fooled[:FOOLED]
    if not len(order):
        return text(title)
    pairs = _pairs(data, order, before, after)
    if data.image_shape is None:
        return text(title, _listed("before → after", pairs, [""] * len(order), clean[order], moved[order]))
    figure, grid = panels(title, 3, len(order), 1.15)
    step = float(np.abs(moved - clean)[order].max()) or 1.0
    for column, i, pair in zip(grid.T, order, pairs, strict=True):
        first, added, last = (part[i].reshape(data.image_shape) for part in (clean, moved - clean, moved))
        _ink(column[0], first, clean[order])
        column[1].imshow(added, cmap="RdBu_r", vmin=-1.6 * step, vmax=1.6 * step)
        _ink(column[2], last, clean[order])
        was, now = pair.split(" → ")
        _caption(column[0], was)
        _caption(column[2], f"→ {now}")
    for axes, what in zip(grid[:, 0], ("clean", "added", "attacked"), strict=True):
        axes.set_ylabel(what)
    return figure


def _pairs(data: Dataset, order: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[str]:
    names = [shorten(name, NAME) for name in printable(data.classes)]
    return [f"{names[first[i]]} → {names[second[i]]}" for i in order]


def _ink(axes: Axes, image: np.ndarray, among: np.ndarray) -> None:
    """An image as ink on paper, on the scale of those it is shown with."""
    axes.imshow(image, cmap="gray_r", vmin=float(among.min()), vmax=float(among.max()), interpolation="nearest")


def _caption(axes: Axes, caption: str) -> None:
    axes.set_title(caption, fontsize=9.5, pad=4)


def _listed(head: str, pairs: Sequence[str], shares: Sequence[str], *inputs: np.ndarray) -> list[str]:
    """Samples that are not images, in columns under a head; a line for each of `inputs`."""
    features = inputs[0].shape[1]
    wide = max(map(len, [head, *pairs]))
    more = ["  …"] if features > INPUTS else []
    heads = [f"{f'input {k + 1}':>11}" for k in range(min(features, INPUTS))]
    lines = ["".join([f"{head:<{wide}}{'':>9}", *heads, *more])]
    for pair, certain, *samples in zip(pairs, shares, *inputs, strict=True):
        for lead, sample in zip((f"{pair:<{wide}}{certain:>9}", " " * (wide + 9)), samples, strict=False):
            lines.append("".join([lead, *(f"{x:>11.4g}" for x in sample[:INPUTS]), *more]))
    return lines
