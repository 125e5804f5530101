"""Checks of labels: whole numbers in range, encoded once, mixed, and of every class enough."""

from __future__ import annotations

import numpy as np

from nnbackprop.data.readers.mat import TEN_IS_ZERO
from nnbackprop.data.table import Table
from nnbackprop.diagnostics.check import NOT_APPLICABLE, Outcome
from nnbackprop.diagnostics.findings import Finding, Level

from .samples import Samples

FEW = 20  # samples: with fewer, order and balance are a matter of chance
STRAY = 0.1  # of the median class: a label apart from all others that is rarer than this is a slip
SCARCE, RARE = 3, 10  # largest class over smallest: MNIST's is 1.2; from 10 on the rare class is hardly learnt


def labels_range(samples: Samples) -> Outcome:
    """Labels that are no class numbers, or not as many classes as there are outputs."""
    if samples.numbers is None:
        return next(found for table in samples.parts if (found := _no_number(table)))
    values = np.unique(np.concatenate(samples.numbers))
    if len(values) < 2:
        return labels_out_of_range(f"All samples have label {values[0]}.", "There is nothing to tell apart.")
    if not samples.mapped:
        return _out_of_outputs(values, samples.outputs)
    if samples.outputs is not None and len(values) not in (samples.outputs, 2 * (samples.outputs == 1)):
        return labels_out_of_range(
            f"There are {len(values)} {_some(values)}, and the network has {samples.outputs} outputs.",
            "A class without an output can never be said.",
        )
    return _too_many(samples, values) or _unseen(samples) or _stray(samples)


def labels_out_of_range(evidence: str, cause: str, level: Level = "fault", confidence: float = 1.0) -> Finding:
    """The finding for labels that cannot be class numbers of these samples, whoever noticed."""
    fix = "Number the classes 0, 1, 2 ..., one label a sample: labels = np.unique(labels, return_inverse=True)[1]."
    return Finding("labels-range", level, evidence, cause, fix, confidence)


def _odd(table: Table) -> int | None:
    """The first sample whose label is no whole number."""
    for row, label in enumerate(table.labels.tolist()):
        try:
            if not float(label).is_integer():
                return row
        except ValueError:
            return row
    return None


def _no_number(table: Table) -> Finding | None:
    if (row := _odd(table)) is None:
        return None
    return labels_out_of_range(
        f"{table.source}: label {table.labels[row].item()!r} of sample {row}, counted from 0, is no whole number.",
        "A label that is missing or was averaged, or another column taken for the labels.",
    )


def _out_of_outputs(values: np.ndarray, outputs: int | None) -> Outcome:
    """Labels that index the outputs as they are; one off by one has an id of its own."""
    if outputs is None:
        return None
    low, high, most = int(values[0]), int(values[-1]), max(2, outputs)
    if (low >= 0 and high < most) or (low, high) == (1, most):
        return None
    return labels_out_of_range(
        f"Labels lie in {low}..{high} and {outputs} outputs need 0..{most - 1}.",
        "Such a label names no output: it picks another sample's place, or none.",
    )


def _too_many(samples: Samples, values: np.ndarray) -> Finding | None:
    n = len(samples.train.labels)
    if n < FEW or len(values) <= n / 2:
        return None
    return labels_out_of_range(
        f"{len(values)} different labels for {n} training samples ({_some(values)}).",
        "More labels than samples could teach: a measured quantity or a row number taken for the class.",
        confidence=0.9,
    )


def _unseen(samples: Samples) -> Finding | None:
    if len(samples.parts) < 2 or samples.numbers is None or _apart(samples):
        return None
    new = np.setdiff1d(samples.numbers[1], samples.numbers[0])
    if not len(new):
        return None
    return labels_out_of_range(
        f"{_some(new)} stands in the test part and in no training sample.",
        "What is never shown cannot be learnt: the parts were numbered differently, or cut class by class.",
        "warning",
        0.9,
    )


def _stray(samples: Samples) -> Finding | None:
    """A rare value far from a row of neighbours, such as 255 among 0..9."""
    if samples.numbers is None:
        return None
    values, counts = np.unique(samples.numbers[0], return_counts=True)
    gaps = np.diff(values)
    alone = np.concatenate(([True], gaps > 1)) & np.concatenate((gaps > 1, [True]))
    stray = alone & (counts < STRAY * np.median(counts))
    rest = values[~stray]
    if not stray.any() or len(rest) < 3 or np.any(np.diff(rest) != 1):
        return None
    return labels_out_of_range(
        f"Labels lie in {rest[0]}..{rest[-1]}, but for {_some(values[stray])} on {counts[stray].sum()} samples.",
        "A slip, or a word for 'unknown' that became a class of its own.",
        "warning",
        0.8,
    )


def _some(values: np.ndarray) -> str:
    shown = ", ".join(map(str, values[:5].tolist()))
    return f"labels {shown}{' ...' if len(values) > 5 else ''}"


def labels_off_by_one(samples: Samples) -> Outcome:
    """Labels counted from 1 where the other part, or the outputs, count from 0."""
    if samples.numbers is None:
        return NOT_APPLICABLE
    values = np.unique(np.concatenate(samples.numbers))
    if not samples.mapped:
        shifted = len(values) > 1 and (values[0], values[-1]) == (1, samples.outputs)
        return _index_shifted(int(values[-1])) if shifted else None
    if _apart(samples):
        return _parts_shifted(*map(np.unique, samples.numbers))
    return _handled(samples, len(values)) if values[0] == 1 < len(values) == values[-1] else None


def _apart(samples: Samples) -> bool:
    """Whether one part has each label value of the other plus 1."""
    values = [np.unique(column) for column in samples.numbers or ()]
    if len(values) < 2 or not 1 < len(values[0]) == len(values[1]):
        return False
    return np.unique(values[0] - values[1]).tolist() in ([1], [-1])


def _index_shifted(k: int) -> Finding:
    return _off_by_one(
        "fault",
        f"Labels lie in 1..{k} and {k} outputs are numbered 0..{k - 1}.",
        "Labels counted from 1, as MATLAB and people do, index outputs counted from 0: each sample teaches its "
        f"neighbour's class, and label {k} none.",
        0.98,
    )


def _parts_shifted(train: np.ndarray, test: np.ndarray) -> Finding:
    return _off_by_one(
        "fault",
        f"The training labels are {train[0]}..{train[-1]} and the test labels {test[0]}..{test[-1]}.",
        "One part was numbered from 0 and the other from 1: every test label names the neighbouring class.",
        0.95,
    )


def _handled(samples: Samples, k: int) -> Finding:
    known = (
        f"{TEN_IS_ZERO}."
        if TEN_IS_ZERO in samples.notes
        else f"Labels run from 1 to {k}; they are 0..{k - 1} here."
    )
    return _off_by_one("note", known[0].upper() + known[1:], "They were counted from 1. The reader did it.", 1.0)


def _off_by_one(level: Level, evidence: str, cause: str, confidence: float) -> Finding:
    fix = (
        "Nothing here; with code of your own, labels - labels.min()." if level == "note" else "labels = labels - 1"
    )
    return Finding("labels-off-by-one", level, evidence, cause, fix, confidence)


def labels_encoded_twice(samples: Samples) -> Outcome:
    """A label that is one column of a one-hot row, whose other columns were read as features."""
    if samples.numbers is None:
        return NOT_APPLICABLE
    hot, x = samples.numbers[0], samples.train.inputs
    if set(np.unique(hot).tolist()) != {0, 1} or not samples.finite:
        return None
    for columns, where in ((x, "first"), (x[:, ::-1], "last")):
        total = hot.astype(np.float64)
        for m in range(columns.shape[1]):
            total = total + columns[:, m]
            if not np.isin(columns[:, m], (0, 1)).all() or total.max() > 1:
                break
            if m and total.min() == 1:
                return labels_encoded(
                    f"The label is 0 or 1, and with the {where} {m + 1} features it makes rows of {m + 2} numbers "
                    "with a single 1 each."
                )
    return None


def labels_encoded(evidence: str) -> Finding:
    """The finding for labels that are one-hot already, whoever noticed."""
    return Finding(
        "labels-encoded-twice",
        "fault",
        evidence,
        "The labels are one-hot already. They are made so from class numbers on the way to the loss, and a second "
        "time makes of ten classes two: 'is 0' and 'is 1'.",
        "Keep one class number a sample: labels = one_hot.argmax(axis=1).",
        0.95,
    )


def classes_sorted(samples: Samples) -> Outcome:
    """Samples class by class, which harms where nothing shuffles them."""
    codes = np.unique(samples.train.labels.astype(str), return_inverse=True)[1]
    n, shares = len(codes), np.bincount(codes) / len(codes)
    if n < FEW or len(shares) < 2:
        return NOT_APPLICABLE
    changes = int(np.count_nonzero(np.diff(codes)))
    mixed = (n - 1) * (1 - float(np.sum(shares * shares)))  # what a random order has on average
    whole = changes == len(shares) - 1
    # a random order has mixed +- sqrt(mixed) changes: half of it is 3 deviations away from 40 on
    if not whole and (changes >= mixed / 2 or mixed < 40):
        return None
    harmless = samples.shuffle or samples.full
    return Finding(
        "classes-sorted",
        "note" if harmless else "fault" if whole else "warning",
        f"Neighbouring samples differ in class {changes} times in {n}, and well mixed {mixed:.0f} times.",
        f"Samples come sorted by class{'' if whole else ', in blocks'}. "
        + (
            "Training shuffles them."
            if samples.shuffle
            else "Every step sees them all."
            if harmless
            else _UNLEARNT
        ),
        "Nothing." if harmless else "Leave out --no-shuffle, or x, t = x[order], t[order] with a random order.",
        1.0 if whole else 0.9,
    )


_UNLEARNT = "Each batch teaches one class and unlearns the others."


def classes_imbalanced(samples: Samples) -> Outcome:
    """A class with far fewer samples than another."""
    names, counts = samples.counts
    if len(samples.train.labels) < FEW or len(names) < 2 or samples.numbers is None:
        return NOT_APPLICABLE
    least, most = int(counts.argmin()), int(counts.argmax())
    ratio = counts[most] / counts[least]
    if ratio < SCARCE or len(names) > len(samples.train.labels) / 2:
        return None
    return Finding(
        "classes-imbalanced",
        "warning" if ratio >= RARE else "note",
        f"Label {names[most]} has {counts[most]} samples and label {names[least]} {counts[least]}, "
        f"{ratio:.3g} times fewer. Always saying {names[most]} would be right in "
        f"{counts[most] / counts.sum():.1%} of cases.",
        "The loss is a mean over samples, so the rare class hardly counts, and accuracy hides that.",
        f"Judge by the confusion matrix; repeat samples of {names[least]}, or take fewer of {names[most]}.",
        0.9,
    )
