"""Targets of .npz and .npy arrays: class labels, numbers, or several labels at once, told by their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop import TrainedModel
from nnbackprop.data import load
from nnbackprop.data.mapped import MappedArray
from nnbackprop.diagnostics.doctor.run import diagnose
from nnbackprop.errors import DataError, LabelError, UsageError
from tests.support.commands import draw_no_plots, run, said
from tests.support.data_files import assert_refused

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
PRICE = 1e5 * (X @ [1.0, -2.0, 0.5, 0.0]) + RNG.normal(0, 1e3, 300)
TAGS = (X[:, :3] > 0).astype(np.uint8)


def pair(folder: Path, y: Any, x: np.ndarray = X) -> Path:
    np.save(folder / "X.npy", x)
    np.save(folder / "y.npy", y)
    return folder


@pytest.mark.parametrize(
    "y", [PRICE, PRICE[:, None], PRICE.astype(np.float32), np.stack([PRICE, X[:, 0]], axis=1)]
)
def test_numbers_with_fractions_are_a_regression(tmp_path: Path, y: np.ndarray) -> None:
    train = load(pair(tmp_path, y), split=False).train
    assert (train.task, train.classes, train.targets.dtype) == ("regression", (), y.dtype)
    assert np.array_equal(train.targets, y.reshape(300, -1))


def test_columns_of_0_and_1_are_several_labels(tmp_path: Path) -> None:
    train = load(pair(tmp_path, TAGS), split=False).train
    assert (train.task, train.targets.dtype) == ("multilabel", np.float32)
    assert np.array_equal(train.targets, TAGS)


@pytest.mark.parametrize(
    ("y", "task", "shape"),
    [
        (np.arange(300) * 7, "regression", (300, 1)),
        (np.arange(600).reshape(300, 2), "regression", (300, 2)),
        (np.eye(3, dtype=bool)[np.arange(300) % 3], "multilabel", (300, 3)),
    ],
)
def test_the_task_may_be_said(tmp_path: Path, y: np.ndarray, task: Any, shape: tuple[int, ...]) -> None:
    train = load(pair(tmp_path, y), task=task, split=False).train
    assert (train.task, train.targets.shape) == (task, shape)
    assert np.array_equal(train.targets, y.reshape(shape))


def test_text_is_a_number_only_where_all_of_it_is_written_as_one(tmp_path: Path) -> None:
    codes = np.array(["007", "7", "12"])[np.arange(300) % 3]
    train = load(pair(tmp_path, codes), split=False).train
    assert [train.classes[k] for k in train.targets] == codes.tolist()
    plain = load(pair(tmp_path, np.array(["7", "12"])[np.arange(300) % 2]), split=False).train
    assert plain.classes == ("7", "12")
    np.savez(tmp_path / "x.npz", x_train=X, y_train=codes, x_test=X[:2], y_test=[7, 12])
    splits = load(tmp_path / "x.npz")
    assert [splits.test.classes[k] for k in splits.test.targets] == ["7", "12"]


def test_a_slip_among_class_labels_is_an_error_and_not_a_regression(tmp_path: Path) -> None:
    labels = np.arange(300.0) % 3
    labels[17] = 0.5
    assert_refused(pair(tmp_path, labels), r"label 0\.5 of sample 17 is not a whole number.*task='regression'")
    assert load(tmp_path, task="regression", split=False).train.targets[17] == 0.5


@pytest.mark.parametrize(
    ("y", "task", "words"),
    [
        (np.where(np.arange(300) == 9, np.nan, PRICE), "auto", r"target of sample 9.* is not finite.* 1 of 300"),
        (PRICE[:299], "auto", r"300 samples but targets of shape \(299,\)"),
        (TAGS + 1, "multilabel", "two or more columns of 0 and 1"),
        (np.array(["a", "b", "c"] * 100), "regression", "numbers are needed"),
        (TAGS, "classification", r"one label for each is needed"),
    ],
)
def test_targets_that_do_not_suit_the_task_are_refused(
    tmp_path: Path, y: np.ndarray, task: Any, words: str
) -> None:
    with pytest.raises(LabelError, match=words) as error:
        load(pair(tmp_path, y), task=task)
    assert str(tmp_path) in str(error.value)


def test_the_training_part_decides_for_both(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=X, y_train=PRICE, x_test=X[:5], y_test=np.arange(5.0))
    splits = load(tmp_path / "x.npz")
    assert splits.test is not None
    assert splits.test.targets[:, 0].tolist() == [0, 1, 2, 3, 4]
    np.savez(tmp_path / "x.npz", x_train=X, y_train=PRICE, x_test=X[:2], y_test=["a", "b"])
    with pytest.raises(DataError, match="numbers are needed"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("options", [{"target": "a"}, {"drop": ["a"]}, {"missing": "mean"}, {"features": ["a"]}])
def test_what_is_for_columns_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"X\.npy: is no table, and \w+='\w+' is for the columns"):
        load(pair(tmp_path, PRICE), **options)
    with pytest.raises(UsageError, match="task='regression' is for tables"):
        load("weight-height", task="regression")


@pytest.mark.parametrize(("y", "metric"), [(PRICE, "r2"), (TAGS, "subset_accuracy")], ids=["numbers", "labels"])
def test_a_pair_in_its_file_takes_two_commands_to_predictions(
    y: np.ndarray, metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNBACKPROP_MAX_BYTES", "400000")  # an eighth of it is less than the inputs take
    draw_no_plots(monkeypatch)
    x = np.tile(X, (12, 1))
    (tmp_path / "set").mkdir()
    train = load(pair(tmp_path / "set", np.concatenate([y] * 12), x)).train
    assert isinstance(train.inputs, MappedArray)
    assert run("train", "set", "--epochs", "5", "--progress", "off") == 0
    assert json.loads(Path("runs/set/summary.json").read_text(encoding="utf-8"))[f"test_{metric}"] > 0.9
    np.save("new.npy", X[:3])
    assert run("predict", "set", "new.npy") == 0
    expected = TrainedModel.open("set").predict(X[:3])
    output = said(capsys)
    assert f"1 {expected[0, 0]:,.0f}" in output if metric == "r2" else "output 0" in output
    assert run("evaluate", "set") == 0


def test_numbers_are_examined_without_checks_of_classes(tmp_path: Path) -> None:
    diagnosis = diagnose(None, {"data": str(pair(tmp_path, PRICE))})
    assert diagnosis.healthy
    assert "classes-sorted" in diagnosis.not_applicable


def test_amounts_in_whole_numbers_are_no_classes(tmp_path: Path) -> None:
    assert_refused(
        pair(tmp_path, RNG.permutation(10**4)[:300]), r"300 classes leaves .* empty\..*task='regression'"
    )
