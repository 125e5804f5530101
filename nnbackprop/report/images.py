"""Plots of images: the first layer's weights, the most confident mistakes, and an attack."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnbackprop.data.dataset import Dataset
from nnbackprop.runs.trained_model import Attack

from .formatting import plural, share
from .style import panels, printable, shorten, single, text

UNITS = 64  # of the first layer, shown at most
MISTAKES = 16
FOOLED = 10
NAME = 11  # characters of a class's name above an image


def first_layer(weights: np.ndarray, image_shape: tuple[int, int]) -> Figure:
    """Weights (in, units) into the first units as images, red above zero, blue below, white at it."""
    units = weights.shape[1]
    shown = min(units, UNITS)
    columns = math.ceil(math.sqrt(shown))
    side = min(7.5 / columns, 2.5)
    of = f"{shown} of {units:,} units" if units > shown else plural(units, "unit")
    title = f"First-layer weights of {of}: red counts for, blue against"
    figure, axes = single(title, max(columns * side, 5.0) + 0.9, math.ceil(shown / columns) * side + 0.5)
    values = mosaic(weights[:, :shown].T.reshape(shown, *image_shape), columns)
    limit = float(np.nanmax(np.abs(values))) or 1.0
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02).outline.set_visible(False)
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


def wrongest(data: Dataset, predicted: np.ndarray, probabilities: np.ndarray) -> Figure:
    """The images taken for a wrong class with the greatest confidence."""
    certainty = confidence(predicted, probabilities)
    wrong = np.flatnonzero(predicted != data.targets)
    order = wrong[np.argsort(-certainty[wrong], kind="stable")][:MISTAKES]
    if not len(order):
        return text(f"None of the {len(predicted):,} samples is taken for another class")
    title = f"The {len(order)} most confident of {len(wrong):,} mistakes in {len(predicted):,} samples"
    if len(order) == len(wrong):
        title = f"{plural(len(wrong), 'mistake')} in {len(predicted):,} samples, the most confident first"
    names = _short_names(data)
    columns = min(len(order), 4)
    figure, grid = panels(title, math.ceil(len(order) / columns), columns, 1.9)
    for axes, i in zip(grid.flat, order, strict=False):
        _draw_image(axes, data.image(int(i)), data.inputs[order])
        pair, certain = f"{names[data.targets[i]]} → {names[predicted[i]]}", share(float(certainty[i]))
        _caption(axes, f"{pair}   {certain}" if len(pair) < 12 else f"{pair}\n{certain}")
    for axes in grid.flat[len(order) :]:
        axes.set_axis_off()
    return figure


def confidence(predicted: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Probability (n,) given to the predicted class; a single column is that of class 1."""
    if probabilities.shape[1] == 1:
        return np.where(predicted == 1, probabilities[:, 0], 1 - probabilities[:, 0])
    return np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]


def attack(data: Dataset, result: Attack, epsilon: float) -> Figure:
    """Images whose class an attack of `epsilon` changed: before it, what was added, after it."""
    clean, moved, before, after = result.clean, result.moved, result.before, result.after
    fooled = np.flatnonzero((before == data.targets) & (after != data.targets))
    title = f"{len(fooled):,} of {len(before):,} samples fooled by moving each input by {epsilon:g} of its range"
    order = fooled[:FOOLED]
    if not len(order):
        return text(title)
    names = _short_names(data)
    figure, grid = panels(title, 3, len(order), 1.15)
    step = float(np.abs(moved - clean)[order].max()) or 1.0
    for column, i in zip(grid.T, order, strict=True):
        first, added, last = (values[i].reshape(data.image_shape) for values in (clean, moved - clean, moved))
        _draw_image(column[0], first, clean[order])
        column[1].imshow(added, cmap="RdBu_r", vmin=-1.6 * step, vmax=1.6 * step)
        _draw_image(column[2], last, clean[order])
        _caption(column[0], names[before[i]])
        _caption(column[2], f"→ {names[after[i]]}")
    for axes, what in zip(grid[:, 0], ("clean", "added", "attacked"), strict=True):
        axes.set_ylabel(what)
    return figure


def _short_names(data: Dataset) -> list[str]:
    return [shorten(name, NAME) for name in printable(data.classes)]


def _draw_image(axes: Axes, image: np.ndarray, among: np.ndarray) -> None:
    """An image as ink on paper, on the scale of those it is shown with."""
    axes.imshow(image, cmap="gray_r", vmin=float(among.min()), vmax=float(among.max()), interpolation="nearest")


def _caption(axes: Axes, caption: str) -> None:
    axes.set_title(caption, fontsize=9.5, pad=4)
