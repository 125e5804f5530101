"""Checks of input values: finite, of a suitable size, varying, of one orientation, and not in both parts."""

from __future__ import annotations

import math

import numpy as np

from nnbackprop.data.dataset import Dataset
from nnbackprop.data.mapped import Samples, blocks
from nnbackprop.data.raw import RawDataset
from nnbackprop.data.readers.mat import TRANSPOSED
from nnbackprop.data.scaling import fit_scaling, moments
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding, Level

from .probes import DataProbe

# Initial weights are drawn so that inputs of root mean square 1 give sums of about 1. At 20 a sigmoid is flat
# for nearly every sample and a gradient 20 times too long. Measurements in everyday units, centred, stay below
# (pounds and inches of four people: 12), bytes of images lie at 60 to 120.
MAX_RMS = 20.0
MIN_RMS = 0.01  # bytes divided by 255 twice lie near 0.001, and nothing that was scaled once is so small
MAX_STD_RATIO = 100.0  # the loss is then 10,000 times steeper along one feature than along another
MIN_PER_CLASS, MAX_PER_CLASS = 10, 10_000  # images, for a mean image to look like one
MIN_CORRELATION, CORRELATION_MARGIN = 0.6, 0.3  # of transposed mean images, and over that of the images as read
DUPLICATES_WARNING, DUPLICATES_FAULT = (
    0.01,
    0.1,
)  # of the test part; from a tenth on, the test accuracy says little


def inputs_not_finite(data: DataProbe) -> CheckResult:
    """NaN or infinity among the inputs."""
    if data.finite:
        return None
    for table in data.tables:
        wrong = np.concatenate([np.count_nonzero(~np.isfinite(block), axis=1) for block in blocks(table.inputs)])
        if not wrong.any():
            continue
        row = int(np.argmax(wrong > 0))
        column = int(np.argmin(np.isfinite(table.inputs[row])))
        return not_finite(
            f"{table.source}: {wrong.sum()} of {table.inputs.size} values are NaN or infinite, in "
            f"{np.count_nonzero(wrong)} of {len(wrong)} samples; the first is {table.inputs[row, column]} at "
            f"sample {row}, feature {column}, both counted from 0."
        )
    return None


def not_finite(evidence: str) -> Finding:
    """Inputs that are NaN, infinite or missing."""
    return Finding(
        "inputs-not-finite",
        "fault",
        evidence=evidence,
        cause="Likely missing values, or a division by zero before the file was written. One such value turns all "
        "weights into NaN in the step that uses it.",
        fix="Leave these samples out, x = x[np.isfinite(x).all(axis=1)], or fill in the feature's mean.",
    )


def inputs_unscaled(data: DataProbe) -> CheckResult:
    """Inputs, scaled as the run would scale them, of a size that initial weights are not made for."""
    if not data.finite or _all_equal(data.train):
        return NOT_APPLICABLE
    train = data.splits.train
    scaling = fit_scaling(data.scale, train)
    mean, variance = moments(train.inputs)
    mean, std = mean * scaling.scale + scaling.shift, np.sqrt(variance) * np.abs(scaling.scale)
    rms = math.sqrt(float(np.mean(mean * mean + std * std)))
    if MIN_RMS <= rms <= MAX_RMS:
        return None if train.image_shape else _disparate_features(data, train, std)
    low, high = float(train.inputs.min()), float(train.inputs.max())
    cause = "unscaled, as the file has them" if rms > MAX_RMS else "likely scaled twice"
    return Finding(
        "inputs-unscaled",
        "warning",
        evidence=(
            f"{train.source} holds {low:g} .. {high:g}; with --scale {data.scale} the network sees a root mean "
            f"square of {rms:.3g}, where initial weights are made for about 1."
        ),
        cause=f"Inputs reach the network {cause}: units saturate, or steps are far too large or small.",
        fix="--scale standard, or x = (x - x.mean()) / x.std() with the training part's mean and std.",
    )


def _disparate_features(data: DataProbe, train: Dataset, std: np.ndarray) -> Finding | None:
    """Features in units far apart; 0/1 indicators have no unit."""
    first = train.inputs[:1000]
    measured = [j for j in np.flatnonzero(std) if len(np.unique(first[:, j])) > 2]
    if len(measured) < 2:
        return None
    wide, narrow = max(measured, key=std.__getitem__), min(measured, key=std.__getitem__)
    if std[wide] <= MAX_STD_RATIO * std[narrow]:
        return None
    return Finding(
        "inputs-unscaled",
        "warning",
        evidence=(
            f"With --scale {data.scale} feature {wide} has a standard deviation of {std[wide]:.3g} and feature "
            f"{narrow} of {std[narrow]:.3g}, {std[wide] / std[narrow]:,.0f} times less."
        ),
        cause=(
            "Features in different units, scaled by one common factor: the narrow one has hardly any effect, and "
            "no learning rate suits both."
        ),
        fix="--scale per-feature, or x = (x - x.mean(axis=0)) / x.std(axis=0).",
    )


def inputs_constant(data: DataProbe) -> CheckResult:
    """Inputs without information: all samples of a part equal."""
    if not data.finite or len(data.train.inputs) < 2:
        return NOT_APPLICABLE
    table = next((table for table in data.tables if _all_equal(table)), None)
    return (
        table
        if table is None
        else Finding(
            "inputs-constant",
            "fault",
            evidence=f"{table.source}: all {len(table.inputs)} samples are the same, feature by feature.",
            cause="Likely one sample written over and over, or zeros that were never filled in.",
            fix="Look at them with `nnbackprop data inspect PATH`, and write the file again.",
        )
    )


def _all_equal(table: RawDataset) -> bool:
    return all((block == table.inputs[:1]).all() for block in blocks(table.inputs))


def train_test_duplicates(data: DataProbe) -> CheckResult:
    """Test samples that are in the training part as well, number for number."""
    train, test = data.splits.train, data.splits.test
    if test is None:
        return NOT_APPLICABLE
    shared = np.isin(_row_hashes(test.inputs), _row_hashes(train.inputs))
    fraction = float(shared.mean())
    if not fraction:
        return None
    level: Level = (
        "note" if fraction < DUPLICATES_WARNING else "warning" if fraction < DUPLICATES_FAULT else "fault"
    )
    cause = "Samples copied before the split, or one part made from the other: the test accuracy is too high."
    return Finding(
        "train-test-duplicates",
        level,
        evidence=(
            f"{shared.sum()} of {len(test)} test samples ({fraction:.1%}) are in the training part too, equal in "
            f"every value (the first is test sample {int(np.argmax(shared))})."
        ),
        cause=cause,
        fix="Remove duplicates before splitting, keep = np.unique(x, axis=0, return_index=True)[1].",
    )


def _row_hashes(inputs: Samples) -> np.ndarray:
    """(n,) int64: of 64 bits, so that 10 million rows take 80 MB and two alike are one row, but for 1 in 10^5."""
    rows = (row for block in blocks(inputs) for row in block)
    return np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(inputs))


def images_column_major(data: DataProbe) -> CheckResult:
    """Images of one part that are transposed: its mean images of the classes are like the other's transposed."""
    cause = "MATLAB and Fortran store by columns, NumPy reads by rows, so each image is transposed."
    if TRANSPOSED in data.reader_notes:
        evidence = f"{TRANSPOSED[0].upper()}{TRANSPOSED[1:]}."
        return Finding(
            "images-column-major", "note", evidence=evidence, cause=cause, fix="Nothing; the reader did it."
        )
    shape = data.train.image_shape
    square = shape is not None and shape[0] == shape[1] and all(t.image_shape == shape for t in data.tables)
    if not square or data.labels is None or len(data.tables) < 2 or not data.finite:
        return NOT_APPLICABLE
    means = [_class_means(table, column) for table, column in zip(data.tables, data.labels, strict=True)]
    classes = sorted(means[0].keys() & means[1].keys())
    if len(classes) < 2:
        return NOT_APPLICABLE
    train, test = (np.stack([mean[label] for label in classes]) for mean in means)
    # each less the mean of all, which is a blot in the middle for any set
    train, test = train - train.mean(axis=0), test - test.mean(axis=0)
    as_read, transposed = (float(np.corrcoef(train.flat, a.flat)[0, 1]) for a in (test, test.swapaxes(1, 2)))
    if not transposed > max(MIN_CORRELATION, as_read + CORRELATION_MARGIN):
        return None
    return Finding(
        "images-column-major",
        "fault",
        evidence=(
            f"The mean images of {len(classes)} classes in the training and the test part have a correlation of "
            f"{as_read:.2f}, and of {transposed:.2f} where one part is transposed."
        ),
        cause=f"{cause} One part was stored one way and one the other.",
        fix=(
            "x = x.reshape(-1, rows, columns).transpose(0, 2, 1) for the part that nnbackprop data inspect "
            "draws so"
        ),
    )


def _class_means(table: RawDataset, labels: np.ndarray) -> dict[int, np.ndarray]:
    """The mean image of each class with enough of them."""
    values, counts = np.unique(labels, return_counts=True)
    enough = values[counts >= MIN_PER_CLASS].tolist()
    rows = {label: np.flatnonzero(labels == label)[:MAX_PER_CLASS] for label in enough}
    return {label: table.inputs[rows[label]].mean(axis=0).reshape(table.image_shape) for label in enough}
