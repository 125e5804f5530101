"""The picture of `explain`: an image, what its answer depends on, and every layer's output."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnbackprop.runs.explanation import Explanation

from .formatting import percent
from .plots import image_grid
from .prediction_metrics import by_class
from .style import PALETTE, new_rows, printable, shorten

MAX_MAPS = 16  # of a layer's channels
MAX_BARS = 10  # classes
NAME_LENGTH = 14  # characters of a class's name


def explanation_plot(explanation: Explanation) -> Figure:
    """The image, its saliency and the likeliest classes; below, a strip or grid of numbers for each layer.

    Channels of an image-like output are images; a vector is a strip of cells, the first at the upper left.
    """
    names, predicted = printable(explanation.classes), explanation.predicted
    answer = shorten(names[predicted], NAME_LENGTH)
    title = f"{shorten(explanation.name, 40)}: predicted {answer}"
    if explanation.label is not None and explanation.label != predicted:
        title += f", true class {shorten(names[explanation.label], NAME_LENGTH)}"
    grids = [_cells(values) for _, values in explanation.activations]
    heights = [
        2.1,
        *(_height(values, cells) for (_, values), cells in zip(explanation.activations, grids, strict=True)),
    ]
    figure, rows = new_rows(title, (3, *(1 for _ in grids)), 7.5, heights)
    (image, saliency, bars), layers = rows[0], [row[0] for row in rows[1:]]
    image.imshow(_displayed(explanation.image), cmap="gray_r", interpolation="nearest")
    image.set_title("as the network sees it", fontsize=9.5)
    _signed(saliency, explanation.saliency.sum(axis=2) if explanation.saliency.ndim == 3 else explanation.saliency)
    saliency.set_title(f"gradient: more in red raises {answer}", fontsize=9.5)
    _draw_bars(bars, by_class(explanation.probabilities[np.newaxis])[0], names)
    for axes, cells, (name, values) in zip(layers, grids, explanation.activations, strict=True):
        _signed(axes, cells, "equal" if values.ndim == 3 else "auto")
        shown = f", the first {MAX_MAPS} channels" if values.ndim == 3 and values.shape[2] > MAX_MAPS else ""
        axes.set_title(f"{name}  {' x '.join(map(str, values.shape))}{shown}", fontsize=9, loc="left")
    for axes in (image, saliency, *layers):
        axes.set_axis_off()
    return figure


def _displayed(image: np.ndarray) -> np.ndarray:
    low, high = float(image.min()), float(image.max())
    return (image - low) / ((high - low) or 1.0)


def _cells(values: np.ndarray) -> np.ndarray:
    """A layer's output (rows, columns, channels) or of any other shape as one array to be drawn."""
    if values.ndim == 3:
        maps = np.moveaxis(values, 2, 0)[:MAX_MAPS]
        return image_grid(maps, len(maps) if len(maps) <= 8 else math.ceil(len(maps) / 2))
    flat = values.ravel()
    columns = min(len(flat), 64)
    rows = math.ceil(len(flat) / columns)
    padded = np.full(rows * columns, np.nan)
    padded[: len(flat)] = flat
    return padded.reshape(rows, columns)


def _height(values: np.ndarray, cells: np.ndarray) -> float:
    """Inches, with those of the name above."""
    rows, columns = cells.shape
    return 0.3 + (7.0 * rows / columns if values.ndim == 3 else 0.12 * rows)


def _signed(axes: Axes, values: np.ndarray, aspect: Literal["equal", "auto"] = "equal") -> None:
    """Red above zero, blue below, white at it."""
    limit = float(np.nanmax(np.abs(values))) or 1.0
    axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect)


def _draw_bars(axes: Axes, probabilities: np.ndarray, names: list[str]) -> None:
    likeliest = np.argsort(-probabilities, kind="stable")[:MAX_BARS]
    shown = np.sort(likeliest)
    axes.barh(range(len(shown)), probabilities[shown], color=PALETTE[0])
    axes.set_yticks(range(len(shown)), [shorten(names[k], NAME_LENGTH) for k in shown])
    axes.invert_yaxis()
    axes.set(xlim=(0, max(1.0, float(probabilities.max()))), xticks=[])
    top = int(np.argmax(probabilities[shown]))
    axes.set_title(
        f"{shorten(names[shown[top]], NAME_LENGTH)} {percent(float(probabilities[shown[top]]))}", fontsize=9.5
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
