"""A data set split in two: stratified by class, or plainly where targets are numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from nnbackprop.errors import DataError, UsageError

from .dataset import Dataset
from .sampler import permutation

SPLIT = -1  # the epoch in the key of the shuffle; epochs of training count from 1


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return (rest, part): `part` has `fraction` of the samples (of each class), drawn by `seed`.

    `part` has round(fraction n) samples in all, and of each class, the exact share rounded up or down
    (largest remainders first). A class keeps at least one sample in `rest`, so one of a single sample is
    never in `part`. Both keep the order of `dataset`. The draw is the same on every machine.
    Raises UsageError unless 0 < fraction < 1, DataError if `part` would be empty.
    """
    if not 0 < fraction < 1:
        raise UsageError(
            f"cannot split off a fraction of {fraction}; one between 0 and 1, both excluded, is needed."
        )
    labels = dataset.targets if dataset.classes else np.zeros(len(dataset), np.int32)
    quota = quotas(np.bincount(labels, minlength=len(dataset.classes)), fraction)
    if not quota.any():
        raise DataError(
            f"{dataset.source}: splitting {fraction} off {len(dataset)} samples in {len(dataset.classes)} classes "
            "leaves that part empty. Use a larger fraction, or none."
        )
    order = permutation(seed, SPLIT, len(dataset))
    chosen = np.zeros(len(dataset), bool)
    for label, count in enumerate(quota):
        chosen[order[labels[order] == label][:count]] = True
    return dataset.take(np.flatnonzero(~chosen)), dataset.take(np.flatnonzero(chosen))


def quotas(counts: np.ndarray, fraction: float) -> np.ndarray:
    """(K,) int64: samples to draw of each class, by largest remainders, in exact arithmetic."""
    share = Fraction(repr(float(fraction)))
    exact = [int(count) * share for count in counts]
    quota = np.array([int(e) for e in exact], np.int64)
    left = round(int(counts.sum()) * share) - int(quota.sum())
    by_remainder = sorted(range(len(exact)), key=lambda k: int(quota[k]) - exact[k])
    can_grow = [k for k in by_remainder if exact[k] > quota[k] and quota[k] + 1 < counts[k]]
    quota[can_grow[: max(left, 0)]] += 1
    return quota
