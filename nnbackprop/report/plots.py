"""A run in pictures: its curves out of metrics.jsonl, its first weights, and what it still gets wrong.

Functions named after a picture build a matplotlib Figure; `draw_all` and `draw_attack` save them. matplotlib is
imported when the first is built, and never its global state.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nnbackprop.data.dataset import Dataset
from nnbackprop.training.checkpoints import write_atomically

from .words import share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Row = Mapping[str, Any]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, told apart by people of any colour vision."""

PARTS = ("train", "validation", "test")
UNITS = 64  # first-layer weights shown at most
WRONGEST = 16
FLIPPED = 10
NUMBERED = 16  # classes up to which a confusion matrix has its counts written in


def draw_all(
    folder: Path,
    rows: Sequence[Row],
    weights: np.ndarray,
    judged: Dataset,
    confusion: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
) -> None:
    """Write a run's six pictures to `folder`.

    weights (in, units), confusion (K, K) counts with true classes in rows, predicted (n,) and probabilities (n, k)
    of the judged part's n samples.
    """
    figures: dict[str, Callable[[], Figure]] = {
        "loss": lambda: curves(rows, "loss", "Loss by epoch"),
        "accuracy": lambda: curves(rows, "accuracy", "Accuracy by epoch"),
        "gradient-norms": lambda: gradient_norms(rows),
        "first-layer-weights": lambda: first_layer(weights, judged.image_shape),
        "confusion-matrix": lambda: confusion_matrix(confusion, judged.classes),
        "wrongest-samples": lambda: wrongest(judged, predicted, probabilities),
    }
    for name, figure in figures.items():
        save(figure(), folder / f"{name}.png")


def draw_attack(
    path: Path,
    data: Dataset,
    clean: np.ndarray,
    moved: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    epsilon: float,
) -> None:
    """Write the picture of an attack: samples (n, features) before and after, and their predicted classes (n,)."""
    save(attack(data, clean, moved, before, after, epsilon), path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; its folder is made if need be."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def curves(rows: Sequence[Row], what: str, title: str) -> Figure:
    """`loss` or `accuracy` of each part against the epoch; each line is named at its end."""
    figure, axes = _axes(title, "epoch", what)
    lines = [(part, [row[f"{part}_{what}"] for row in rows]) for part in PARTS]
    shown = [(part, values) for part, values in lines if any(v is not None for v in values)]
    for colour, (part, values) in zip(PALETTE, shown, strict=False):
        words = share(values[-1]) if what == "accuracy" else f"{values[-1]:.4g}"
        _line(axes, rows, values, colour, f"{part} {words}")
    if what == "accuracy":
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}%")
    _name_lines(axes)
    return figure


def gradient_norms(rows: Sequence[Row]) -> Figure:
    """Norm of each layer's gradient against the epoch, on a logarithmic scale."""
    figure, axes = _axes("Gradient norm of each layer by epoch", "epoch", "norm")
    axes.set_yscale("log")
    for i, name in enumerate(rows[-1]["gradient_norms"] if rows else ()):
        values = [row["gradient_norms"][name] or math.nan for row in rows]  # a zero has no logarithm
        _line(axes, rows, values, PALETTE[i % len(PALETTE)], name)
    _name_lines(axes)
    return figure


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _line(axes: Axes, rows: Sequence[Row], values: Sequence[float | None], colour: str, name: str) -> None:
    epochs = [row["epoch"] for row in rows]
    numbers = [math.nan if v is None else v for v in values]
    axes.plot(epochs, numbers, color=colour, label=name, lw=1.6, marker="o" if len(rows) < 30 else "", ms=3)


def _name_lines(axes: Axes) -> None:
    """Write each line's label at its right end, moved apart where two ends would overlap."""
    height = 1 / 16  # of the axes, one label with its space
    axes.get_ylim()  # settles the limits, which the transformation below needs
    ends = []
    for line in axes.get_lines():
        y = np.asarray(line.get_ydata(), float)
        y = y[np.isfinite(y)]
        if y.size:
            place = axes.transData.transform((0, y[-1]))[1]
            ends.append((axes.transAxes.inverted().transform((0, place))[1], line))
    lowest = -math.inf
    for at, line in sorted(ends, key=lambda end: end[0]):
        lowest = max(at, lowest + height)
        axes.annotate(
            str(line.get_label()),
            (1.01, lowest),
            xycoords="axes fraction",
            color=line.get_color(),
            va="center",
            annotation_clip=False,
        )


def first_layer(weights: np.ndarray, image_shape: tuple[int, int] | None) -> Figure:
    """Weights (in, units) into the first units: images where the inputs are, else one heat map."""
    from matplotlib.figure import Figure

    inputs, units = weights.shape
    if image_shape is None or math.prod(image_shape) != inputs:
        figure, axes = _axes("Weights of the first layer", "unit", "input")
        axes.grid(visible=False)
        axes.set_xticks(range(units) if units <= NUMBERED else ())
        axes.set_yticks(range(inputs) if inputs <= NUMBERED else ())
        figure.colorbar(_diverging(axes, weights, "auto"))
        return figure
    shown = min(units, UNITS)
    columns = math.ceil(math.sqrt(shown))
    figure = Figure(figsize=(8, 8 * math.ceil(shown / columns) / columns + 0.6), layout="constrained")
    figure.suptitle(
        f"What the first {shown} of {units} units look for: red counts for, blue against", x=0.02, ha="left"
    )
    panels = figure.subplots(math.ceil(shown / columns), columns, squeeze=False).flat
    for i, axes in enumerate(panels):
        axes.set_axis_off()
        if i < shown:
            _diverging(axes, weights[:, i].reshape(image_shape), "equal")
    return figure


def _diverging(axes: Axes, values: np.ndarray, aspect: Literal["auto", "equal"]) -> AxesImage:
    """Red above zero, blue below, white at it."""
    limit = float(np.abs(values).max()) or 1.0
    return axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect=aspect)


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str]) -> Figure:
    """Counts (K, K), true classes in rows, coloured by their share of the row."""
    right = np.trace(confusion) / max(confusion.sum(), 1)
    figure, axes = _axes(f"Who is taken for whom: {share(right)} right", "predicted class", "true class")
    k = len(classes)
    figure.set_size_inches((6.6, 6.4) if k > 3 else (6.6, 3.6))
    axes.grid(visible=False)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(0, k, math.ceil(k / 25))
    axes.set_xticks(ticks, [classes[i] for i in ticks])
    axes.set_yticks(ticks, [classes[i] for i in ticks])
    if k <= NUMBERED:
        for (row, column), n in np.ndenumerate(confusion):
            if n:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{n:,}", ha="center", va="center", color=colour, fontsize=8)
    return figure


def wrongest(data: Dataset, predicted: np.ndarray, probabilities: np.ndarray) -> Figure:
    """The samples taken for a wrong class with the greatest confidence."""
    certainty = confidence(predicted, probabilities)
    wrong = np.flatnonzero(predicted != data.labels)
    order = wrong[np.argsort(-certainty[wrong], kind="stable")][:WRONGEST]
    if not len(order):
        return _message(f"None of the {len(predicted):,} samples is taken for another class")
    title = f"The {len(order)} most confident of {len(wrong):,} mistakes in {len(predicted):,} samples"
    words = [
        f"{data.classes[data.labels[i]]} taken for {data.classes[predicted[i]]}, {share(float(certainty[i]))}"
        for i in order
    ]
    if data.image_shape is None:
        lines = [
            f"{np.array2string(data.inputs[i], precision=4, threshold=8)}   {w}"
            for i, w in zip(order, words, strict=True)
        ]
        return _message(title + "\n\n" + "\n".join(lines))
    return _pictures(title, [[data.image(int(i)) for i in order]], words, columns=4)


def confidence(predicted: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Probability (n,) given to the predicted class; a single column is that of class 1."""
    if probabilities.shape[1] == 1:
        return np.where(predicted == 1, probabilities[:, 0], 1 - probabilities[:, 0])
    return np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]


def attack(
    data: Dataset, clean: np.ndarray, moved: np.ndarray, before: np.ndarray, after: np.ndarray, epsilon: float
) -> Figure:
    """Samples whose class an attack of `epsilon` changed: as they were, what was added, as they are."""
    flipped = np.flatnonzero((before == data.labels) & (after != data.labels))
    title = f"{len(flipped):,} of {len(before):,} samples fooled by moving each input by {epsilon:g} of its range"
    order = flipped[:FLIPPED]
    if not len(order) or data.image_shape is None:
        return _message(title)
    rows = [[part[i].reshape(data.image_shape) for i in order] for part in (clean, moved - clean, moved)]
    words = [f"{data.classes[before[i]]} → {data.classes[after[i]]}" for i in order]
    return _pictures(title, rows, words, columns=len(order))


def _pictures(title: str, rows: Sequence[Sequence[np.ndarray]], words: Sequence[str], columns: int) -> Figure:
    """Grey images in rows of `columns`; the words stand over those of the first row of `rows`."""
    from matplotlib.figure import Figure

    images = [image for row in rows for image in row]
    lines = math.ceil(len(images) / columns)
    side = 2.1 if columns <= 4 else 1.1
    figure = Figure(figsize=(columns * side, lines * (side + 0.15) + 0.6), layout="constrained")
    figure.suptitle(title, x=0.02, ha="left", fontweight="bold", fontsize=10)
    for i, axes in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        axes.set_axis_off()
        if i < len(images):
            axes.imshow(images[i], cmap="gray")
        if i < len(words):
            axes.set_title(words[i], fontsize=8)
    return figure


def _message(text: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.2 + 0.25 * text.count("\n")))
    figure.text(0.03, 0.5, text, va="center", family="monospace" if "\n" in text else "sans-serif")
    return figure
