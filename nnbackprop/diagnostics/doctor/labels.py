"""Checks of labels: whole numbers in range, encoded once, mixed, and enough of every class."""

from __future__ import annotations

import numpy as np

from nnbackprop.data.mapped import Samples, blocks
from nnbackprop.data.raw import are_class_labels
from nnbackprop.data.readers.mat import TEN_IS_ZERO
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding, Level

from .probes import DataProbe

MIN_SAMPLES = 20  # with fewer, order and balance are a matter of chance
NOTE_RATIO, WARNING_RATIO = (
    3,
    10,
)  # largest class over smallest: MNIST's is 1.2; from 10 on the rare class is hardly learnt


def labels_range(data: DataProbe) -> CheckResult:
    """Labels that are not class numbers, or not as many classes as there are outputs."""
    if data.labels is None:
        table = next(table for table in data.tables if not are_class_labels(table.labels))
        row = next(i for i in range(len(table.labels)) if not are_class_labels(table.labels[i : i + 1]))
        return out_of_range(
            f"{table.source}: label {table.labels[row].item()!r} of sample {row}, counted from 0, is not a whole "
            "number.",
            "Likely a missing or averaged label, or another column taken for the labels.",
        )
    values = np.unique(np.concatenate(data.labels))
    if len(values) < 2:
        return out_of_range(f"All samples have label {values[0]}.", "There are no two classes to tell apart.")
    if data.n_outputs is not None and len(values) not in (data.n_outputs, 2 * (data.n_outputs == 1)):
        return out_of_range(
            f"There are {len(values)} {_first_labels(values)}, and the network has {data.n_outputs} outputs.",
            "A class without an output cannot be predicted.",
        )
    if _not_classes(data):
        return out_of_range(
            f"{len(values)} different labels for {len(data.train.labels)} training samples "
            f"({_first_labels(values)}).",
            "Likely a measured quantity, or a row number, taken for the class.",
        )
    new = np.setdiff1d(data.labels[-1], data.labels[0])  # of the test part, where there is one
    if not len(new) or _shifted(data):
        return None
    return out_of_range(
        f"{_first_labels(new).capitalize()} occur in the test part and in no training sample.",
        "Likely the parts were numbered differently, or split class by class.",
        "warning",
    )


def out_of_range(
    evidence: str,
    cause: str = "Labels and samples do not belong together, one to one.",
    level: Level = "fault",
) -> Finding:
    """Labels that cannot be class numbers of these samples."""
    fix = "Number the classes 0, 1, 2 ...: labels = np.unique(labels, return_inverse=True)[1]."
    return Finding("labels-range", level, evidence=evidence, cause=cause, fix=fix)


def _not_classes(data: DataProbe) -> bool:
    n = len(data.train.labels)
    return n >= MIN_SAMPLES and len(np.unique(data.train.labels)) > n / 2


def _first_labels(values: np.ndarray) -> str:
    shown = ", ".join(map(str, values[:5].tolist()))
    return f"labels {shown}{' ...' if len(values) > 5 else ''}"


def labels_off_by_one(data: DataProbe) -> CheckResult:
    """Labels counted from 1 where the other part counts from 0."""
    if data.labels is None:
        return NOT_APPLICABLE
    if _shifted(data):
        train, test = map(np.unique, data.labels)
        return Finding(
            "labels-off-by-one",
            "fault",
            evidence=f"The training labels are {train[0]}..{train[-1]} and the test labels {test[0]}..{test[-1]}.",
            cause=(
                "One part is numbered from 0 and the other from 1: every test label means the neighbouring class."
            ),
            fix="labels = labels - 1",
        )
    values = np.unique(np.concatenate(data.labels))
    k = len(values)
    if not values[0] == 1 < k == values[-1]:
        return None
    known = (
        TEN_IS_ZERO if TEN_IS_ZERO in data.reader_notes else f"Labels run from 1 to {k}; they are 0..{k - 1} here"
    )
    return Finding(
        "labels-off-by-one",
        "note",
        evidence=f"{known[0].upper()}{known[1:]}.",
        cause="They were counted from 1. The reader renumbered them.",
        fix="Nothing here; with code of your own, labels - labels.min().",
    )


def _shifted(data: DataProbe) -> bool:
    """Whether one part has each label value of the other plus 1."""
    values = [np.unique(column) for column in data.labels or ()]
    if len(values) < 2 or not 1 < len(values[0]) == len(values[1]):
        return False
    return np.unique(values[0] - values[1]).tolist() in ([1], [-1])


def labels_encoded_twice(data: DataProbe) -> CheckResult:
    """A label that is one column of a one-hot row, whose other columns are among the features."""
    if data.labels is None:
        return NOT_APPLICABLE
    indicator, x = data.labels[0], data.train.inputs
    if set(np.unique(indicator).tolist()) != {0, 1} or not data.finite:
        return None
    for step, where in ((1, "first"), (-1, "last")):
        if m := _one_hot_features(indicator, x, step):
            return encoded_twice(
                f"The label is 0 or 1, and with the {where} {m} features it makes rows of {m + 1} numbers with a "
                "single 1 each."
            )
    return None


def _one_hot_features(indicator: np.ndarray, x: Samples, step: int) -> int:
    """How many features, from the first (step 1) or the last (-1), make one-hot rows with `indicator`; or 0."""
    sums, begin = (
        np.full(x.shape[1], 2.0),
        0,
    )  # the least of each number of features, up to the first that cannot be
    for block in blocks(x):
        columns = block[:, ::step][:, : len(sums)]
        total = indicator[begin : begin + len(block), None] + np.cumsum(columns, axis=1, dtype=np.float64)
        wrong = (~np.isin(columns, (0, 1)) | (total > 1)).any(axis=0)
        end = int(np.argmax(wrong)) if wrong.any() else len(sums)
        sums, begin = np.minimum(sums[:end], total[:, :end].min(axis=0)), begin + len(block)
        if end < 2:
            return 0
    complete = np.flatnonzero(sums[1:] == 1)
    return int(complete[0]) + 2 if len(complete) else 0


def encoded_twice(evidence: str) -> Finding:
    """Labels that are one-hot already."""
    return Finding(
        "labels-encoded-twice",
        "fault",
        evidence=evidence,
        cause="The labels are one-hot already. Encoding them again turns ten classes into two: 'is 0' and 'is 1'.",
        fix="Keep one class number a sample: labels = one_hot.argmax(axis=1).",
    )


def classes_sorted(data: DataProbe) -> CheckResult:
    """Samples in order of class, which harms where nothing shuffles them."""
    codes = np.unique(data.train.labels, return_inverse=True)[1]
    n, shares = len(codes), np.bincount(codes) / len(codes)
    if n < MIN_SAMPLES or len(shares) < 2 or _not_classes(data):
        return NOT_APPLICABLE
    changes = int(np.count_nonzero(np.diff(codes)))
    expected = (n - 1) * (1 - float(np.sum(shares * shares)))  # in a random order
    sorted_throughout = changes == len(shares) - 1
    # a random order has expected +- sqrt(expected) changes: half of it is 3 deviations away from 40 on
    if not sorted_throughout and (changes >= expected / 2 or expected < 40):
        return None
    effect = "Each batch has one class, and training on it unlearns the others."
    if harmless := data.shuffle or data.full_batch:
        effect = "Training shuffles them." if data.shuffle else "Every step uses them all."
    return Finding(
        "classes-sorted",
        "note" if harmless else "fault" if sorted_throughout else "warning",
        evidence=(
            f"From one sample to the next the class changes {changes} times in {n}; in a random order it would "
            f"change {expected:.0f} times."
        ),
        cause=f"The samples are sorted by class{'' if sorted_throughout else ', in blocks'}. {effect}",
        fix="Nothing."
        if harmless
        else "Leave out --no-shuffle, or x, t = x[order], t[order] with a random order.",
    )


def classes_imbalanced(data: DataProbe) -> CheckResult:
    """A class with far fewer samples than another."""
    names, counts = np.unique(data.train.labels, return_counts=True)
    if len(data.train.labels) < MIN_SAMPLES or len(names) < 2 or data.labels is None or _not_classes(data):
        return NOT_APPLICABLE
    least, most = int(counts.argmin()), int(counts.argmax())
    ratio = counts[most] / counts[least]
    if ratio < NOTE_RATIO:
        return None
    rare, frequent = (data.train.label_names.get(name, name) for name in names[[least, most]].tolist())
    return Finding(
        "classes-imbalanced",
        "warning" if ratio >= WARNING_RATIO else "note",
        evidence=f"Label {frequent} has {counts[most]} samples and label {rare} {counts[least]}, "
        f"{ratio:.3g} times fewer. Always predicting {frequent} would be right in "
        f"{counts[most] / counts.sum():.1%} of cases.",
        cause="The loss is a mean over samples, so the rare class hardly counts, and accuracy hides that.",
        fix="Read the confusion matrix; train with --class-weight balanced, or "
        f"repeat samples of {rare}, or take fewer of {frequent}.",
    )
