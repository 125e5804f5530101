"""Arrays saved by NumPy come back as tables; pickles, lies and damage end in a DataError naming the file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data import RawDataset, load
from tests.support.data_files import assert_refused, npy

IMAGES = np.random.default_rng(2).integers(0, 256, (12, 5, 4))
LABELS = np.arange(12) % 3


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_keras_names_give_both_parts(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "x.npz", x_train=IMAGES.astype(np.uint8), y_train=LABELS, x_test=IMAGES[:4], y_test=LABELS[:4])
    splits = load(tmp_path / "x.npz")
    assert splits.train.image_shape == splits.test.image_shape == (5, 4)
    assert np.array_equal(splits.train.inputs, IMAGES.reshape(12, 20))
    assert np.array_equal(splits.test.inputs, IMAGES[:4].reshape(4, 20))
    assert splits.train.inputs.dtype == splits.test.inputs.dtype == np.uint8
    assert splits.test.targets.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("images", "labels"), 1),
        (("Images", "Labels"), 1),
        (("train_images", "train_labels", "test_images", "test_labels"), 2),
    ],
)
def test_images_and_labels_are_names_too(tmp_path: Path, names: tuple[str, ...], parts: int) -> None:
    np.savez(tmp_path / "x.npz", **dict(zip(names, (IMAGES, LABELS) * 2, strict=False)))
    splits = load(tmp_path / "x.npz", split=False)
    assert np.array_equal(splits.train.inputs, IMAGES.reshape(12, 20))
    assert [part is not None for part in (splits.train, splits.test)] == [True, parts == 2]


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (4, 3, 6, 5)])
def test_colours_have_their_channels_last(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "x.npz", X=images, y=np.arange(4) % 2)
    train = load(tmp_path / "x.npz", split=False).train
    assert train.image_shape == (6, 5, 3)
    assert np.array_equal(train.image(2), images[2] if shape[3] == 3 else images[2].transpose(1, 2, 0))


def test_one_table_is_split_unless_kept_whole(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=IMAGES.reshape(12, 20) / 255, y=LABELS[:, None])
    assert load(tmp_path / "x.npz", split=False).test is None
    splits = load(tmp_path / "x.npz", test_fraction=0.25, seed=1)
    assert splits.train.counts().tolist() == [3, 3, 3]
    assert splits.test.counts().tolist() == [1, 1, 1]
    assert splits.train.inputs.dtype == np.float64
    assert "(12, 1)" in splits.train.reader_notes[0]


def test_a_pair_of_npy_files_is_found_from_either(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.asfortranarray(IMAGES.astype(">i2")))
    np.save(tmp_path / "labels.npy", LABELS)
    for spec in (tmp_path, tmp_path / "images.npy", tmp_path / "labels.npy"):
        train = load(spec, split=False).train
        assert np.array_equal(train.inputs, IMAGES.reshape(12, 20))
        assert train.targets.tolist() == LABELS.tolist()
    (tmp_path / "labels.npy").unlink()
    assert_refused(tmp_path / "images.npy", r"are needed in .*labels\.npy")


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 8, 8, 1), (3, 1, 8, 8), (3, 64)])
def test_channel_axis_of_one_is_dropped(shape: tuple[int, ...]) -> None:
    raw = RawDataset.from_arrays(np.arange(192, dtype=np.uint8).reshape(shape), np.array([1, 2, 1]), "memory")
    assert raw.image_shape == (8, 8)
    assert raw.inputs.tolist() == np.arange(192).reshape(3, 64).tolist()


@pytest.mark.parametrize(
    ("values", "dtype"), [([0, 255], "uint8"), ([-1, 255], "float32"), ([0, 2**24 + 1], "float64")]
)
def test_integers_are_kept_exactly_in_the_smallest_type(values: list[int], dtype: str) -> None:
    inputs = RawDataset.from_arrays(np.array([values]), np.array([1]), "memory").inputs
    assert (inputs.dtype, inputs.tolist()) == (dtype, [values])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": IMAGES, "y_train": LABELS}, "holds a, y_train; x_train and y_train"),
        ({"X": IMAGES, "y": np.array([{}] * 12)}, "Python objects"),
        ({"X": IMAGES, "y": np.eye(12)}, r"\(12, 12\).*argmax"),
        ({"X": IMAGES, "y": LABELS[:5]}, r"12 images but labels of shape \(5,\)"),
        ({"X": IMAGES + 1j, "y": LABELS}, "complex128; real numbers"),
        ({"X": LABELS, "y": LABELS}, r"images have shape \(12,\)"),
        ({"X": IMAGES[:0], "y": LABELS[:0]}, r"images have shape \(0, 5, 4\)"),
        ({"X": IMAGES, "y": np.zeros(12, "V4")}, "labels are of type"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :4], "y_test": LABELS},
            r"sample_shape is \(20,\) in .*, \(16,\) in",
        ),
    ],
)
def test_arrays_that_are_not_a_data_set_are_refused(tmp_path: Path, arrays: dict, words: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    assert_refused(tmp_path / "x.npz", words)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (npy("(1000000000000, 784)", b"abc"), "but fewer follow"),
        (npy("(1, 2)", b"abc"), "but more follow"),
        (npy("(-1, 2)", b""), "promises"),
        (npy("(1,", b"abc"), "cannot be read"),
        (npy("(1, 3)", b"abc")[:20], "cannot be read"),
        (b"\x93NUMPY\x03\x00", "version"),
        (b"", "cannot be read"),
    ],
)
def test_headers_are_held_against_the_bytes(tmp_path: Path, member: bytes, words: str) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", member)
        archive.writestr("y.npy", npy("(1,)", b"a"))
    assert_refused(path, words)


def test_arrays_of_a_validation_part_are_left_out_with_a_note(tmp_path: Path) -> None:
    parts = {"x_train": IMAGES, "y_train": LABELS, "x_val": IMAGES[:3], "y_val": LABELS[:3]}
    np.savez(tmp_path / "x.npz", **parts)
    assert f"{tmp_path / 'x.npz'} holds x_val, y_val too, left out" in load(tmp_path / "x.npz").train.reader_notes
