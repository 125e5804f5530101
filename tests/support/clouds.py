"""Clouds of points, one a class: the smallest data on which a network can be right or wrong."""

from __future__ import annotations

import numpy as np

from nnbackprop.data.dataset import Dataset


def clouds(n: int = 400, spread: float = 1.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, 6) and labels (n,) in random order, four clouds whose centres are normally distributed."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 4)
    return rng.standard_normal((4, 6))[labels] + spread * rng.standard_normal((n, 6)), labels


def cloud_dataset(n: int = 120, spread: float = 0.3, seed: int = 3) -> Dataset:
    """The same of variance 1, float64."""
    inputs, labels = clouds(n, spread, seed)
    return Dataset(inputs / inputs.std(), labels.astype(np.int32), tuple("abcd"))
