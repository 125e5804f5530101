"""CSV in every layout comes out the same; broken rows are named by line and column."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pytest

from nnbackprop.data import load
from nnbackprop.data.readers import csv
from nnbackprop.errors import DataError
from nnbackprop.runs.samples import rows_of_numbers
from tests.support.data_files import assert_refused, write_file
from tests.support.memory import load_in_subprocess

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (30, 64), np.uint8)
LABELS = np.arange(30) % 10
TABLE = np.column_stack([LABELS, PIXELS])
PIXEL_NAMES = ",".join(f"pixel{i}" for i in range(64))
HEADER = f"label,{PIXEL_NAMES}\n"
ROWS = "\n".join(",".join(map(str, row)) for row in TABLE.tolist())
ROWS_LABEL_LAST = "\n".join(",".join(map(str, [*row[1:], row[0]])) for row in TABLE.tolist())
LAYOUTS = {
    "Kaggle's": HEADER + ROWS,
    "pjreddie's": ROWS,
    "label last": f"{PIXEL_NAMES},label\n{ROWS_LABEL_LAST}",
    "spaces": (HEADER + ROWS).replace(",", ", "),
    "quotes and CRLF": "\r\n".join(f'"{line}"' for line in (HEADER + ROWS).replace(",", '","').split("\n")),
    "byte-order mark": "\ufeff" + ROWS,
    "byte-order mark and header": "\ufeff" + HEADER + ROWS,
    "blank lines at the end": ROWS + "\n\n\n",
    "blank lines between": ROWS.replace("\n", "\n\n"),
}


@pytest.mark.parametrize("block_size", [1, 300, 301, 5000, csv.BLOCK_SIZE])
@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_and_block_size_do_not_change_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block_size: int
) -> None:
    monkeypatch.setattr(csv, "BLOCK_SIZE", block_size)
    train = load(write_file(tmp_path / "x.csv", text), split=False).train
    assert train.inputs.dtype == np.uint8
    assert np.array_equal(train.inputs, PIXELS)
    assert train.targets.tolist() == LABELS.tolist()
    assert train.image_shape == (8, 8)


def test_floats_are_read_as_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = RNG.random((30, 64))
    np.savetxt(tmp_path / "x.csv", np.column_stack([LABELS, values]), delimiter=",")
    train = load(tmp_path / "x.csv", split=False).train
    assert train.inputs.dtype == np.float32
    assert np.array_equal(train.inputs, values.astype(np.float32))
    assert train.targets.tolist() == LABELS.tolist()
    assert train.classes == tuple("0123456789")
    monkeypatch.setattr(csv, "BLOCK_SIZE", 1000)  # of several blocks, the last one alone has a float
    inputs = load(write_file(tmp_path / "x.csv", ROWS + ".5"), split=False).train.inputs
    assert (inputs.dtype, inputs[-1, -1]) == (np.float32, PIXELS[-1, -1] + 0.5)
    assert np.array_equal(inputs[:-1], PIXELS[:-1])


@pytest.mark.parametrize("text", [f"{PIXEL_NAMES}\n{'1,' * 63}1\n", f"{'1,' * 63}1\n"], ids=["header", "bare"])
def test_file_without_labels_is_refused(tmp_path: Path, text: str) -> None:
    assert_refused(write_file(tmp_path / "x.csv", text), "has 64 columns and none of them is the label")


MANY = "".join(f"{i % 3},{i}.5\n" for i in range(20))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no rows"),
        ("label,a,b\n", "holds no samples, only a header"),
        ("just words\n", "holds no samples, only a header"),
        ("7\n8\n", "no feature is left beside the target"),
        ("label,a,b\n1,2,3\n4,5\n", "line 3: has 2 values; 3 are needed"),
        ("label,a,b\n1,2,3\n4,5,6,7\n", "line 3: has 4 values; 3 are needed"),
        (f"label,a\n\n{MANY}1,x\n", "line 23, column 'a': 'x' is not a number, and nearly all others"),
        (f"{MANY}1,0x1F\n", "line 21, column 'column_2': '0x1F' is not a number"),
        ("a,label\n4,1\n,0\n", "line 3, column 'a': the value is missing, as 1 of 2 are"),
        ("a,label\n4,1\nnan,0\n", "line 3, column 'a': the value is missing"),
        ('a,label\n"4\n",1\n\n,0\n', "line 5, column 'a': the value is missing"),
        ("a,label\n4,1\n5,\n", "line 3, column 'label': the target is missing, in 1 of 2 rows"),
        ('1,2,3\n"4,5,6\n', "after line"),
        (f"{MANY}\n\n1,x\n".encode("utf-16"), "line 23, column 'column_2': 'x' is not a number"),
        (b"\xff\xfe1,2\n\n", "cannot be read as CSV: 'utf-16"),
        ("label,a,b\n1,2,3\n1,1e999,3\n", "line 3, column 'a': the value is infinite"),
        ('1,2\n1,"', "after line"),  # polars panics at a quote that is not closed, and a panic is no Exception
        ('a,b\n1,3\n2,"', "after line"),
    ],
)
def test_broken_file_is_refused_by_name_and_fault(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert_refused(write_file(tmp_path / "x.csv", text), words)


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX's")
def test_reading_mnist_as_csv_takes_at_most_three_times_the_memory_of_the_file(tmp_path: Path) -> None:
    train = load("mnist").train
    frame = polars.DataFrame(train.inputs).insert_column(0, polars.Series("label", train.targets))
    frame.write_csv(tmp_path / "large.csv")
    frame.head(50).write_csv(tmp_path / "small.csv")
    shape, growth = load_in_subprocess(tmp_path / "small.csv", tmp_path / "large.csv")
    assert shape == "(60000, 784)"
    assert growth <= 3 * (tmp_path / "large.csv").stat().st_size


def read_rows(path: Path) -> np.ndarray:
    return rows_of_numbers(csv.read(path), 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "holds no rows"),
        (b"1,2\n3\n", "line 2: has 1 values; 2 are needed"),
        (b"1,two\n", "line 1, column 'column_2': 'two' is not a number"),
        (b"1,2\n3,\n", "line 2, column 'column_2': the value is missing"),
        (b"1,2,3\n", "has 3 numbers a row .* and this network takes 2"),
        (b"\xff\xfe1", "cannot be read as CSV"),
    ],
)
def test_rows_to_predict_are_numbers_or_refused(tmp_path: Path, text: bytes, words: str) -> None:
    assert_refused(write_file(tmp_path / "x.csv", text), words, read_rows)


@pytest.mark.parametrize("text", ["1,2\r\n3,4\r\n", "\ufeff1,2\n3,4", "a,b\n1,2\n3,4\n", "y,a,b\n7,1,2\n7,3,4\n"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_rows_to_predict_may_have_a_header_or_labels(
    tmp_path: Path, text: str, compress: Callable[[bytes], bytes]
) -> None:
    path = write_file(tmp_path / "x.csv", compress(text.encode()))
    assert read_rows(path).tolist() == [[1, 2], [3, 4]]


def test_rows_to_predict_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_rows(Path("file://" + str(tmp_path / "x.csv")))
