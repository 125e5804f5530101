"""Small files that would become large ones: refused by what they claim, or as soon as they have growth too far.

Memory is judged where it is taken: by tracemalloc for Python and NumPy, by the process's peak where polars reads.
"""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from scipy.io import savemat

from nnbackprop.data import limits, load
from nnbackprop.data.readers import parquet
from nnbackprop.errors import DataError, UsageError
from tests.support.data_files import assert_refused, idx, npy, write_file
from tests.support.memory import load_in_subprocess, peak_of

CAP = 2**20
ZEROS = 2**26
LABELS = np.arange(2) % 2
EIGHT = npy((2, 8), bytes(16))


@pytest.fixture(autouse=True)
def cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(CAP))


def long_header() -> bytes:
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", ZEROS) + b" " * ZEROS


def zipped(x: bytes, y: bytes = npy((2,), b"\0\1"), packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        archive.writestr("X.npy", x)
        archive.writestr("y.npy", y)
    return buffer.getvalue()


def mat(path: Path) -> bytes:
    savemat(path, {"X": np.zeros((2, ZEROS // 2), np.uint8), "y": LABELS}, do_compression=True)
    return path.read_bytes()


TOO_MUCH = r"would take [\d,]+ bytes of memory, and one file may take 1,048,576.*NNBACKPROP_MAX_BYTES=\d+"
BOMBS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "idx, 10^12 images": (lambda _: idx((10**6, 10**6), b"abc"), "more than the file can hold"),
    "idx.gz, 10^12 images": (lambda _: gzip.compress(idx((10**6, 10**6), b"abc")), "more than the file can hold"),
    "idx.gz of zeros": (lambda _: gzip.compress(idx((2, ZEROS // 2), bytes(ZEROS))), TOO_MUCH),
    "npz of zeros": (lambda _: zipped(npy((2, ZEROS // 2), bytes(ZEROS))), TOO_MUCH),
    "npz, 10^12 images": (lambda _: zipped(npy((10**12, 784), b"abc")), "but fewer follow"),
    "npz of rows of no values": (lambda _: zipped(npy((10**12, 0), b"")), TOO_MUCH),
    "npz with less than nothing": (lambda _: zipped(npy((-(10**12), -1), b"")), "but fewer follow"),
    "npz with a long header": (lambda _: zipped(long_header()), "header is longer"),
    "npz of bz2": (
        lambda _: zipped(npy((2, 8), bytes(ZEROS)), packing=zipfile.ZIP_BZIP2),
        "not compressed as numpy",
    ),
    "npz of lzma": (
        lambda _: zipped(npy((2, 8), bytes(ZEROS)), packing=zipfile.ZIP_LZMA),
        "not compressed as numpy",
    ),
    "npz of wide labels": (lambda _: zipped(EIGHT, npy((2,), bytes(1200), "<U150")), "text of 150 characters"),
    "mat of zeros": (mat, TOO_MUCH),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_takes_its_memory(tmp_path: Path, name: str) -> None:
    make, words = BOMBS[name]
    path, labels = tmp_path / "x-images", tmp_path / "x-labels"
    write_file(path, make(path))
    write_file(labels, idx((2,), b"\0\1"))
    load("weight-height")  # what is imported late is not the file's
    assert peak_of(lambda: assert_refused(path, words)) < 4 * CAP


N = 4000
TENS = np.resize(np.arange(1, 11), (N, 1))
FULL: dict[str, dict[str, object]] = {
    "bytes, one a sample": {"X": np.full((40 * N, 1), 3, "u1"), "y": np.zeros(40 * N, "u1")},
    "bytes by columns": {"X": np.full((999, N), 3, "u1").T, "y": np.zeros(N)},
    "signed bytes": {"X": np.full((N, 999), -3, "i1"), "y": np.zeros(N)},
    "half floats": {"X": np.full((N, 999), 0.5, "f2"), "y": np.zeros(N)},
    "wide integers": {"X": np.full((N, 999), 2**30, ">u4"), "y": np.zeros(N)},
    "nothing finite": {"X": np.full((N, 999), np.nan, "f4"), "y": np.zeros(N)},
    "labels of text": {"X": np.full((9 * N, 1), 3, "u1"), "y": np.full(9 * N, "7".zfill(128))},
    "as many classes as samples": {"X": np.full((9 * N, 1), 3, "u1"), "y": np.arange(9 * N)},
    "parts of two types": {
        "x_train": np.full((N, 999), 3, "u1"),
        "y_train": np.zeros(N),
        "x_test": np.ones((1, 999)),
        "y_test": [0],
    },
    "doubles on their side": {"X": np.full((N, 400), 0.5), "y": TENS},
    "signed bytes on their side": {"X": np.full((N, 400), -3, "i1"), "y": TENS},
}


@pytest.mark.parametrize("name", FULL)
def test_a_file_as_large_as_it_may_be_takes_less_than_four_times_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The least limit is found by setting it to what each refusal says, which must so come to an end."""
    path = tmp_path / ("x.mat" if name.endswith("on their side") else "x.npz")
    if path.suffix == ".mat":
        savemat(path, FULL[name], do_compression=True)
    else:
        np.savez(path, **FULL[name])
    limit, peak = 0, 0

    def needed() -> str:
        try:
            load(path, split=False)
        except DataError as error:
            return str(error).partition(f"{limits.ENVIRONMENT_VARIABLE}=")[2].partition(" ")[0]
        return ""

    asked = ["1"]
    while asked[-1]:
        limit = int(asked[-1])
        monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, asked[-1])
        peak = peak_of(lambda: asked.append(needed()))
    assert 10**6 < limit < peak * 8
    assert peak < 4 * limit


@pytest.mark.parametrize("words", ["0", "-1", "4GiB", "1e9", "9" * 30, "²"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=np.zeros((2, 2)), y=[0, 1])
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, words)
    with pytest.raises(UsageError, match="NNBACKPROP_MAX_BYTES is"):
        load(tmp_path / "x.npz")


def test_an_empty_limit_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, "")
    assert limits.max_bytes() == 4 * 2**30


SMALL = b"label,a\n" + b"1,2\n" * 2**20
TEXT_BOMBS = {
    "zlib, which polars inflates unasked": (
        b"label," + b"a" * 600 + b"\n" + zlib.compress(b"1,2\n" * 2**25, 9),
        "no row of 2 values",
    ),
    "a label as wide as a book, beside short ones": (
        b"label,a\n" + b"x" * 100_000 + b",1\n" + b"1,2\n" * 10**6,
        "is not a number, and nearly all others",
    ),
    "half a million columns": (b"1," * 2**19 + b"1\n", "65537 are read at most"),
    "a line without an end": (b"label,a\n1," + b"1" * 2**25, "after line|line 2"),
    "a field without an end": (b'label,"' + b"a" * 2**24, "larger than field limit"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX's")
@pytest.mark.parametrize("name", TEXT_BOMBS)
def test_text_that_would_grow_is_refused(tmp_path: Path, name: str) -> None:
    files = write_file(tmp_path / "small.csv", SMALL), write_file(tmp_path / "x.csv", TEXT_BOMBS[name][0])
    environment = {limits.ENVIRONMENT_VARIABLE: str(2**28), "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    output, growth = load_in_subprocess(*files, **environment)
    assert any(words in output for words in TEXT_BOMBS[name][1].split("|")), output
    assert growth < 2**26


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        (polars.String, "write_parquet"),
        (polars.String, "write_ipc"),
        (polars.Categorical, "write_parquet"),
        (polars.Binary, "write_parquet"),
    ],
)
def test_long_equal_cells_count_as_often_as_they_occur(tmp_path: Path, kind: Any, write: str) -> None:
    """A file of a few kB holds 150 MB: the cells refer to one text."""
    long = polars.Series(["x" * 50_000]).cast(kind).gather([0] * 3000)
    path = tmp_path / "x"
    getattr(polars.DataFrame({"a": long, "b": range(3000), "label": [0, 1] * 1500}), write)(path)
    reads: list[Callable[[], object]] = [lambda: list(parquet.read_blocks(path)), lambda: parquet.read(path)]
    for read in reads[: 1 if kind == polars.Binary else 2]:  # whose columns no table has

        def refuse(read: Callable[[], object] = read) -> None:
            with pytest.raises(DataError, match=TOO_MUCH):
                read()

        assert peak_of(refuse) < CAP


def test_control_characters_in_names_are_escaped(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"\x1b[2J": LABELS, "y": LABELS, **{f"z{i}": LABELS for i in range(50)}})
    with pytest.raises(DataError, match=r"holds '\\x1b\[2j', y, z0.* \.\.\.; x_train") as error:
        load(tmp_path / "x.npz")
    assert "z49" not in str(error.value)
    savemat(tmp_path / "x.mat", {"ab": LABELS})
    write_file(tmp_path / "x.mat", (tmp_path / "x.mat").read_bytes().replace(b"ab", b"\x1b["))
    assert_refused(tmp_path / "x.mat", r"called '\\x1b\[', which is no name")
