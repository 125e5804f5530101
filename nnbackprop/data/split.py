"""A data set split in two: stratified by class, or at random where targets are numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from nnbackprop.errors import DataError, UsageError

from .dataset import Dataset
from .sampler import permutation

SPLIT_EPOCH = -1  # in the key of the shuffle; epochs of training count from 1


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return (rest, part): `part` has `fraction` of the samples (of each class), drawn by `seed`.

    `part` has round(fraction n) samples in all, and of each class the exact fraction rounded up or down
    (largest remainders first). A class keeps at least one sample in `rest`, so one of a single sample is
    never in `part`. Both keep the order of `dataset`. The split is the same on every machine.
    Raises UsageError unless 0 < fraction < 1, DataError if `part` would be empty.
    """
    if not 0 < fraction < 1:
        raise UsageError(
            f"cannot split off a fraction of {fraction}; one between 0 and 1, both excluded, is needed."
        )
    labels = dataset.targets if dataset.classes else np.zeros(len(dataset), np.int32)
    class_counts = stratified_counts(np.bincount(labels, minlength=len(dataset.classes)), fraction)
    if not class_counts.any():
        raise DataError(
            f"{dataset.source}: splitting {fraction} off {len(dataset)} samples in {len(dataset.classes)} classes "
            "leaves that part empty. Use a larger fraction, or none."
        )
    order = permutation(seed, SPLIT_EPOCH, len(dataset))
    in_part = np.zeros(len(dataset), bool)
    for label, count in enumerate(class_counts):
        in_part[order[labels[order] == label][:count]] = True
    return dataset.take(np.flatnonzero(~in_part)), dataset.take(np.flatnonzero(in_part))


def stratified_counts(class_counts: np.ndarray, fraction: float) -> np.ndarray:
    """(K,) int64: how many samples of each class to draw, by largest remainders, in exact arithmetic."""
    exact = [int(count) * Fraction(repr(float(fraction))) for count in class_counts]
    drawn = np.array([int(e) for e in exact], np.int64)
    missing = round(sum(exact)) - int(drawn.sum())
    by_remainder = sorted(range(len(exact)), key=lambda k: int(drawn[k]) - exact[k])
    can_grow = [k for k in by_remainder if exact[k] > drawn[k] and drawn[k] + 1 < class_counts[k]]
    drawn[can_grow[: max(missing, 0)]] += 1
    return drawn
