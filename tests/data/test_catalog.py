"""load() finds parts in folders, gives them one class map, and says in words what it cannot use."""

from __future__ import annotations

import gzip
import os
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data import DATASETS, RawDataset, RawSplits, load, load_raw
from nnbackprop.data.catalog import to_splits
from nnbackprop.data.readers.paths import is_table
from nnbackprop.errors import DataError, UsageError
from tests.support.data_files import assert_refused, idx_of, write_file

RNG = np.random.default_rng(9)
TRAIN = RNG.integers(0, 256, (20, 9, 9), np.uint8)
TEST = RNG.integers(0, 256, (5, 9, 9), np.uint8)
TRAIN_LABELS, TEST_LABELS = np.arange(20) % 4, np.arange(5) % 4


def write_csv(path: Path, images: np.ndarray, labels: np.ndarray | None) -> None:
    columns = [images.reshape(len(images), -1)] if labels is None else [labels, images.reshape(len(images), -1)]
    header = ",".join(["label"] * (labels is not None) + [f"pixel{i}" for i in range(81)])
    np.savetxt(path, np.column_stack(columns), fmt="%d", delimiter=",", header=header, comments="")


def write_part(folder: Path, pattern: str, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    """The file of a part, or the two of IDX, whose `pattern` has the part's name, images or labels, and 3 or 1."""
    if pattern.endswith(".csv"):
        write_csv(folder / pattern.format(part), images, labels)
    elif pattern.endswith(".npz"):
        np.savez(folder / pattern.format(part), X=images, y=labels)
    else:
        compress = gzip.compress if pattern.endswith(".gz") else bytes
        for kind, array in (("images", images), ("labels", labels)):
            write_file(folder / pattern.format(part, kind, array.ndim), compress(idx_of(array)))


IDX = ("{}-{}-idx{}-ubyte", "{}-{}-idx{}-ubyte.gz", "{}-{}.idx{}-ubyte")


@pytest.mark.parametrize(
    ("pattern", "test"),
    [*product(IDX, ("t10k", "test")), ("{}.csv", "test"), ("mnist_{}.csv", "test"), ("{}.npz", "test")],
)
def test_folder_with_files_of_both_parts_gives_both(tmp_path: Path, pattern: str, test: str) -> None:
    write_part(tmp_path, pattern, "train", TRAIN, TRAIN_LABELS)
    write_part(tmp_path, pattern, test, TEST, TEST_LABELS)
    splits = load(tmp_path)
    for part, images, labels in ((splits.train, TRAIN, TRAIN_LABELS), (splits.test, TEST, TEST_LABELS)):
        assert np.array_equal(part.inputs, images.reshape(len(images), -1))
        assert part.targets.tolist() == labels.tolist()
        assert part.image_shape == (9, 9)
        assert part.classes == ("0", "1", "2", "3")
    if pattern in IDX:
        one_part = load(tmp_path / pattern.format("train", "labels", 1), split=False)
        assert np.array_equal(one_part.train.inputs, TRAIN.reshape(20, 81))


def test_test_csv_without_labels_is_left_out_with_a_note(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", TRAIN, TRAIN_LABELS)
    write_csv(tmp_path / "test.csv", TEST, None)
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n", encoding="utf-8")
    splits = load(tmp_path, test_fraction=0.2)
    assert (len(splits.train), len(splits.test)) == (16, 4)
    assert any("test.csv has no labels" in note for note in splits.train.reader_notes)


def test_single_file_is_found_and_its_train_part_split(tmp_path: Path) -> None:
    write_csv(tmp_path / "digits.csv", TRAIN, TRAIN_LABELS)
    splits = load(tmp_path, test_fraction=0.4, seed=7)
    assert splits.train.counts().tolist() == [3, 3, 3, 3]
    assert splits.test.counts().tolist() == [2, 2, 2, 2]
    again = load(str(tmp_path), test_fraction=0.4, seed=7)
    assert np.array_equal(again.test.inputs, splits.test.inputs)


def test_folder_without_a_data_set_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set is found.*train\.csv.*none of them"):
        load(tmp_path)
    write_csv(tmp_path / "a.csv", TRAIN, TRAIN_LABELS)
    write_csv(tmp_path / "b.csv", TRAIN, TRAIN_LABELS)
    with pytest.raises(DataError, match=r"Found: a\.csv, b\.csv"):
        load(tmp_path)


def test_unknown_name_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"Did you mean fashion-mnist\?") as error:
        load("fashion-mnst")
    assert all(name in str(error.value) for name in DATASETS)
    assert "no such file or folder" in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_files_of_unknown_format_or_without_a_partner_are_refused(tmp_path: Path) -> None:
    assert_refused(write_file(tmp_path / "x.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "its format is not known")
    assert_refused(write_file(tmp_path / "digits.idx", idx_of(TRAIN)), "must hold 'images' or 'labels'")


def test_a_file_is_read_whose_folder_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "table.npy", np.arange(40.0).reshape(20, 2) % 3)
    np.save(tmp_path / "X.npy", np.zeros((2, 2)))

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert load(tmp_path / "table.npy", split=False).train.inputs.shape == (20, 1)
    assert is_table(tmp_path / "table.npy")
    for path in (tmp_path / "X.npy", tmp_path):
        with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}: cannot be read: .*Permission denied"):
            load(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mnist-20x20", {"separator": ";"}),
        ("iris", {"header": "no"}),
        ("mnist-20x20", {"size": "8x8"}),
        ("mnist-20x20", {"channels": "grey"}),
        ("x.npz", {"decimal": ","}),
        ("x.npz", {"size": (2, 1)}),
        ("x.csv", {"channels": "rgb"}),
        ("x.csv", {"size": "1x2"}),
        ({"a": [1.0, 2.0], "y": [0, 1]}, {"encoding": "utf-8"}),
    ],
)
def test_an_option_of_how_files_are_read_is_refused_where_it_would_do_nothing(
    tmp_path: Path, name: Any, options: dict[str, Any]
) -> None:
    np.savez(tmp_path / "x.npz", X=np.zeros((4, 2)), y=[0, 1, 0, 1])
    write_file(tmp_path / "x.csv", "a,b,y\n1,2,0\n3,4,1\n")
    is_file = isinstance(name, str) and "." in name
    source = tmp_path / name if is_file else name
    ((option, value),) = options.items()
    shown = str(source) if isinstance(name, str) else "a table in memory"
    words = (
        f"{re.escape(f'{option}={value!r}')} is for (CSV files|images in folders), and {re.escape(shown)} is none"
    )
    with pytest.raises(UsageError, match=words):
        load(source, **options)


def raw(labels: np.ndarray | list, inputs: np.ndarray | None = None, source: str = "memory") -> RawDataset:
    inputs = np.ones((len(labels), 3)) if inputs is None else inputs
    return RawDataset.from_arrays(inputs, np.asarray(labels), source)


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "str"])
@pytest.mark.parametrize("test_dtype", ["int16", "str"])
def test_both_parts_share_one_class_map_in_numeric_order(dtype: str, test_dtype: str) -> None:
    train, test = np.array([10, -2, 30, -2], dtype), np.array([7, 10], test_dtype)
    splits = to_splits(RawSplits(raw(train), raw(test)))
    assert splits.train.classes == splits.test.classes == ("-2", "7", "10", "30")
    assert splits.train.targets.tolist() == [2, 0, 3, 0]
    assert splits.test.targets.tolist() == [1, 2]


def test_text_is_a_whole_number_where_all_of_it_is_written_as_one() -> None:
    assert to_splits(RawSplits(raw(["-1", "1"]), raw([1.0, -1.0]))).train.classes == ("-1", "1")
    assert to_splits(RawSplits(raw(["01", "1"]), raw([1.0, 1.0]))).train.classes == ("01", "1")


def test_parts_of_two_dtypes_are_read_as_the_wider() -> None:
    train = raw([0, 1], np.full((2, 3), 200, np.uint8))
    splits = to_splits(RawSplits(train, raw([0, 1], np.full((2, 3), 0.5, np.float32))))
    assert splits.train.inputs.dtype == splits.test.inputs.dtype == np.float32
    assert any("uint8" in note for note in splits.train.reader_notes)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 80), r"sample_shape is \(81,\) in a, \(80,\) in b"),
        ((2, 3, 27), r"image_shape is \(9, 9\) in a, \(3, 27\) in b"),
    ],
)
def test_parts_with_other_features_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        to_splits(RawSplits(raw([0, 1], np.ones((2, 9, 9)), "a"), raw([0, 1], np.ones(shape), "b")))


def test_faulty_data_can_be_loaded_without_checks(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, X=[[np.nan], [3], [4]], y=["1", "2.5", "cat"])
    assert_refused(path)
    train = load(path, split=False, strict=False).train
    assert train.classes == ("1", "2.5", "cat")
    assert np.isnan(train.inputs[0, 0])
    assert load_raw(path).train.labels.tolist() == ["1", "2.5", "cat"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.csv")
    assert_refused(tmp_path / "x.csv", "is a pipe or a device")


@pytest.mark.parametrize("spec", ["x" * 5000, "~nobody-of-this-name/x", "a\0b", ""])
def test_impossible_file_names_are_refused(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        load(spec)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([b"\xff", b"a", b"b", b"c"]), r"label b'\\xff' is not text in UTF-8"),
        (np.array(["a", "nan", "b", ""]), "label 'nan' of sample 1 is not a whole number or a name"),
        (np.array([0x110000, 1, 2, 3], np.uint32).view("<U1"), "bytes that are not text"),
        (np.array([2**64 - 1, 0, 1, 2], np.uint64), "18446744073709551615 of sample 0"),
        (np.array([0, 1, 2, np.inf]), "inf of sample 3"),
        (np.array(["a" * 200] * 4), "text of 200 characters"),
    ],
)
def test_impossible_labels_are_refused(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    np.savez(tmp_path / "x.npz", X=np.zeros((4, 3)), y=labels)
    assert_refused(tmp_path / "x.npz", words)


def test_the_first_faulty_label_is_named(tmp_path: Path) -> None:
    for row in (0, 1, 500, 998, 999):
        labels = np.arange(1000.0) % 3
        labels[row:] = np.nan
        np.savez(tmp_path / "x.npz", X=np.zeros((1000, 2)), y=labels)
        with pytest.raises(DataError, match=f"label nan of sample {row} "):
            load(tmp_path / "x.npz")
