"""The plots of a run, as PNG files. Imports matplotlib: `plot_process` imports it in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .confusion_plot import confusion_by_epoch, confusion_history
from .curves import gradient_norms, learning_curves, metric_names
from .formatting import percent, plural
from .plot_process import N_EXTREMES, Mistakes, PlotData, Predictions
from .prediction_metrics import Calibration, calibration
from .regression_plots import predicted_plot, residual_plot
from .style import GREY, PALETTE, draw, new_image_grid, new_plot, printable, shorten, text_figure

if TYPE_CHECKING:
    from nnbackprop.data.dataset import Dataset
    from nnbackprop.runs.saved_model import Attack

MAX_UNITS = 64  # of the first layer, shown at most
MAX_ATTACKED = 10
MIN_CELL = 20  # pixels of an image in a grid, beside a space of two
NAME_LENGTH = 11  # characters of a class's name above an image
MAX_CELL_LABELS = 12  # classes up to which each cell of the confusion matrix has its count and its share
MAX_MATRIX_CLASSES = 100  # classes up to which there is a matrix: one of 10,000 classes would take gigabytes
MAX_PAIRS = 25  # most confused pairs listed beyond that
MAX_TICKS = 25


def draw_all(folder: Path, data: PlotData) -> list[str]:
    """Write a run's plots to `folder`; returns a message for each that failed.

    Plots of images are left out where samples are none; of numbers there are predictions against true ones.
    """
    rows, first_layer, mistakes, extremes = data.rows, data.first_layer, data.mistakes, data.extremes
    targets, predicted = data.targets, data.predicted
    figures: dict[str, Callable[[], Figure]] = {"loss": lambda: learning_curves(rows, "loss")}
    for name in metric_names(rows) or (["accuracy"] if data.classes else []):
        figures[name.replace("_", "-")] = lambda name=name: learning_curves(rows, name)  # type: ignore[misc]
    figures["gradient-norms"] = lambda: gradient_norms(rows)
    if first_layer is not None:
        figures["first-layer-weights"] = lambda: first_layer_plot(first_layer)
    if targets is not None and predicted is not None:
        figures |= _of_predictions(data, targets, predicted)
    if mistakes is not None:
        figures["wrongest-samples"] = lambda: misclassified_plot(mistakes, data.classes)
    if extremes is not None:
        figures["surest-samples"] = lambda: surest_plot(extremes, data.classes)
    if (explanation := data.explanation) is not None:
        from .explanation_plot import explanation_plot  # which imports this module

        figures["explanation"] = lambda: explanation_plot(explanation)
    failed = []
    for name, figure in figures.items():
        try:
            draw(folder / f"{name}.png", figure)
        except Exception as error:  # out of memory or of disk space, or a mistake of ours: the run is whole
            failed.append(f"The plot {name}.png could not be drawn: {type(error).__name__}: {error}")
    return failed


def _of_predictions(data: PlotData, targets: np.ndarray, predicted: np.ndarray) -> dict[str, Callable[[], Figure]]:
    if not data.classes:
        return {
            "predicted-against-true": lambda: predicted_plot(targets, predicted, data.target_names),
            "residuals": lambda: residual_plot(targets, predicted, data.target_names),
        }
    figures = {"confusion-matrix": lambda: confusion_plot(targets, predicted, data.classes)}
    if (found := confusion_history(data.rows, len(data.classes))) is not None:
        figures["confusion-by-epoch"] = lambda: confusion_by_epoch(*found, data.classes)
    if (confidence := data.confidence) is not None:
        figures["calibration"] = lambda: calibration_plot(calibration(targets == predicted, confidence))
    return figures


def first_layer_plot(images: np.ndarray) -> Figure:
    """Weights into each of the first units, as `first_layer_images` gives them: red above zero, blue below.

    Of colour images each weight is the light of its own channel, grey at zero.
    """
    units = len(images)
    shown = min(units, MAX_UNITS)
    columns = math.ceil(math.sqrt(shown))
    side = min(7.5 / columns, 2.5)
    of = f"{shown} of {units:,} units" if units > shown else plural(units, "unit")
    colour = images.ndim == 4
    title = f"First-layer weights of {of}: {'grey is 0' if colour else 'red positive, blue negative'}"
    figure, axes = new_plot(title, max(columns * side, 5.0) + 0.9, math.ceil(shown / columns) * side + 0.5)
    values = image_grid(images[:shown], columns)
    limit = float(np.nanmax(np.abs(values))) or 1.0
    if colour:
        axes.imshow(np.nan_to_num(0.5 + values / (2 * limit), nan=1.0), interpolation="nearest")
        axes.set_axis_off()
        return figure
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02).outline.set_visible(False)
    axes.set_axis_off()
    return figure


def image_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, rows, columns) or (n, rows, columns, 3) side by side in one array, NaN between them.

    Small ones, such as kernels, are magnified to `MIN_CELL` pixels or nearly so, so that they lie close together.
    """
    magnification = max(1, MIN_CELL // max(images.shape[1:3]))
    images = images.repeat(magnification, axis=1).repeat(magnification, axis=2)
    n, height, width, *channels = images.shape
    lines = math.ceil(n / columns)
    cells = np.full((lines * columns, height + 2, width + 2, *channels), np.nan)
    cells[:n, 1:-1, 1:-1] = images
    grid = cells.reshape(lines, columns, height + 2, width + 2, *channels).swapaxes(1, 2)
    return grid.reshape(lines * (height + 2), columns * (width + 2), *channels)


def misclassified_plot(mistakes: Mistakes, classes: Sequence[str]) -> Figure:
    """The misclassified images of the greatest confidence."""
    shown, wrong, samples = len(mistakes.images), mistakes.wrong, f"{mistakes.samples:,} samples"
    if not shown:
        return text_figure(f"None of the {samples} is misclassified")
    title = f"The {shown} most confident of {wrong:,} mistakes in {samples}"
    if shown == wrong:
        title = f"{plural(wrong, 'mistake')} in {samples}, the most confident first"
    return _prediction_grid(title, mistakes, classes)


def surest_plot(extremes: Predictions, classes: Sequence[str]) -> Figure:
    """The images that the network is surest of, then those that it is least sure of."""
    n = len(extremes.images)
    title = f"The {n // 2} surest predictions, then the {n // 2} least sure"
    if n < 2 * N_EXTREMES:
        title = f"All {plural(n, 'prediction')}, the surest first"
    return _prediction_grid(title, extremes, classes)


def _prediction_grid(title: str, shown: Predictions, classes: Sequence[str]) -> Figure:
    names, n = _short_names(classes), len(shown.images)
    columns = min(n, 4)
    figure, grid = new_image_grid(title, math.ceil(n / columns), columns, 1.9)
    each = zip(shown.images, shown.targets, shown.predicted, shown.confidence, strict=True)
    for axes, (image, target, predicted, confidence) in zip(grid.flat, each, strict=False):
        _draw_image(axes, image, shown.images)
        pair = names[target] if target == predicted else f"{names[target]} → {names[predicted]}"
        percentage = percent(float(confidence))
        _caption(axes, f"{pair}   {percentage}" if len(pair) < 12 else f"{pair}\n{percentage}")
    for axes in grid.flat[n:]:
        axes.set_axis_off()
    return figure


def attack_plot(data: Dataset, result: Attack, epsilon: float) -> Figure:
    """Images whose class an attack of `epsilon` changed: before it, what was added, after it."""
    clean, moved, before, after = result.clean, result.moved, result.before, result.after
    fooled = np.flatnonzero((before == data.targets) & (after != data.targets))
    title = f"{len(fooled):,} of {len(before):,} samples fooled by moving each input by {epsilon:g} of its range"
    order = fooled[:MAX_ATTACKED]
    if not len(order):
        return text_figure(title)
    names = _short_names(data.classes)
    figure, grid = new_image_grid(title, 3, len(order), 1.15)
    step = float(np.abs(moved - clean)[order].max()) or 1.0
    for column, i in zip(grid.T, order, strict=True):
        first, added, last = (values[i].reshape(data.image_shape) for values in (clean, moved - clean, moved))
        _draw_image(column[0], first, clean[order])
        if added.ndim == 3:
            added = 0.5 + added / (3.2 * step)
        column[1].imshow(added, cmap="RdBu_r", vmin=-1.6 * step, vmax=1.6 * step)
        _draw_image(column[2], last, clean[order])
        _caption(column[0], names[before[i]])
        _caption(column[2], f"→ {names[after[i]]}")
    for axes, what in zip(grid[:, 0], ("clean", "added", "attacked"), strict=True):
        axes.set_ylabel(what)
    return figure


def _short_names(classes: Sequence[str]) -> list[str]:
    return [shorten(name, NAME_LENGTH) for name in printable(classes)]


def _draw_image(axes: Axes, image: np.ndarray, among: np.ndarray) -> None:
    """An image on the scale of those it is shown with: in its colours, or a grey one as ink on paper."""
    low, high = float(among.min()), float(among.max())
    if image.ndim == 3:
        image = np.clip((image - low) / ((high - low) or 1.0), 0, 1)
    axes.imshow(image, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")


def _caption(axes: Axes, caption: str) -> None:
    axes.set_title(caption, fontsize=9.5, pad=4)


def confusion_plot(targets: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """The confusion matrix: true classes `targets` (n,) in rows, predicted classes (n,) in columns.

    A cell's colour is its share of the row. With more than `MAX_MATRIX_CLASSES` classes there is a list instead.
    """
    wrong, k = int((targets != predicted).sum()), len(classes)
    accuracy = percent(1 - wrong / len(targets)) if len(targets) else percent(0)
    title = f"Accuracy {accuracy}: {wrong:,} of {len(targets):,} misclassified"
    if k > MAX_MATRIX_CLASSES:
        return text_figure(title, most_confused(targets, predicted, classes))
    counts = np.bincount(targets.astype(np.int64) * k + predicted, minlength=k * k).reshape(k, k)
    figure, axes = new_plot(title, 7.5, 3.4 if k < 5 else 7.2)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(k, dtype=bool)
    # a good network's mistakes are a hundredth of its right answers: on one scale they would all be white
    mistakes = np.where(diagonal | (counts == 0), np.nan, shares)
    most = 1.0 if np.isnan(mistakes).all() else np.nanmax(mistakes)
    axes.imshow(np.where(diagonal, shares, np.nan), cmap="Blues", vmin=0, vmax=1.25)
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=1.6 * most)
    for (row, column), n in np.ndenumerate(counts) if k <= MAX_CELL_LABELS else ():
        if n:
            colour = "white" if row == column and shares[row, column] > 0.6 else "black"
            label = f"{n:,}\n{100 * shares[row, column]:.1f}%"
            axes.text(column, row, label, ha="center", va="center", color=colour, fontsize=7.5)
    ticks, names = range(0, k, math.ceil(k / MAX_TICKS)), printable(classes)
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, [names[i] for i in ticks], **(slanted if max(map(len, names)) > 4 else {}))
    axes.set_yticks(ticks, [names[i] for i in ticks])
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def calibration_plot(found: Calibration) -> Figure:
    """How often predictions are right against how sure the network was; a point's size is its share of samples."""
    figure, axes = new_plot(f"Calibration: expected error {found.expected_error:.4f}", 5.5, 4.8)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    axes.plot(found.confidence, found.accuracy, color=PALETTE[0], lw=1.2)
    axes.scatter(
        found.confidence, found.accuracy, s=15 + 250 * found.share, color=PALETTE[0], alpha=0.8, clip_on=False
    )
    axes.set(xlabel="confidence (probability of the predicted class)", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.grid(color="#E6E6E6")
    return figure


def most_confused(targets: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> list[str]:
    """The pairs of true and predicted class with the most mistakes, a line each under a head."""
    wrong = np.stack([targets, predicted], axis=1)[targets != predicted]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    lines = [f"{'true class':<26}{'predicted class':<26}{'samples':>8}{'of its class':>14}"]
    sizes = np.bincount(targets, minlength=len(classes))
    for i in np.argsort(-counts, kind="stable")[:MAX_PAIRS]:
        true, other = (printable([shorten(classes[k], 24)])[0] for k in pairs[i])
        of_class = percent(counts[i] / sizes[pairs[i][0]])
        lines.append(f"{true:<26}{other:<26}{counts[i]:>8,}{of_class:>14}")
    return lines
