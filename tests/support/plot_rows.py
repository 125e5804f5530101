"""Rows of metrics and small data sets to plot, and how to read a figure back."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnbackprop.data.dataset import Dataset


def metrics_row(epoch: int, **values: Any) -> dict[str, Any]:
    parts = ("train", "validation", "test")
    base = {f"{part}_{what}": None for part in parts for what in ("loss", "accuracy")}
    train = {"train_loss": 1 / epoch, "train_accuracy": 1 - 1 / epoch}
    return {"epoch": epoch, **base, **train, "gradient_norms": {"dense1": 2.0 / epoch, "dense2": 0.0}, **values}


def small_images(n: int = 6) -> Dataset:
    inputs = np.arange(n * 6, dtype=np.uint8).reshape(n, 6)
    return Dataset(inputs, np.arange(n, dtype=np.int32) % 2, ("zero", "one"), image_shape=(2, 3))


def axes_texts(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend_texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn_images(figure: Any) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
