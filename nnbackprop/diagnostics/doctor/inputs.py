"""Checks of input values: finite, of a fit size, telling, and not in both parts."""

from __future__ import annotations

import math

import numpy as np

from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import fit_scaling, moments
from nnbackprop.data.table import Table
from nnbackprop.diagnostics.check import NOT_APPLICABLE, Outcome
from nnbackprop.diagnostics.findings import Finding, Level

from .samples import Samples

# First weights are drawn so that inputs of root mean square 1 give sums of about 1. At 20 a sigmoid is flat
# for nearly every sample and a gradient 20 times too long. Measurements in everyday units, centred, stay below
# (pounds and inches of four people: 12), bytes of images lie at 60 to 120.
LARGE = 20.0
SMALL = 0.01  # bytes divided by 255 twice lie near 0.001, and nothing that was scaled once is so small
APART = 100.0  # the loss is then 10,000 times steeper along one feature than along another
BLANK = 0.01  # images of one single value: a share of them, for a few may be so by nature
SHARED_NOTE, SHARED_FAULT = 0.01, 0.1  # of the test part; from a tenth on, the test accuracy says little
ROOM = 100  # rows that can exist, for each that does: with less, equal rows come about by chance


def inputs_not_finite(samples: Samples) -> Outcome:
    """NaN or infinity among the inputs."""
    if samples.finite:
        return None
    table = next(t for t in samples.parts if not np.isfinite(t.inputs).all())
    finite = np.isfinite(table.inputs)
    row, column = np.argwhere(~finite)[0].tolist()
    rows = np.count_nonzero(~finite.all(axis=1))
    return not_finite(
        f"{table.source}: {np.count_nonzero(~finite)} of {finite.size} values are not finite, in {rows} of "
        f"{len(finite)} samples; the first is {table.inputs[row, column]} at sample {row}, feature {column}, both "
        "counted from 0."
    )


def not_finite(evidence: str) -> Finding:
    """The finding for values that are no finite numbers, whoever noticed."""
    return Finding(
        "inputs-not-finite",
        "fault",
        evidence,
        "Missing values, or a division by zero on the way to the file. One such value turns all weights into NaN "
        "in the step that meets it.",
        "Leave these samples out, x = x[np.isfinite(x).all(axis=1)], or fill in the feature's mean.",
        1.0,
    )


def inputs_unscaled(samples: Samples) -> Outcome:
    """Inputs, scaled as the run would scale them, of a size that first weights are not made for."""
    if not samples.finite or _all_constant(samples.train):
        return NOT_APPLICABLE
    train = samples.splits.train
    scaling = fit_scaling(samples.scale, train)
    mean, variance = moments(train.inputs)
    mean, std = mean * scaling.scale + scaling.shift, np.sqrt(variance) * np.abs(scaling.scale)
    size = math.sqrt(float(np.mean(mean * mean + std * std)))
    if size > LARGE or size < SMALL:
        return _of_odd_size(samples, train, size)
    return None if train.image_shape else _features_apart(samples, train, std)


def _of_odd_size(samples: Samples, train: Dataset, size: float) -> Finding:
    low, high = float(train.inputs.min()), float(train.inputs.max())
    cause = "values as a file has them, of no common scale" if size > LARGE else "values that were scaled twice"
    return Finding(
        "inputs-unscaled",
        "warning",
        f"{train.source} holds {low:g} .. {high:g}; with --scale {samples.scale} the network sees a root mean "
        f"square of {size:.3g}, where first weights are made for about 1.",
        f"Inputs reach the network with {cause}: units saturate or steps are far off in length.",
        "--scale standard, or x = (x - x.mean()) / x.std() with the training part's mean and std.",
        0.9,
    )


def _features_apart(samples: Samples, train: Dataset, std: np.ndarray) -> Outcome:
    """Features that measure different things in units far apart; 0/1 indicators have no unit."""
    measured = [j for j in np.flatnonzero(std) if len(np.unique(train.inputs[:1000, j])) > 2]
    if len(measured) < 2:
        return None
    wide, narrow = max(measured, key=std.__getitem__), min(measured, key=std.__getitem__)
    if std[wide] <= APART * std[narrow]:
        return None
    return Finding(
        "inputs-unscaled",
        "warning",
        f"With --scale {samples.scale} feature {wide} has a standard deviation of {std[wide]:.3g} and feature "
        f"{narrow} of {std[narrow]:.3g}, {std[wide] / std[narrow]:,.0f} times less.",
        "Features in different units under one common scale: the network hardly sees the narrow one, and no "
        "learning rate suits both.",
        "--scale per-feature, or x = (x - x.mean(axis=0)) / x.std(axis=0).",
        0.8,
    )


def inputs_constant(samples: Samples) -> Outcome:
    """Inputs that tell nothing: all samples alike, or many images of one single value."""
    if not samples.finite or len(samples.train.inputs) < 2:
        return NOT_APPLICABLE
    for table in samples.parts:
        if found := _alike(table) or _blank(table):
            return found
    x = samples.train.inputs
    idle = np.flatnonzero(x.min(axis=0) == x.max(axis=0))
    if samples.train.image_shape or not len(idle):  # the border of images is constant by nature
        return None
    return Finding(
        "inputs-constant",
        "note",
        f"{len(idle)} of {x.shape[1]} features have one value in all samples (the first is feature {idle[0]}).",
        "A feature that is the same everywhere tells nothing.",
        "Leave it out; with --scale per-feature it is 0 and harmless.",
        1.0,
    )


def _all_constant(table: Table) -> bool:
    return bool((table.inputs == table.inputs[:1]).all())


def _alike(table: Table) -> Finding | None:
    if not _all_constant(table):
        return None
    return Finding(
        "inputs-constant",
        "fault",
        f"{table.source}: all {len(table.inputs)} samples are the same, feature by feature.",
        "The inputs were lost on the way to the file: one sample written over and over, or zeros never filled.",
        "Look at them with `nnbackprop data inspect PATH`, and write the file anew.",
        1.0,
    )


def _blank(table: Table) -> Finding | None:
    if not table.image_shape:
        return None
    x = table.inputs
    blank = np.flatnonzero(x.min(axis=1) == x.max(axis=1))
    if len(blank) <= BLANK * len(x):
        return None
    return Finding(
        "inputs-constant",
        "warning",
        f"{table.source}: {len(blank)} of {len(x)} images have one single value (the first is sample {blank[0]}).",
        "Images that could not be read, and were left blank on the way to the file.",
        "Leave them out, x = x[x.min(axis=1) < x.max(axis=1)], or read them again.",
        0.8,
    )


def train_test_duplicates(samples: Samples) -> Outcome:
    """Test samples that stand in the training part as well, number for number."""
    train, test = samples.splits.train, samples.splits.test
    if test is None:
        return NOT_APPLICABLE
    known = {row.tobytes() for row in train.inputs}
    shared = np.array([row.tobytes() in known for row in test.inputs])
    count, share = int(shared.sum()), float(shared.mean())
    if not count:
        return None
    by_chance = share >= SHARED_NOTE and _coarse(train.inputs)
    level: Level = "note" if share < SHARED_NOTE or by_chance else "warning" if share < SHARED_FAULT else "fault"
    cause = (
        "The features take so few values that equal samples come about by chance."
        if by_chance
        else "Samples that were copied before the set was cut in two, or one part made from the other: the test "
        "measures memory there, not understanding."
    )
    return Finding(
        "train-test-duplicates",
        level,
        f"{count} of {len(test)} test samples ({share:.1%}) are in the training part too, every value equal (the "
        f"first is test sample {int(np.argmax(shared))}).",
        cause,
        "Take equal samples out before cutting, keep = np.unique(x, axis=0, return_index=True)[1].",
        0.5 if by_chance else 0.95,
    )


def _coarse(x: np.ndarray) -> bool:
    """Whether the features' values allow so few different rows that some must be equal."""
    rows = 0.0
    for column in x.T:
        rows += math.log(len(np.unique(column)))
        if rows > math.log(ROOM * len(x)):
            return False
    return True
