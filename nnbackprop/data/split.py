"""The parts of a data set, and how one is split in two: stratified by class, or at random where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from nnbackprop.errors import DataError, UsageError

from .dataset import Dataset, require_dataset
from .sampler import permutation

SPLIT_EPOCH = -1  # in the key of the shuffle; epochs of training count from 1


@dataclass(frozen=True)
class Splits:
    """The parts of a data set, which share sample shape and classes. `test` and `validation` may be absent.

    `description` says of a table what was chosen, and why: its target, its task, columns that were left out.
    """

    train: Dataset
    test: Dataset | None = None
    validation: Dataset | None = None
    description: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in (self.test, self.validation):
            for name in ("sample_shape", "image_shape", "classes", "target_shape") if part else ():
                train, other = getattr(self.train, name), getattr(part, name)
                if train != other:
                    raise DataError(
                        f"the two parts do not belong together: {name} is {train} in {self.train.source}, "
                        f"{other} in {part.source}."  # type: ignore[union-attr]
                    )

    @property
    def parts(self) -> dict[str, Dataset | None]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return (rest, part): `part` has `fraction` of the samples (of each class), drawn by `seed`.

    `part` has round(fraction n) samples in all, and of each class the exact fraction rounded up or down
    (largest remainders first). A class keeps at least one sample in `rest`, so one of a single sample is
    never in `part`. Both keep the order of `dataset`. The split is the same on every machine.
    Raises UsageError unless 0 < fraction < 1, DataError if `part` would be empty.
    """
    require_dataset(dataset, "split")
    labels = dataset.targets if dataset.classes else None
    rest, part = split_rows(len(dataset), labels, len(dataset.classes), fraction, seed, dataset.source)
    return dataset.take(rest), dataset.take(part)


def split_rows(
    n: int, labels: np.ndarray | None, n_classes: int, fraction: float, seed: int, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `rest` and of `part`, as `split` draws them; `labels` (n,) are None for numbers."""
    if not 0 < fraction < 1:
        raise UsageError(
            f"cannot split off a fraction of {fraction}; one between 0 and 1, both excluded, is needed."
        )
    labels = np.zeros(n, np.int32) if labels is None else labels
    class_counts = stratified_counts(np.bincount(labels, minlength=n_classes), fraction)
    if not class_counts.any():
        fix = "Use a larger fraction, or none."
        if n_classes > n / 2:
            fix = "Most have a class of their own: where the targets are amounts, give task='regression'."
        raise DataError(
            f"{source}: splitting {fraction} off {n} samples in {n_classes} classes leaves that part empty. {fix}"
        )
    order = permutation(seed, SPLIT_EPOCH, n)
    in_part = np.zeros(n, bool)
    for label, count in enumerate(class_counts):
        in_part[order[labels[order] == label][:count]] = True
    return np.flatnonzero(~in_part), np.flatnonzero(in_part)


def stratified_counts(class_counts: np.ndarray, fraction: float) -> np.ndarray:
    """(K,) int64: how many samples of each class to draw, by largest remainders, in exact arithmetic."""
    exact = [int(count) * Fraction(repr(float(fraction))) for count in class_counts]
    drawn = np.array([int(e) for e in exact], np.int64)
    missing = round(sum(exact)) - int(drawn.sum())
    by_remainder = sorted(range(len(exact)), key=lambda k: int(drawn[k]) - exact[k])
    can_grow = [k for k in by_remainder if exact[k] > drawn[k] and drawn[k] + 1 < class_counts[k]]
    drawn[can_grow[: max(missing, 0)]] += 1
    return drawn
