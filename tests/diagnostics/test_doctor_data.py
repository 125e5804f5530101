"""Each fault of data, planted in a file, is found under its id and no other; healthy sets raise nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data import load_raw, mapped
from nnbackprop.data.mapped import MappedArray
from nnbackprop.diagnostics.doctor import DATA_CHECKS
from nnbackprop.diagnostics.doctor.labels import classes_imbalanced
from nnbackprop.diagnostics.doctor.probes import DataProbe
from nnbackprop.diagnostics.doctor.run import diagnose
from nnbackprop.diagnostics.findings import Finding
from nnbackprop.errors import DataError
from tests.support.clouds import clouds

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")

X, T = clouds()
HOT = np.eye(4, dtype=np.uint8)[T]
RNG = np.random.default_rng(0)


def npz(x: Any = X, t: Any = T) -> str:
    np.savez("set.npz", X=x, y=t)
    return "set.npz"


def parts(train: Any, test: Any, x: np.ndarray = X, t: np.ndarray = T) -> str:
    """DataProbe of these indices or slices as the training and the test part."""
    np.savez("set.npz", x_train=x[train], y_train=t[train], x_test=x[test], y_test=t[test])
    return "set.npz"


def csv(x: np.ndarray = X, t: np.ndarray = T) -> str:
    rows = (",".join([str(label), *(f"{value:g}" for value in row)]) for label, row in zip(t, x, strict=True))
    header = ",".join(["label", *(f"f{j}" for j in range(x.shape[1]))])
    Path("set.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return "set.csv"


def digits(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """The first test digits of MNIST, (n, 28, 28)."""
    test = load_raw("mnist").test
    assert test is not None
    return test.inputs[:n].reshape(n, 28, 28), test.labels[:n]


def idx(change: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> str:
    x, t = digits()
    for name, a in (("train-images-idx3-ubyte.gz", change(x)), ("train-labels-idx1-ubyte.gz", t)):
        header = bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">u4").tobytes()
        Path(name).write_bytes(gzip.compress(header + a.astype(np.uint8).tobytes(), 1))
    return "."


def transposed(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 1)


def with_value(value: float, at: tuple[int, ...], a: np.ndarray = X) -> np.ndarray:
    a = a.astype(np.float64)
    a[at] = value
    return a


def digits_in_parts(change: Callable[[np.ndarray], np.ndarray]) -> str:
    x, t = digits(1200)
    x = np.concatenate([x[:600], change(x[600:])])
    return parts(slice(600), slice(600, None), x, t)


def with_an_empty_cell() -> str:
    lines = Path(csv()).read_text(encoding="utf-8").splitlines()
    cells = lines[5].split(",")
    lines[5] = ",".join([*cells[:3], "", *cells[4:]])
    Path("set.csv").write_text("\n".join(lines), encoding="utf-8")
    return "set.csv"


def with_few_of_class_0(few: int) -> str:
    keep = np.sort(np.concatenate([np.flatnonzero(T > 0), np.flatnonzero(T == 0)[:few]]))
    return csv(X[keep], T[keep])


def in_order(order: np.ndarray) -> str:
    return csv(X[order], T[order])


SORTED = np.argsort(T, kind="stable")
IN_BLOCKS = np.concatenate([part[np.argsort(T[part], kind="stable")] for part in np.split(np.arange(400), 10)])
RARE_INDICATOR = (np.arange(400) % 200 == 0) * 0.001
NOT_CLASS_0 = np.flatnonzero(T[:300] > 0)


@dataclass(frozen=True)
class Case:
    """A file, the settings it is read with, and the findings in it: "ID LEVEL, ID LEVEL"."""

    write: Callable[[], str]
    findings: str
    evidence: str  # in that of the first
    settings: dict[str, Any]


def case(write: Callable[[], str], findings: str = "", evidence: str = "", **settings: Any) -> Case:
    return Case(write, findings, evidence, settings)


CASES = {
    "healthy-npz": case(npz),
    "healthy-csv": case(csv),
    "nan-in-npz": case(
        lambda: npz(with_value(np.nan, (7, 2))),
        "inputs-not-finite fault",
        "1 of 2400 values are NaN or infinite, in 1 of 400 samples; the first is nan at sample 7, feature 2",
    ),
    "nan-in-csv": case(lambda: csv(with_value(np.nan, (7, 2))), "inputs-not-finite fault", "line 9, column 'f2'"),
    "infinity": case(lambda: npz(with_value(np.inf, (7, 2))), "inputs-not-finite fault", "is inf at sample"),
    "an-empty-cell": case(with_an_empty_cell, "inputs-not-finite fault", "line 6, column 'f2'"),
    "bytes-unscaled": case(idx, "inputs-unscaled warning", "0 .. 255; with --scale none", scale="none"),
    "bytes-standardised": case(idx, scale="standard"),
    "bytes-scaled-once": case(idx, scale="unit"),
    "bytes-scaled-twice": case(
        lambda: npz(digits()[0] / 255.0**2, digits()[1]), "inputs-unscaled warning", scale="none"
    ),
    "a-feature-in-another-unit": case(
        lambda: csv(X * [1, 1, 5000, 1, 1, 1]),
        "inputs-unscaled warning",
        "feature 2 has a standard deviation",
        scale="standard",
    ),
    "a-unit-scaled-per-feature": case(lambda: csv(X * [1, 1, 5000, 1, 1, 1]), scale="per-feature"),
    "a-rare-indicator": case(lambda: npz(np.column_stack([X, RARE_INDICATOR]))),
    "equal-samples": case(
        lambda: npz(np.broadcast_to(X[0], X.shape)),
        "inputs-constant fault",
        "all 400 samples are the same",
        test_fraction=0.0,
    ),
    "a-label-of-0.5": case(
        lambda: npz(t=with_value(0.5, (11,), T)), "labels-range fault", "label 0.5 of sample 11"
    ),
    "a-label-of-nan": case(lambda: npz(t=with_value(np.nan, (11,), T)), "labels-range fault", "label nan of"),
    "labels-in-words": case(lambda: csv(t=np.array(["cat", "dog", "cow", "hen"])[T])),
    "a-row-number-as-label": case(
        lambda: npz(t=RNG.permutation(400) * 7),
        "labels-range fault",
        "400 different labels for 400 training samples",
        test_fraction=0.0,
    ),
    "a-single-class": case(lambda: npz(t=T * 0), "labels-range fault", "All samples have label 0"),
    "a-class-in-the-test-part-alone": case(
        lambda: parts(NOT_CLASS_0, slice(300, None)),
        "labels-range warning",
        "Labels 0 occur in the test part and in no training sample",
    ),
    "a-label-too-few": case(lambda: npz(t=T[:-1]), "labels-range fault", "400 images but labels of shape (399,)"),
    "rows-that-are-not-one-hot": case(lambda: npz(t=np.stack([T, T], axis=1)), "labels-range fault"),
    "training-labels-from-1": case(
        lambda: parts(slice(300), slice(300, None), t=T + (np.arange(400) < 300)),
        "labels-off-by-one fault",
        "training labels are 1..4 and the test labels 0..3",
    ),
    "test-labels-from-1": case(
        lambda: parts(slice(300), slice(300, None), t=T + (np.arange(400) >= 300)),
        "labels-off-by-one fault",
        "training labels are 0..3 and the test labels 1..4",
    ),
    "labels-from-1": case(lambda: csv(t=T + 1), "labels-off-by-one note", "Labels run from 1 to 4"),
    "one-hot-labels": case(lambda: npz(t=HOT), "labels-encoded-twice fault"),
    "one-hot-labels-in-a-row": case(lambda: npz(t=HOT.reshape(-1)), "labels-encoded-twice fault"),
    "one-hot-columns-first": case(
        lambda: csv(np.column_stack([HOT[:, 1:], X]), HOT[:, 0]),
        "labels-encoded-twice fault, classes-imbalanced note",
        "with the first 3 features",
    ),
    "one-hot-columns-last": case(
        lambda: csv(np.column_stack([X, HOT[:, :0:-1]]), HOT[:, 0]),
        "labels-encoded-twice fault, classes-imbalanced note",
        "with the last 3 features",
    ),
    "digits-by-columns": case(lambda: idx(transposed)),
    "one-part-transposed": case(
        lambda: digits_in_parts(transposed), "images-column-major fault", "mean images of 10 classes"
    ),
    "one-part-upright": case(lambda: digits_in_parts(lambda x: x)),
    "sorted-unshuffled": case(
        lambda: in_order(SORTED),
        "classes-sorted fault",
        "the class changes 3 times in 400; in a random order it would change 299 times",
        shuffle=False,
    ),
    "sorted-shuffled": case(lambda: in_order(SORTED), "classes-sorted note"),
    "sorted-full-batch": case(lambda: in_order(SORTED), "classes-sorted note", shuffle=False, batch_size="full"),
    "in-blocks": case(lambda: in_order(IN_BLOCKS), "classes-sorted warning", shuffle=False),
    "a-class-44-times-rarer": case(lambda: with_few_of_class_0(9), "classes-imbalanced warning", "label 0 9,"),
    "a-class-3-times-rarer": case(lambda: with_few_of_class_0(30), "classes-imbalanced note", "label 0 30,"),
    "60-test-samples-trained-on": case(
        lambda: parts(slice(300), np.r_[0:60, 300:340]),
        "train-test-duplicates fault",
        "60 of 100 test samples (60.0%)",
    ),
    "5-test-samples-trained-on": case(
        lambda: parts(slice(300), np.r_[0:5, 300:395]),
        "train-test-duplicates warning",
        "5 of 100 test samples (5.0%)",
    ),
    "no-test-sample-trained-on": case(lambda: parts(slice(300), slice(300, None))),
    "every-sample-twice": case(
        lambda: npz(np.concatenate([X, X]), np.concatenate([T, T])), "train-test-duplicates fault"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_planted_fault_is_found_under_its_id_alone(name: str) -> None:
    planted = CASES[name]
    diagnosis = diagnose(None, {"data": planted.write(), **planted.settings})
    assert ", ".join(f"{finding.id} {finding.level}" for finding in diagnosis.findings) == planted.findings
    assert not planted.findings or planted.evidence in diagnosis.findings[0].evidence
    reported = [*(f.id for f in diagnosis.findings), *diagnosis.passed, *diagnosis.not_applicable]
    assert sorted(reported) == sorted(DATA_CHECKS)


@pytest.mark.parametrize(
    ("x", "t"),
    [
        (with_value(np.nan, (7, 2)), T),
        (np.column_stack([HOT[:, 1:], X]), HOT[:, 0]),
        (np.column_stack([X, HOT[:, :0:-1]]), HOT[:, 0]),
        (np.concatenate([X, X]), np.concatenate([T, T])),
        (X * [1, 1, 5000, 1, 1, 1], T),
    ],
    ids=["nan", "one-hot-first", "one-hot-last", "twice", "units"],
)
def test_inputs_that_stay_in_their_file_have_the_same_diagnosis(
    x: np.ndarray, t: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("X.npy", x)
    np.save("y.npy", t)
    settings = {"data": "X.npy", "scale": "standard"}
    in_memory = diagnose(None, settings)
    monkeypatch.setenv("NNBACKPROP_MAX_BYTES", "100000")  # an eighth of it is less than the inputs take
    monkeypatch.setattr(mapped, "BLOCK_BYTES", 1)
    monkeypatch.setattr(MappedArray, "__array__", None)  # reads the file whole
    assert isinstance(load_raw("X.npy").train.inputs, MappedArray)
    assert diagnose(None, settings) == in_memory
    assert in_memory.findings


def test_checks_that_do_not_apply_are_named() -> None:
    images = ("images-column-major", "images-channels-first")
    assert diagnose(None, {"data": csv()}).not_applicable == images
    not_applicable = diagnose(None, {"data": with_an_empty_cell()}).not_applicable
    assert set(not_applicable) == set(DATA_CHECKS) - {"inputs-not-finite"}


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("mnist", set()),
        ("mnist-20x20", {"labels-off-by-one", "images-column-major", "classes-sorted"}),  # the .mat reader's work
        ("weight-height", set()),
    ],
)
def test_bundled_sets_are_healthy(name: str, notes: set[str]) -> None:
    diagnosis = diagnose(None, {"data": name})
    assert diagnosis.healthy
    assert {finding.id for finding in diagnosis.findings} == notes


def test_a_random_order_is_not_sorted() -> None:
    x, t = clouds(60)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(60)
        diagnosis = diagnose(None, {"data": npz(x[order], t[order]), "shuffle": False})
        assert diagnosis.healthy


def test_a_file_that_is_no_data_set_is_an_error() -> None:
    Path("set.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match="cannot be read"):
        diagnose(None, {"data": "set.npz"})


def test_a_rare_class_is_called_by_its_name() -> None:
    """It is label 1 of the two: its index says nothing to a reader."""
    kinds = np.array(["common"] * 395 + ["rare"] * 5)
    found = classes_imbalanced(DataProbe(load_raw({"a": np.arange(400.0), "kind": kinds})))
    assert isinstance(found, Finding)
    assert found.evidence.startswith("Label common has 395 samples and label rare 5, 79 times fewer.")
    assert "--class-weight balanced, or repeat samples of rare" in found.fix
