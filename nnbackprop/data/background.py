"""The background of images: the colour of their border, which lies behind what they show."""

from __future__ import annotations

import numpy as np

from .dataset import Dataset

SAMPLES = 1000  # of a data set that are looked at


def some_images(dataset: Dataset) -> np.ndarray:
    """About `SAMPLES` images of a data set from all over it, (n, *image_shape)."""
    every = max(1, len(dataset) // SAMPLES)
    return dataset.inputs[::every].reshape(-1, *(dataset.image_shape or ()))


def border(images: np.ndarray) -> np.ndarray:
    """The outermost pixels of images (n, rows, columns, ...), as (n, 2 (rows + columns), ...)."""
    return np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)


def background_of(images: np.ndarray) -> tuple[float, ...]:
    """The median of the border of images (n, rows, columns, ...): a value for each channel."""
    pixels = border(images)
    return tuple(np.median(pixels.reshape(-1, *pixels.shape[2:]), axis=0).ravel().tolist())
