"""The data sets in the package: MNIST, centre crops of it that stand in for ex4data1.mat, four people, tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .raw import RawDataset, RawSplits
from .readers import csv, idx, mat
from .table import DataOptions, Table

FOLDER = Path(__file__).parent / "mnist"
TABLES = Path(__file__).parent / "tables"
BUNDLED_TABLES = ("iris", "house-prices")
CROP = slice(4, 24)  # the 20 x 20 pixels at the centre of 28 x 28
SAMPLES_PER_DIGIT = 500
WEIGHT_HEIGHT_SAMPLES = (  # weight, height, label
    (-2, -1, 1),
    (25, 6, 0),
    (17, 4, 0),
    (-15, -6, 1),
)


def mnist() -> RawSplits:
    """The 60,000 and 10,000 digits of LeCun, Cortes and Burges, (28, 28) uint8."""
    train, test = (idx.read_part(FOLDER, part) for part in ("train", "t10k"))
    return RawSplits(
        replace(train, source="mnist (bundled), train"), replace(test, source="mnist (bundled), test")
    )


def mnist_20x20() -> RawDataset:
    """5,000 digits of 20 x 20 in the layout of ex4data1.mat, read as that file would be.

    The centre crops of the first 500 training images of each digit, sorted by class, zeros first: X
    (5000, 400) float64 in 0..1 unrolled by columns, y (5000, 1) with labels 1..10, 10 for zero.
    """
    return mat.from_matlab_arrays(*ex4_arrays(mnist().train), "mnist-20x20 (bundled)")


def ex4_arrays(train: RawDataset) -> tuple[np.ndarray, np.ndarray]:
    """X (5000, 400) float64 and y (5000, 1) uint8, laid out as in ex4data1.mat."""
    first = np.concatenate([np.flatnonzero(train.labels == digit)[:SAMPLES_PER_DIGIT] for digit in range(10)])
    crops = train.inputs.reshape(-1, 28, 28)[first, CROP, CROP]
    by_columns = crops.transpose(0, 2, 1).reshape(len(crops), -1)
    y = train.labels[first]
    return by_columns / 255, np.where(y == 0, 10, y).astype(np.uint8)[:, np.newaxis]


def weight_height() -> RawDataset:
    """Four people: weight minus 135 pounds, height minus 66 inches; label 1 is F.

    Source: Victor Zhou, https://victorzhou.com/blog/intro-to-neural-networks/
    """
    people = np.array(WEIGHT_HEIGHT_SAMPLES, np.float64)
    note = "weight is in pounds less 135, height in inches less 66"
    labels = people[:, 2].astype(np.int64)
    return RawDataset.from_arrays(people[:, :2], labels, "weight-height (bundled)", {0: "M", 1: "F"}, (note,))


def bundled_table(name: str, options: DataOptions) -> Table:
    """A table of data/tables, whose README.md says where each is from."""
    return replace(csv.read(TABLES / f"{name}.csv", options), source=f"{name} (bundled)")
