"""IDX files made by hand are read as they were meant; broken ones end in a DataError that names the file."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data.readers import idx
from nnbackprop.errors import DataError

FORMATS = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}
NAMES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def idx_bytes(kind: int, shape: tuple[int, ...], values: list) -> bytes:
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape)
    return header + struct.pack(f">{len(values)}{FORMATS[kind]}", *values)


GOOD = idx_bytes(0x08, (2, 2, 3), list(range(12)))


def written(folder: Path, data: bytes, name: str = "x") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_type_of_the_format_is_read(tmp_path: Path, kind: int, pack: type) -> None:
    values = [0, 1, 2, 3, 100, 127] if kind == 0x08 else [0, -1, 2, -3, 100, -128]
    array = idx.read(written(tmp_path, pack(idx_bytes(kind, (2, 3), values))))
    assert array.dtype == NAMES[kind]
    assert array.dtype.isnative
    assert array.tolist() == [values[:3], values[3:]]


def test_a_pair_becomes_a_table_of_images(tmp_path: Path) -> None:
    images = written(tmp_path, GOOD, "images")
    labels = written(tmp_path, idx_bytes(0x08, (2,), [7, 9]), "labels")
    table = idx.read_table(images, labels)
    assert table.image_shape == (2, 3)
    assert table.inputs.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert table.labels.tolist() == [7, 9]
    with pytest.raises(DataError, match="exchange the two"):
        idx.read_table(labels, images)


def test_images_and_labels_of_different_counts_are_refused(tmp_path: Path) -> None:
    labels = written(tmp_path, idx_bytes(0x08, (3,), [7, 9, 1]), "labels")
    with pytest.raises(DataError, match=r"2 images but labels of shape \(3,\)"):
        idx.read_table(written(tmp_path, GOOD, "images"), labels)


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
        (idx_bytes(0x08, (2, 0), []), r"\(2, 0\)"),
        (GOOD[:-1], "only 11 follow; it is truncated"),
        (GOOD + b"\0", "further bytes follow"),
        (idx_bytes(0x08, (2**32 - 1,) * 3, [1]), "more than the file can hold"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_fault(tmp_path: Path, data: bytes, words: str) -> None:
    pack = gzip.compress if "follow" in words else bytes
    for content in {data, pack(data)}:
        path = written(tmp_path, content)
        with pytest.raises(DataError, match=words) as error:
            idx.read(path)
        assert str(path) in str(error.value)


def test_broken_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(GOOD)
    flipped = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]  # a bit of the checksum
    for content in (whole[:-9], flipped, whole[:12] + b"\xff\xff\xff" + whole[15:], whole + b"rubbish"):
        with pytest.raises(DataError, match="cannot be read"):
            idx.read(written(tmp_path, content))


def test_a_digest_that_differs_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with pytest.raises(DataError, match="not the file it should be"):
        idx.read(path, "0" * 64)


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match="cannot be read"):
            idx.read(path)


def test_memory_is_taken_for_bytes_not_for_claims(tmp_path: Path) -> None:
    claim = struct.pack(">BBBBI", 0, 0, 0x08, 1, 50_000_000)
    path = written(tmp_path, gzip.compress(claim + np.random.default_rng(0).bytes(60_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="only 60000 follow"):
        idx.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
