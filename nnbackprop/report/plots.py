"""A run in pictures, as PNG files; matplotlib is imported when the first is drawn, and never its global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbackprop._files import write_atomically
from nnbackprop.data.dataset import Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130


def draw_all(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    weights: np.ndarray,
    judged: Dataset,
    confusion: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
) -> None:
    """Write a run's six pictures to `folder`; RunFolderError if one cannot be written.

    rows are those of metrics.jsonl, weights (in, units), confusion (K, K) counts with true classes in rows,
    predicted (n,) and probabilities (n, k) of the judged part's n samples.
    """
    from .confusion import confusion_matrix
    from .curves import curves, gradient_norms
    from .pictures import first_layer, wrongest
    from .style import style

    figures: dict[str, Callable[[], Figure]] = {
        "loss": lambda: curves(rows, "loss"),
        "accuracy": lambda: curves(rows, "accuracy"),
        "gradient-norms": lambda: gradient_norms(rows),
        "first-layer-weights": lambda: first_layer(weights, judged.image_shape),
        "confusion-matrix": lambda: confusion_matrix(confusion, judged.classes),
        "wrongest-samples": lambda: wrongest(judged, predicted, probabilities),
    }
    for name, figure in figures.items():
        with style():
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
    from .pictures import attack
    from .style import style

    with style():
        save(attack(data, clean, moved, before, after, epsilon), path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; its folder is made if need be."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getvalue())
