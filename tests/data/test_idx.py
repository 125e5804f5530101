"""IDX files made by hand are read as they were meant; broken ones end in a DataError that names the file."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import load
from nnbackprop.data.readers import idx
from tests.support import data_files
from tests.support.data_files import assert_refused, write_file
from tests.support.memory import peak_of

FORMATS = {
    0x08: ("B", "uint8"),
    0x09: ("b", "int8"),
    0x0B: ("h", "int16"),
    0x0C: ("i", "int32"),
    0x0D: ("f", "float32"),
    0x0E: ("d", "float64"),
}
GOOD = data_files.idx((2, 2, 3), bytes(range(12)))


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_type_of_the_format_is_read(tmp_path: Path, kind: int, compress: type) -> None:
    letter, dtype = FORMATS[kind]
    values = [0, 1, 2, 3, 100, 127] if kind == 0x08 else [0, -1, 2, -3, 100, -128]
    content = data_files.idx((2, 3), struct.pack(f">6{letter}", *values), kind)
    array = idx.read(write_file(tmp_path / "x", compress(content)))
    assert array.dtype == dtype
    assert array.dtype.isnative
    assert array.tolist() == [values[:3], values[3:]]


def test_a_pair_becomes_a_table_of_images(tmp_path: Path) -> None:
    images = write_file(tmp_path / "images", GOOD)
    labels = write_file(tmp_path / "labels", data_files.idx((2,), b"\7\x09"))
    raw = idx.read_pair(images, labels)
    assert raw.image_shape == (2, 3)
    assert raw.inputs.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert raw.labels.tolist() == [7, 9]
    assert_refused(labels, "swap the two", lambda path: idx.read_pair(path, images))
    write_file(labels, data_files.idx((3,), b"\7\x09\1"))
    assert_refused(images, r"2 images but labels of shape \(3,\)", lambda path: idx.read_pair(path, labels))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with bytes \\(none\\)"),
        (b"\0\0\x08", "begins with"),
        (b"\0\1\x08\3" + GOOD[4:], "begins with bytes 00 01 08 03"),
        (b"\0\0\x0a\3" + GOOD[4:], "begins with"),
        (b"\0\0\x08\0", "0 axes"),
        (b"\0\0\x08\x28" + b"\0\0\0\1" * 40 + b"x", "40 axes"),
        (GOOD[:9], "3 axes"),
        (data_files.idx((2, 0), b""), r"\(2, 0\)"),
        (GOOD[:-1], "only 11 follow; it is truncated"),
        (GOOD + b"\0", "further bytes follow"),
        (data_files.idx((2**32 - 1,) * 3, b"\1"), "more than the file can hold"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_fault(tmp_path: Path, data: bytes, words: str) -> None:
    assert_refused(write_file(tmp_path / "x", data), words, idx.read)
    if "follow" in words:
        assert_refused(write_file(tmp_path / "x", gzip.compress(data)), words, idx.read)


def test_broken_gzip_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(GOOD)
    flipped = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]  # a bit of the checksum
    for content in (whole[:-9], flipped, whole[:12] + b"\xff\xff\xff" + whole[15:], whole + b"rubbish"):
        assert_refused(write_file(tmp_path / "x", content), "cannot be read", idx.read)
    for path in (tmp_path, tmp_path / "absent"):
        assert_refused(path, "cannot be read", idx.read)


def test_memory_is_taken_for_bytes_not_for_claims(tmp_path: Path) -> None:
    body = np.random.default_rng(0).bytes(60_000)
    path = write_file(tmp_path / "x", gzip.compress(data_files.idx((50_000_000,), body)))
    assert peak_of(lambda: assert_refused(path, "only 60000 follow", idx.read)) < 2_000_000


def test_amounts_are_read_by_the_task_that_the_error_names(tmp_path: Path) -> None:
    write_file(tmp_path / "train-images-idx3-ubyte", data_files.idx_of(np.zeros((3, 2, 2), np.uint8)))
    amounts = np.array([0.5, 1.25, 7.0], ">f4")
    write_file(tmp_path / "train-labels-idx1-ubyte", data_files.idx((3,), amounts.tobytes(), 0x0D))
    assert_refused(tmp_path / "train-images-idx3-ubyte", "is not a whole number.*task='regression'")
    for path in (tmp_path, tmp_path / "train-images-idx3-ubyte"):
        assert load(path, task="regression", split=False).train.targets.tolist() == [[0.5], [1.25], [7.0]]
