"""The data sets in the package: MNIST, centre crops of it that stand in for ex4data1.mat, and four people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .readers import idx, mat
from .table import Table, Tables

FOLDER = Path(__file__).parent / "mnist"

# SHA-256 of the decompressed files, as published with many copies of MNIST.
DIGESTS = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
CROP = slice(4, 24)  # the 20 x 20 pixels at the centre of 28 x 28
SAMPLES_PER_DIGIT = 500
PEOPLE = (  # weight, height, label
    (-2, -1, 1),
    (25, 6, 0),
    (17, 4, 0),
    (-15, -6, 1),
)


def mnist() -> Tables:
    """The 60,000 and 10,000 digits of LeCun, Cortes and Burges, (28, 28) uint8."""
    return Tables(_part("train", "mnist (bundled), train"), _part("t10k", "mnist (bundled), test"))


def mnist_20x20() -> Table:
    """5,000 digits of 20 x 20 in the layout of ex4data1.mat, read as that file would be.

    The centre crops of the first 500 training images of each digit, sorted by class, zeros first: X
    (5000, 400) float64 in 0..1 unrolled by columns, y (5000, 1) with labels 1..10, 10 for zero.
    """
    x, y = ex4_arrays(_part("train", "mnist"))
    return mat.table_of(x, y, "mnist-20x20 (bundled)")


def ex4_arrays(train: Table) -> tuple[np.ndarray, np.ndarray]:
    """X (5000, 400) float64 and y (5000, 1) uint8, laid out as in ex4data1.mat."""
    first = np.concatenate([np.flatnonzero(train.labels == digit)[:SAMPLES_PER_DIGIT] for digit in range(10)])
    crops = train.inputs.reshape(-1, 28, 28)[first, CROP, CROP]
    by_columns = crops.transpose(0, 2, 1).reshape(len(crops), -1)
    y = train.labels[first]
    return by_columns / 255, np.where(y == 0, 10, y).astype(np.uint8)[:, np.newaxis]


def weight_height() -> Table:
    """Four people: weight minus 135 pounds, height minus 66 inches; label 1 is F.

    Source: Victor Zhou, https://victorzhou.com/blog/intro-to-neural-networks/
    """
    people = np.array(PEOPLE, np.float64)
    note = "weight is in pounds less 135, height in inches less 66"
    labels = people[:, 2].astype(np.int64)
    return Table.of(people[:, :2], labels, "weight-height (bundled)", {0: "M", 1: "F"}, (note,))


def _part(part: str, source: str) -> Table:
    return replace(idx.read_part(FOLDER, part, digests=DIGESTS), source=source)
