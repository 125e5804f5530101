"""Whether images are transposed: stored by columns and read by rows.

The numbers of one image do not tell. But the mean image of a digit is much the same in every set of handwritten
digits, so the means of ten classes are compared with those of MNIST, upright and transposed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nnbackprop.data import bundled
from nnbackprop.data.raw import RawDataset
from nnbackprop.data.readers.mat import TRANSPOSED
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding

from .probes import Samples

LEAST = 10  # samples of each class, for a mean image to look like one
# Correlations over ten digits, with MNIST's test part as the other set: 0.99 in its own orientation and 0.25 in
# the other; 0.89 and 0.24 with 200 samples in all; under 0.2 with both where the labels mean something else.
ALIKE = 0.6
MARGIN = 0.3
CAUSE = (
    "MATLAB and Fortran store by columns, NumPy reads by rows, so each image is transposed. A dense network "
    "learns either, but not one and then the other, and pictures come out transposed."
)


def images_column_major(samples: Samples) -> CheckResult:
    """Images of digits read in the other order."""
    if TRANSPOSED in samples.reader_notes:
        evidence = f"{TRANSPOSED[0].upper()}{TRANSPOSED[1:]}."
        return Finding("images-column-major", "note", evidence, CAUSE, "Nothing; the reader did it.")
    if samples.labels is None or not samples.finite:
        return NOT_APPLICABLE
    pairs = [correlations(*part) for part in zip(samples.parts, samples.labels, strict=True)]
    transposed = [pair is not None and pair[1] > max(ALIKE, pair[0] + MARGIN) for pair in pairs]
    if None in pairs:
        return NOT_APPLICABLE
    if not any(transposed):
        return None
    sources = [part.source for part in samples.parts]
    rows = (f"{s}: {p[1]:.2f} transposed, {p[0]:.2f} as read" for s, p in zip(sources, pairs, strict=True) if p)
    return Finding(
        "images-column-major",
        "warning" if all(transposed) else "fault",
        f"Correlation of the ten mean images with MNIST's: {'; '.join(rows)}.",
        CAUSE,
        "x = x.reshape(-1, rows, columns).transpose(0, 2, 1)",
    )


def correlations(table: RawDataset, labels: np.ndarray) -> tuple[float, float] | None:
    """Correlation of the digits' mean images with MNIST's, upright and transposed; None if not ten digits."""
    shape, (values, counts) = table.image_shape, np.unique(labels, return_counts=True)
    first, last = int(values[0]), int(values[-1])
    if shape not in ((28, 28), (20, 20)) or len(values) != 10 or (first, last) not in ((0, 9), (1, 10)):
        return None
    if counts.min() < LEAST:
        return None
    means = np.stack([table.inputs[labels == v].mean(axis=0, dtype=np.float64) for v in values])
    # 1..10 may mean 10 for 0, as in ex4, or every digit and 1
    orders = [values % 10] if first == 0 else [values % 10, values - 1]
    upright, transposed = _references(shape)
    return max(((_correlation(means, upright[o]), _correlation(means, transposed[o])) for o in orders), key=max)


def _correlation(means: np.ndarray, references: np.ndarray) -> float:
    """Mean over the digits; each image less the mean of all ten, which is a blot in the middle for any set."""
    a, b = means - means.mean(axis=0), references - references.mean(axis=0)
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return abs(float(np.mean(np.sum(a * b, axis=1) / (sizes + 1e-30))))  # ink on paper is light on dark inverted


@lru_cache
def _references(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's ten mean images (10, features), upright and transposed."""
    train = bundled.mnist().train
    images = train.inputs.reshape(-1, 28, 28)
    means = np.stack([images[train.labels == digit].mean(axis=0) for digit in range(10)])
    if shape == (20, 20):
        means = means[:, bundled.CROP, bundled.CROP]
    return means.reshape(10, -1), means.transpose(0, 2, 1).reshape(10, -1)
