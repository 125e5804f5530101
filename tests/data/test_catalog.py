"""load() finds parts in folders, gives them one class map, and says in words what it cannot use."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import DATASETS, RawDataset, RawSplits, load, load_raw
from nnbackprop.data.catalog import to_splits
from nnbackprop.errors import DataError
from tests.support.data_files import idx_of, refused, written

RNG = np.random.default_rng(9)
TRAIN = RNG.integers(0, 256, (20, 9, 9), np.uint8)
TEST = RNG.integers(0, 256, (5, 9, 9), np.uint8)
TRAIN_LABELS, TEST_LABELS = np.arange(20) % 4, np.arange(5) % 4


def write_idx(path: Path, array: np.ndarray) -> None:
    written(path, gzip.compress(idx_of(array)) if path.suffix == ".gz" else idx_of(array))


def write_csv(path: Path, images: np.ndarray, labels: np.ndarray | None) -> None:
    columns = [images.reshape(len(images), -1)] if labels is None else [labels, images.reshape(len(images), -1)]
    header = ",".join(["label"] * (labels is not None) + [f"pixel{i}" for i in range(81)])
    np.savetxt(path, np.column_stack(columns), fmt="%d", delimiter=",", header=header, comments="")


def check_parts(spec: Path) -> None:
    splits = load(spec)
    assert splits.test is not None
    for part, images, labels in ((splits.train, TRAIN, TRAIN_LABELS), (splits.test, TEST, TEST_LABELS)):
        assert np.array_equal(part.inputs, images.reshape(len(images), -1))
        assert part.targets.tolist() == labels.tolist()
        assert part.image_shape == (9, 9)
        assert part.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("test", ["t10k", "test"])
@pytest.mark.parametrize("form", ["{}-{}-idx{}-ubyte", "{}-{}-idx{}-ubyte.gz", "{}-{}.idx{}-ubyte"])
def test_folders_of_four_idx_files_give_both_parts(tmp_path: Path, test: str, form: str) -> None:
    for part, images, labels in (("train", TRAIN, TRAIN_LABELS), (test, TEST, TEST_LABELS)):
        write_idx(tmp_path / form.format(part, "images", 3), images)
        write_idx(tmp_path / form.format(part, "labels", 1), labels)
    check_parts(tmp_path)
    one = load(tmp_path / form.format("train", "labels", 1), split=False)
    assert np.array_equal(one.train.inputs, TRAIN.reshape(20, 81))


@pytest.mark.parametrize("names", [("train.csv", "test.csv"), ("mnist_train.csv", "mnist_test.csv")])
def test_folders_of_train_and_test_csv_give_both_parts(tmp_path: Path, names: tuple[str, str]) -> None:
    write_csv(tmp_path / names[0], TRAIN, TRAIN_LABELS)
    write_csv(tmp_path / names[1], TEST, TEST_LABELS)
    check_parts(tmp_path)


def test_a_test_csv_without_labels_is_left_out_with_a_note(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", TRAIN, TRAIN_LABELS)
    write_csv(tmp_path / "test.csv", TEST, None)
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    splits = load(tmp_path, test_fraction=0.2)
    assert (len(splits.train), len(splits.test)) == (16, 4)
    assert any("test.csv has no labels" in note for note in splits.train.reader_notes)


def test_folders_of_train_and_test_npz_give_both_parts(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", X=TRAIN, y=TRAIN_LABELS)
    np.savez(tmp_path / "test.npz", X=TEST, y=TEST_LABELS)
    check_parts(tmp_path)


def test_a_single_file_is_found_and_its_train_part_split(tmp_path: Path) -> None:
    write_csv(tmp_path / "digits.csv", TRAIN, TRAIN_LABELS)
    splits = load(tmp_path, test_fraction=0.4, seed=7)
    assert splits.train.counts().tolist() == [3, 3, 3, 3]
    assert splits.test.counts().tolist() == [2, 2, 2, 2]
    again = load(str(tmp_path), test_fraction=0.4, seed=7)
    assert np.array_equal(again.test.inputs, splits.test.inputs)


def test_a_folder_without_a_data_set_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set is found.*train\.csv.*none of them"):
        load(tmp_path)
    write_csv(tmp_path / "a.csv", TRAIN, TRAIN_LABELS)
    write_csv(tmp_path / "b.csv", TRAIN, TRAIN_LABELS)
    with pytest.raises(DataError, match=r"Found: a\.csv, b\.csv"):
        load(tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"Did you mean fashion-mnist\?") as error:
        load("fashion-mnst")
    assert all(name in str(error.value) for name in DATASETS)
    assert "no such file or folder" in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_file_of_unknown_format_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path / "x.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "its format is not known")


def test_a_single_array_needs_images_or_labels_in_its_name(tmp_path: Path) -> None:
    write_idx(tmp_path / "digits.idx", TRAIN)
    refused(tmp_path / "digits.idx", "must hold 'images' or 'labels'")


def tables(train: list, test: list, dtype: str | None = None) -> RawSplits:
    def table(labels: list) -> RawDataset:
        return RawDataset.from_arrays(np.ones((len(labels), 3)), np.array(labels, dtype), "here")

    return RawSplits(table(train), table(test))


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "str"])
def test_both_parts_share_one_class_map_in_numeric_order(dtype: str) -> None:
    splits = to_splits(tables([10, 2, 30, 2], [7, 10], dtype))
    assert splits.train.classes == splits.test.classes == ("2", "7", "10", "30")
    assert splits.train.targets.tolist() == [2, 0, 3, 0]
    assert splits.test.targets.tolist() == [1, 2]


def test_labels_of_different_dtypes_share_one_class_map() -> None:
    train = RawDataset.from_arrays(np.ones((2, 3)), np.array(["-1", "1.0"]), "a")
    test = RawDataset.from_arrays(np.ones((2, 3)), np.array([1, -1], np.int16), "b")
    splits = to_splits(RawSplits(train, test))
    assert splits.train.classes == ("-1", "1")
    assert (splits.train.targets.tolist(), splits.test.targets.tolist()) == ([0, 1], [1, 0])


def test_whole_float_labels_are_noted() -> None:
    reader_notes = to_splits(tables([0.0, 1.0, 0.0], [1.0], "float64")).train.reader_notes
    assert any("floating point" in note for note in reader_notes)


def test_sorted_samples_are_noted_and_shuffled_ones_not() -> None:
    splits = to_splits(tables([3, 3, 1, 1], [3, 1, 3, 1]))
    assert any("sorted by class" in note for note in splits.train.reader_notes)
    assert not any("sorted by class" in note for note in splits.test.reader_notes)


def test_parts_of_two_dtypes_are_read_as_the_wider() -> None:
    train = RawDataset.from_arrays(np.full((2, 3), 200, np.uint8), np.array([0, 1]), "a")
    test = RawDataset.from_arrays(np.full((2, 3), 0.5, np.float32), np.array([0, 1]), "b")
    splits = to_splits(RawSplits(train, test))
    assert splits.train.inputs.dtype == splits.test.inputs.dtype == np.float32
    assert any("uint8" in note for note in splits.train.reader_notes)


def test_parts_with_other_features_are_refused() -> None:
    train = RawDataset.from_arrays(np.ones((2, 9, 9)), np.array([0, 1]), "a")
    for shape, words in (
        ((2, 80), r"sample_shape is \(81,\) in a, \(80,\) in b"),
        ((2, 3, 27), r"image_shape is \(9, 9\) in a, \(3, 27\) in b"),
    ):
        with pytest.raises(DataError, match=words):
            to_splits(RawSplits(train, RawDataset.from_arrays(np.ones(shape), np.array([0, 1]), "b")))


def test_faulty_data_can_be_loaded_without_checks(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", "label,a\n1,nan\n2.5,3\ncat,4\n")
    refused(path)
    train = load(path, split=False, strict=False).train
    assert train.classes == ("1", "2.5", "cat")
    assert np.isnan(train.inputs[0, 0])
    assert load_raw(path).train.labels.tolist() == ["1", "2.5", "cat"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.csv")
    refused(tmp_path / "x.csv", "is a pipe or a device")


@pytest.mark.parametrize("spec", ["x" * 5000, "~nobody-of-this-name/x", "a\0b", ""])
def test_impossible_file_names_are_refused(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        load(spec)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([b"\xff", b"a", b"b", b"c"]), r"'\\\\xff' of sample 0"),
        (np.array([0x110000, 1, 2, 3], np.uint32).view("<U1"), "bytes that are not text"),
        (np.array([2**64 - 1, 0, 1, 2], np.uint64), "18446744073709551615 of sample 0"),
        (np.array([0, 1, 2, np.inf]), "inf of sample 3"),
        (np.array(["a" * 200] * 4), "text of 200 characters"),
    ],
)
def test_impossible_labels_are_refused(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    np.savez(tmp_path / "x.npz", X=np.zeros((4, 3)), y=labels)
    refused(tmp_path / "x.npz", words)


def test_the_first_faulty_label_is_named(tmp_path: Path) -> None:
    for row in (0, 1, 500, 998, 999):
        labels = np.arange(1000.0) % 3
        labels[row:] = np.nan
        np.savez(tmp_path / "x.npz", X=np.zeros((1000, 2)), y=labels)
        with pytest.raises(DataError, match=f"label nan of sample {row} "):
            load(tmp_path / "x.npz")
