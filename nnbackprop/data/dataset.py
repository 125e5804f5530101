"""What training is given: inputs, labels and what the labels are called, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnbackprop.errors import DataError

INPUT_DTYPES = ("uint8", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Dataset:
    """One part of a data set: n samples, their labels, and the class map.

    inputs       (n, features) uint8, float32 or float64, C-contiguous
    targets      (n,) int32 in 0 .. K-1
    classes      K names: `classes[labels[i]]` is what sample i is called ("0" for label 9 of an ex4 set)
    image_shape  (rows, columns) where a sample is an image: `inputs[i].reshape(image_shape)` is upright
    source       where it came from, in words
    notes        what the reader knew and handled, a sentence each

    Raises DataError where these do not hold. Whether the values can be trained on is judged by `check`.
    """

    inputs: np.ndarray
    targets: np.ndarray
    classes: tuple[str, ...]
    image_shape: tuple[int, int] | None = None
    source: str = "memory"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_inputs()
        self._check_labels()
        shape = self.image_shape
        if shape is not None and (len(shape) != 2 or shape[0] * shape[1] != self.features):
            raise DataError(
                f"{self.source}: an image of {shape} pixels cannot be made of {self.features} features."
            )

    def _check_inputs(self) -> None:
        x = self.inputs
        if x.ndim != 2 or 0 in x.shape:
            raise DataError(
                f"{self.source}: inputs have shape {x.shape}; (samples, features) is needed, neither 0."
            )
        if x.dtype not in INPUT_DTYPES or not x.flags.c_contiguous:
            raise DataError(
                f"{self.source}: inputs are {x.dtype}, {'' if x.flags.c_contiguous else 'not '}C-contiguous; "
                f"C-contiguous {', '.join(INPUT_DTYPES)} is needed. See numpy.ascontiguousarray."
            )

    def _check_labels(self) -> None:
        t = self.targets
        if t.shape != (len(self.inputs),) or t.dtype != np.int32:
            raise DataError(
                f"{self.source}: labels are {t.dtype} of shape {t.shape}; "
                f"int32 of shape ({len(self.inputs)},) is needed, one for each sample."
            )
        if t.min() < 0 or t.max() >= len(self.classes):
            raise DataError(
                f"{self.source}: labels lie in {t.min()}..{t.max()}, "
                f"but {len(self.classes)} classes need 0..{len(self.classes) - 1}."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def features(self) -> int:
        """Numbers in one sample."""
        return int(self.inputs.shape[1])

    def image(self, i: int) -> np.ndarray:
        """Sample i as an upright (rows, columns) image; DataError if samples are not images."""
        if self.image_shape is None:
            raise DataError(f"{self.source}: its samples of {self.features} features are not images.")
        return self.inputs[i].reshape(self.image_shape)

    def counts(self) -> np.ndarray:
        """(K,) int64: how many samples each class has."""
        return np.bincount(self.targets, minlength=len(self.classes))

    def take(self, indices: np.ndarray) -> Dataset:
        """The samples of `indices`, in that order, copied."""
        return replace(self, inputs=self.inputs[indices], targets=self.targets[indices])

    def with_classes(self, classes: tuple[str, ...]) -> Dataset:
        """The same samples with labels that index `classes`, as a trained network's outputs do.

        Raises DataError if a sample belongs to a class that is not among them.
        """
        if classes == self.classes:
            return self
        used = [self.classes[k] for k in np.flatnonzero(self.counts())]
        if strange := [name for name in used if name not in classes]:
            raise DataError(
                f"{self.source}: holds classes {', '.join(strange)}, which are not among the "
                f"{len(classes)} known ones ({', '.join(classes)})."
            )
        index = np.array([classes.index(name) if name in classes else -1 for name in self.classes], np.int32)
        return replace(self, targets=index[self.targets], classes=classes)


@dataclass(frozen=True)
class Splits:
    """The parts of a data set, which share features, classes and image shape. `test` may be absent."""

    train: Dataset
    test: Dataset | None = None

    def __post_init__(self) -> None:
        if self.test is None:
            return
        for what in ("features", "image_shape", "classes"):
            train, test = getattr(self.train, what), getattr(self.test, what)
            if train != test:
                raise DataError(
                    f"the two parts do not belong together: {what} is {train} in {self.train.source}, "
                    f"{test} in {self.test.source}."
                )
