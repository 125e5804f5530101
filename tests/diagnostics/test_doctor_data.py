"""Each fault of data, planted in a file, is found under its id and no other; sets that are well raise nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data import read
from nnbackprop.data.table import Table
from nnbackprop.diagnostics.doctor import DATA_CHECKS
from nnbackprop.diagnostics.doctor.image_layout import correlations
from nnbackprop.diagnostics.doctor.run import diagnose
from nnbackprop.diagnostics.findings import Diagnosis, Finding
from nnbackprop.errors import DataError

Arrays = tuple[np.ndarray, np.ndarray]


def clouds(n: int = 400, features: int = 6, classes: int = 4) -> Arrays:
    """Measurements of four kinds, mixed."""
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.arange(n) % classes)
    return rng.standard_normal((classes, features))[labels] + rng.standard_normal((n, features)), labels


def digits(n: int = 600) -> Arrays:
    """The first test digits of MNIST, (n, 28, 28)."""
    test = read("mnist").test
    assert test is not None
    return test.inputs[:n].reshape(n, 28, 28), test.labels[:n]


def as_npz(path: Path, x: np.ndarray, t: np.ndarray) -> str:
    np.savez(path / "set.npz", X=x, y=t)
    return str(path / "set.npz")


def as_pair(path: Path, train: Arrays, test: Arrays) -> str:
    np.savez(path / "set.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    return str(path / "set.npz")


def as_csv(path: Path, x: np.ndarray, t: np.ndarray) -> str:
    rows = (",".join([str(label), *(f"{value:g}" for value in row)]) for label, row in zip(t, x, strict=True))
    (path / "set.csv").write_text(
        "\n".join(["label," + ",".join(f"f{j}" for j in range(x.shape[1])), *rows]) + "\n"
    )
    return str(path / "set.csv")


def as_idx(path: Path, x: np.ndarray, t: np.ndarray) -> str:
    for name, a in (("train-images-idx3-ubyte.gz", x), ("train-labels-idx1-ubyte.gz", t)):
        header = bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">u4").tobytes()
        (path / name).write_bytes(gzip.compress(header + a.astype(np.uint8).tobytes(), 1))
    return str(path)


def bad(diagnosis: Diagnosis) -> dict[str, str]:
    """The ids of warnings and faults, and their levels."""
    return {finding.id: finding.level for finding in diagnosis.findings if finding.level != "note"}


def found(data: str, **settings: Any) -> dict[str, str]:
    return bad(diagnose(None, {"data": data, **settings}))


def the(diagnosis: Diagnosis, id: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.id == id)


@pytest.mark.parametrize("name", ["mnist", "mnist-20x20", "weight-height"])
def test_sets_that_come_along_are_well(name: str) -> None:
    diagnosis = diagnose(None, {"data": name})
    assert diagnosis.healthy
    assert sorted([*diagnosis.passed, *diagnosis.not_applicable, *(f.id for f in diagnosis.findings)]) == sorted(
        DATA_CHECKS
    )


def test_what_the_reader_of_mat_files_handled_is_a_note() -> None:
    diagnosis = diagnose(None, {"data": "mnist-20x20"})
    assert {f.id for f in diagnosis.findings} == {"labels-off-by-one", "images-column-major", "classes-sorted"}
    assert {f.level for f in diagnosis.findings} == {"note"}


@pytest.mark.parametrize("write", [as_npz, as_csv])
def test_a_file_that_is_well(write: Callable[..., str], tmp_path: Path) -> None:
    diagnosis = diagnose(None, {"data": write(tmp_path, *clouds())})
    assert diagnosis.findings == ()
    assert diagnosis.not_applicable == ("images-column-major",)


def with_value(at: tuple[int, int], value: float) -> Arrays:
    x, t = clouds()
    x[at] = value
    return x, t


@pytest.mark.parametrize(("write", "value"), [(as_npz, np.nan), (as_csv, np.nan), (as_npz, np.inf)])
def test_values_that_are_not_finite(write: Callable[..., str], value: float, tmp_path: Path) -> None:
    data = write(tmp_path, *with_value((7, 2), value))
    assert found(data) == {"inputs-not-finite": "fault"}
    evidence = the(diagnose(None, {"data": data}), "inputs-not-finite").evidence
    assert "1 of 2400 values" in evidence
    assert "sample 7, feature 2" in evidence


def test_an_empty_cell_of_a_csv_is_a_value_that_is_missing(tmp_path: Path) -> None:
    data = Path(as_csv(tmp_path, *clouds()))
    lines = data.read_text().splitlines()
    cells = lines[5].split(",")
    data.write_text("\n".join([*lines[:5], ",".join([*cells[:3], "", *cells[4:]]), *lines[6:]]))
    diagnosis = diagnose(None, {"data": str(data)})
    assert bad(diagnosis) == {"inputs-not-finite": "fault"}
    assert "line 6, column 4" in diagnosis.findings[0].evidence
    assert set(diagnosis.not_applicable) == set(DATA_CHECKS) - {"inputs-not-finite"}


def test_bytes_unscaled(tmp_path: Path) -> None:
    data = as_idx(tmp_path, *digits())
    assert found(data, scale="none") == {"inputs-unscaled": "warning"}
    assert found(data, scale="standard") == found(data, scale="unit") == {}


def test_bytes_scaled_twice(tmp_path: Path) -> None:
    x, t = digits()
    assert found(as_npz(tmp_path, x / 255.0**2, t), scale="none") == {"inputs-unscaled": "warning"}


def test_features_in_units_far_apart(tmp_path: Path) -> None:
    x, t = clouds()
    data = as_csv(tmp_path, x * [1, 1, 5000, 1, 1, 1], t)
    assert found(data) == {"inputs-unscaled": "warning"}
    assert found(data, scale="per-feature") == {}


def test_indicators_have_no_unit(tmp_path: Path) -> None:
    x, t = clouds()
    rare = (np.arange(len(x)) % 200 == 0) * 0.001
    assert found(as_npz(tmp_path, np.column_stack([x, rare]), t)) == {}


def test_samples_that_are_all_the_same(tmp_path: Path) -> None:
    x, t = clouds()
    assert found(as_npz(tmp_path, np.broadcast_to(x[0], x.shape), t), test_fraction=0.0) == {
        "inputs-constant": "fault"
    }


def test_images_that_are_blank(tmp_path: Path) -> None:
    x, t = digits()
    x = x.copy()
    x[::20] = 0
    diagnosis = diagnose(None, {"data": as_idx(tmp_path, x, t), "test_fraction": 0.0})
    assert bad(diagnosis) == {"inputs-constant": "warning"}
    assert "30 of 600 images" in diagnosis.findings[0].evidence


def test_a_feature_that_is_constant_is_a_note(tmp_path: Path) -> None:
    x, t = clouds()
    diagnosis = diagnose(None, {"data": as_npz(tmp_path, np.column_stack([x, np.ones(len(x))]), t)})
    assert [(f.id, f.level) for f in diagnosis.findings] == [("inputs-constant", "note")]


def test_labels_that_are_no_whole_numbers(tmp_path: Path) -> None:
    x, t = clouds()
    for odd in (0.5, np.nan):
        labels = t.astype(np.float64)
        labels[11] = odd
        diagnosis = diagnose(None, {"data": as_npz(tmp_path, x, labels)})
        assert bad(diagnosis) == {"labels-range": "fault"}
        assert f"label {odd!r} of sample 11" in diagnosis.findings[0].evidence.replace("np.", "")


def test_labels_in_words(tmp_path: Path) -> None:
    x, t = clouds()
    assert found(as_csv(tmp_path, x, np.array(["cat", "dog", "cow", "hen"])[t])) == {"labels-range": "fault"}


def test_a_measured_quantity_taken_for_the_label(tmp_path: Path) -> None:
    x, _ = clouds()
    data = as_npz(tmp_path, x, np.random.default_rng(0).permutation(len(x)) * 7)
    assert found(data, test_fraction=0.0) == {"labels-range": "fault"}


def test_a_single_class(tmp_path: Path) -> None:
    x, t = clouds()
    assert found(as_npz(tmp_path, x, t * 0)) == {"labels-range": "fault"}


def test_a_stray_label(tmp_path: Path) -> None:
    x, t = clouds(n=60)
    t = np.where(np.arange(60) < 6, 255, t)
    assert found(as_npz(tmp_path, x, t)) == {}  # as many as may be a class
    x, t = clouds()
    t = np.where(np.arange(len(t)) < 9, 255, t)
    diagnosis = diagnose(None, {"data": as_npz(tmp_path, x, t)})
    assert bad(diagnosis)["labels-range"] == "warning"
    assert "labels 255 on 9 samples" in the(diagnosis, "labels-range").evidence


def test_a_class_that_only_the_test_part_has(tmp_path: Path) -> None:
    x, t = clouds()
    train = (x[:300][t[:300] > 0], t[:300][t[:300] > 0])
    assert found(as_pair(tmp_path, train, (x[300:], t[300:]))) == {"labels-range": "warning"}


def test_as_many_labels_as_samples(tmp_path: Path) -> None:
    x, t = clouds()
    diagnosis = diagnose(None, {"data": as_npz(tmp_path, x, t[:-1])})
    assert bad(diagnosis) == {"labels-range": "fault"}
    assert "400 images but labels of shape (399,)" in diagnosis.findings[0].evidence


def test_parts_numbered_from_0_and_from_1(tmp_path: Path) -> None:
    x, t = clouds()
    for shift in (-1, 1):
        data = as_pair(tmp_path, (x[:300], t[:300] + 1), (x[300:], t[300:] + 1 + shift))
        assert found(data) == {"labels-off-by-one": "fault"}


def test_labels_from_1_are_handled_and_said(tmp_path: Path) -> None:
    x, t = clouds()
    diagnosis = diagnose(None, {"data": as_csv(tmp_path, x, t + 1)})
    assert [(f.id, f.level) for f in diagnosis.findings] == [("labels-off-by-one", "note")]


def one_hot(t: np.ndarray) -> np.ndarray:
    return np.eye(4, dtype=np.uint8)[t]


def test_one_hot_rows_as_labels(tmp_path: Path) -> None:
    x, t = clouds()
    for labels in (one_hot(t), one_hot(t).reshape(-1)):
        diagnosis = diagnose(None, {"data": as_npz(tmp_path, x, labels)})
        assert bad(diagnosis) == {"labels-encoded-twice": "fault"}
        assert "argmax(axis=1)" in diagnosis.findings[0].fix


def test_rows_that_are_not_one_hot_are_out_of_range(tmp_path: Path) -> None:
    x, t = clouds()
    assert found(as_npz(tmp_path, x, np.stack([t, t], axis=1))) == {"labels-range": "fault"}


@pytest.mark.parametrize("last", [False, True])
def test_one_hot_columns_of_which_one_was_taken_for_the_label(last: bool, tmp_path: Path) -> None:
    x, t = clouds()
    hot = one_hot(t)
    columns = [x, hot[:, :0:-1]] if last else [hot[:, 1:], x]
    assert found(as_csv(tmp_path, np.column_stack(columns), hot[:, 0])) == {"labels-encoded-twice": "fault"}


def test_digits_stored_by_columns(tmp_path: Path) -> None:
    x, t = digits()
    assert found(as_idx(tmp_path, x, t)) == {}
    assert found(as_idx(tmp_path, x.transpose(0, 2, 1), t)) == {"images-column-major": "warning"}


def test_digits_of_which_one_part_lies_on_its_side(tmp_path: Path) -> None:
    x, t = digits(1200)
    data = as_pair(tmp_path, (x[:600], t[:600]), (x[600:].transpose(0, 2, 1), t[600:]))
    assert found(data) == {"images-column-major": "fault"}


def test_ex4_saved_as_csv_keeps_its_order_and_its_ten(tmp_path: Path) -> None:
    """As `X` and `y` come out of MATLAB: by columns, with 10 for 0; nothing tells the reader of a CSV file."""
    x, t = digits(300)
    columns = x[:, 4:24, 4:24].transpose(0, 2, 1).reshape(300, -1) / 255
    assert found(as_csv(tmp_path, columns, np.where(t == 0, 10, t))) == {"images-column-major": "warning"}


def test_ink_on_paper_is_digits_too() -> None:
    x, t = digits()
    table = Table((255 - x).reshape(600, -1), t, "paper", (28, 28))
    upright, across = correlations(table, t.astype(int)) or (0, 0)
    assert upright > 0.9 > 0.5 > across


def test_other_images_in_ten_classes_are_not_judged_as_digits() -> None:
    x, t = digits()
    table = Table(x.reshape(600, -1), t, "other", (28, 28))
    assert max(correlations(table, (t.astype(int) * 3) % 10) or (1, 1)) < 0.6
    assert correlations(replace(table, image_shape=None), t.astype(int)) is None


def sort(x: np.ndarray, t: np.ndarray) -> Arrays:
    order = np.argsort(t, kind="stable")
    return x[order], t[order]


def test_sorted_samples_without_shuffling(tmp_path: Path) -> None:
    data = as_csv(tmp_path, *sort(*clouds()))
    assert found(data, shuffle=False) == {"classes-sorted": "fault"}
    assert found(data, shuffle=True) == {}
    assert found(data, shuffle=False, batch_size="full") == {}
    assert [f.id for f in diagnose(None, {"data": data}).findings] == ["classes-sorted"]


def test_samples_in_blocks_without_shuffling(tmp_path: Path) -> None:
    x, t = clouds()
    order = np.concatenate([part[np.argsort(t[part], kind="stable")] for part in np.split(np.arange(400), 10)])
    assert found(as_npz(tmp_path, x[order], t[order]), shuffle=False) == {"classes-sorted": "warning"}


def test_a_random_order_is_not_sorted(tmp_path: Path) -> None:
    for seed in range(20):
        x, t = clouds(n=60)
        order = np.random.default_rng(seed).permutation(60)
        assert found(as_npz(tmp_path, x[order], t[order]), shuffle=False) == {}


@pytest.mark.parametrize(("few", "level"), [(9, "warning"), (30, "note")])
def test_a_class_that_is_rare(few: int, level: str, tmp_path: Path) -> None:
    x, t = clouds()
    keep = np.sort(np.concatenate([np.flatnonzero(t > 0), np.flatnonzero(t == 0)[:few]]))
    diagnosis = diagnose(None, {"data": as_csv(tmp_path, x[keep], t[keep])})
    assert [(f.id, f.level) for f in diagnosis.findings] == [("classes-imbalanced", level)]
    assert f"label 0 {few}," in diagnosis.findings[0].evidence


@pytest.mark.parametrize(("copies", "level"), [(60, "fault"), (5, "warning"), (0, None)])
def test_test_samples_that_were_trained_on(copies: int, level: str | None, tmp_path: Path) -> None:
    x, t = clouds()
    test = np.concatenate([np.arange(copies), np.arange(300, 400 - copies)])
    expected = {"train-test-duplicates": level} if level else {}
    assert found(as_pair(tmp_path, (x[:300], t[:300]), (x[test], t[test]))) == expected


def test_a_table_that_holds_every_sample_twice(tmp_path: Path) -> None:
    x, t = clouds()
    assert found(as_npz(tmp_path, np.concatenate([x, x]), np.concatenate([t, t]))) == {
        "train-test-duplicates": "fault"
    }


def test_features_of_few_values_have_equal_rows_by_chance(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    diagnosis = diagnose(None, {"data": as_npz(tmp_path, rng.integers(0, 9, (400, 2)), rng.integers(0, 3, 400))})
    assert [(f.id, f.level) for f in diagnosis.findings] == [("train-test-duplicates", "note")]


def test_a_file_that_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match="cannot be read"):
        diagnose(None, {"data": str(tmp_path / "set.npz")})
