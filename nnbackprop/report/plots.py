"""The plots of a run, as PNG files. Imports matplotlib: import it where something is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from backends import leaves
from nnbackprop.data.dataset import Dataset
from nnbackprop.runs.train import Run
from nnbackprop.runs.trained_model import Attack

from .confusion import confusion_plot
from .curves import curves, gradient_norms, metrics_of
from .images import attack, first_layer, wrongest
from .style import save, style


def draw_run(run: Run) -> list[str]:
    """Write the plots of a finished run, of its test part or else its training part; see `draw_all`."""
    trainer, judged = run.trainer, run.data.test or run.data.train
    weights = next((a for a in leaves(trainer.params) if a.ndim == 2), None)
    matrix = None if weights is None else trainer.backend.to_numpy(weights)
    try:
        probabilities = trainer.predict_proba(judged.inputs)
    except MemoryError as error:  # n samples of 10,000 classes
        return [f"The plots could not be drawn: {error}"]
    predicted = trainer.evaluator.decide(probabilities)
    return draw_all(run.folder.plots, run.folder.rows(), matrix, judged, predicted, probabilities)


def draw_all(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    weights: np.ndarray | None,
    judged: Dataset,
    predicted: np.ndarray,
    probabilities: np.ndarray,
) -> list[str]:
    """Write a run's plots to `folder`; returns a message for each that failed: no plot fails a finished run.

    rows are those of metrics.jsonl, weights (in, units) of the first layer or None, predicted (n,) and
    probabilities (n, k) of the judged part's n samples. Plots of images are left out where samples are none, and
    without classes there are curves and weights alone.
    """
    figures: dict[str, Callable[[], Figure]] = {"loss": lambda: curves(rows, "loss")}
    for name in metrics_of(rows) or ["accuracy"] if judged.classes else metrics_of(rows):
        figures[name.replace("_", "-")] = lambda name=name: curves(rows, name)  # type: ignore[misc]
    figures["gradient-norms"] = lambda: gradient_norms(rows)
    image_shape = judged.image_shape
    if weights is not None and image_shape and math.prod(image_shape) == len(weights):
        figures["first-layer-weights"] = lambda: first_layer(weights, image_shape)
    if judged.classes:
        figures["confusion-matrix"] = lambda: confusion_plot(judged.targets, predicted, judged.classes)
    if judged.classes and image_shape:
        figures["wrongest-samples"] = lambda: wrongest(judged, predicted, probabilities)
    failed = []
    for name, figure in figures.items():
        try:
            with style():
                save(figure(), folder / f"{name}.png")
        except Exception as error:  # out of memory or of disk space, or a mistake of ours: the run is whole
            failed.append(f"The plot {name}.png could not be drawn: {type(error).__name__}: {error}")
    return failed


def draw_attack(path: Path, data: Dataset, result: Attack, epsilon: float) -> None:
    """Write the plot of an attack on images."""
    with style():
        save(attack(data, result, epsilon), path)
