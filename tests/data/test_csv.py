"""CSV as NumPy, polars and the csv module write it, in both layouts; broken rows are named by line and column."""

from __future__ import annotations

import csv as stdlib_csv
import gzip
import sys
from pathlib import Path

import numpy as np
import polars
import pytest

from nnbackprop.data import load
from nnbackprop.data.readers import csv
from nnbackprop.errors import DataError
from tests.support.data_files import refused, written
from tests.support.memory import load_in_a_process

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (30, 64), np.uint8)
LABELS = np.arange(30) % 10
TABLE = np.column_stack([LABELS, PIXELS])
HEADER = ",".join(["label", *(f"pixel{i}" for i in range(64))])


def check_same(path: Path) -> None:
    raw = csv.read(path)
    assert raw.inputs.dtype == np.uint8
    assert np.array_equal(raw.inputs, PIXELS)
    assert raw.labels.astype(int).tolist() == LABELS.tolist()
    assert raw.image_shape == (8, 8)


def test_kaggle_and_pjreddie_layouts_are_read(tmp_path: Path) -> None:
    frame = polars.DataFrame(TABLE, schema=HEADER.split(","), orient="row")
    frame.write_csv(tmp_path / "x.csv")
    check_same(tmp_path / "x.csv")
    frame.select(*frame.columns[1:], "label").write_csv(tmp_path / "last.csv")
    check_same(tmp_path / "last.csv")
    np.savetxt(tmp_path / "x.csv", TABLE, fmt="%d", delimiter=",")
    check_same(tmp_path / "x.csv")


def test_spaces_quotes_blank_lines_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "spaces.csv", TABLE, fmt="%d", delimiter=", ", header=HEADER, comments="")
    check_same(tmp_path / "spaces.csv")
    with (tmp_path / "quoted.csv").open("w", newline="") as stream:  # the csv module ends lines with CRLF
        stdlib_csv.writer(stream, quoting=stdlib_csv.QUOTE_ALL).writerows([HEADER.split(","), *TABLE.tolist()])
    check_same(tmp_path / "quoted.csv")
    text = "\n".join(",".join(map(str, row)) for row in TABLE.tolist())
    headed, gaps = HEADER + "\n" + text, text.replace("\n", "\n\n")
    for body in (text, "\ufeff" + text, "\ufeff" + headed, text + "\n\n\n", gaps):
        check_same(written(tmp_path / "x.csv", body))


def test_floats_are_read_as_float32(tmp_path: Path) -> None:
    values = RNG.random((30, 64))
    np.savetxt(tmp_path / "x.csv", np.column_stack([LABELS, values]), delimiter=",")
    train = load(tmp_path / "x.csv", split=False).train
    assert train.inputs.dtype == np.float32
    assert np.array_equal(train.inputs, values.astype(np.float32))
    assert train.targets.tolist() == LABELS.tolist()
    assert train.classes == tuple("0123456789")


def test_a_float_in_a_late_block_makes_all_blocks_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_SIZE", 1000)
    values = PIXELS.astype(float)
    values[-1, -1] = 0.5
    rows = [[label, *row] for label, row in zip(LABELS.tolist(), values.tolist(), strict=True)]
    path = written(tmp_path / "x.csv", "\n".join(",".join(f"{v:g}" for v in row) for row in rows))
    assert np.array_equal(csv.read(path).inputs, values)


def test_the_table_does_not_depend_on_the_block_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savetxt(tmp_path / "x.csv", TABLE, fmt="%d", delimiter=",", header=HEADER, comments="")
    for size in (1, 300, 301, 5000):
        monkeypatch.setattr(csv, "BLOCK_SIZE", size)
        check_same(tmp_path / "x.csv")


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "test.csv", PIXELS, fmt="%d", delimiter=",", header=HEADER[6:], comments="")
    np.savetxt(tmp_path / "bare.csv", PIXELS, fmt="%d", delimiter=",")
    for name in ("test.csv", "bare.csv"):
        refused(tmp_path / name, rf"{name}: has 64 columns and none of them is the label", csv.read)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a row of a label and features"),
        ("label,a,b\n", "holds no samples, only a header"),
        ("just words\n", "not a row of a label and features"),
        ("label,a,b\n1,2,3\n4,5\n", "line 3: has 2 values; 3 are needed"),
        ("label,a,b\n1,2,3\n4,5,6,7\n", "line 3: has 4 values; 3 are needed"),
        ("1,2,3\n4,5,x\n", "line 2, column 3: 'x' is not a number"),
        ("1,2,3\n4,,6\n", "line 2, column 2: '' is not a number"),
        ("1,2,3\n,5,6\n", "line 2, column 1: '' is not a number"),
        ("1,2,3\n4,5,0x1F\n", "line 2, column 3: '0x1F'"),
        ('1,2,3\n"4,5,6\n', "after line 0"),
        (b"label,a,b\n1,2,\xff\n", "after line 1"),
        (b"\xff\xfe1,2\n", "cannot be read as CSV: 'utf-8'"),
        ("label,a,b\n1,2,nan\n", r"1 of 2 input values are not finite, the first \(nan\) at sample 0, feature 1"),
        ("label,a,b\n1,2,3\n1,1e999,3\n", r"\(inf\) at sample 1, feature 0"),
        ("label,a,b\ncat,2,3\n", "label 'cat' of sample 0 is not a whole number"),
        ("label,a,b\n1,2,3\n1.5,2,3\n", "label '1.5' of sample 1"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_fault(tmp_path: Path, text: str | bytes, words: str) -> None:
    refused(written(tmp_path / "x.csv", text), words)


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX's")
def test_reading_mnist_as_csv_takes_at_most_three_times_the_memory_of_the_file(tmp_path: Path) -> None:
    train = load("mnist").train
    frame = polars.DataFrame(train.inputs).insert_column(0, polars.Series("label", train.targets))
    frame.write_csv(tmp_path / "large.csv")
    frame.head(50).write_csv(tmp_path / "small.csv")
    shape, grown = load_in_a_process(tmp_path / "small.csv", tmp_path / "large.csv")
    assert shape == "(60000, 784)"
    assert grown <= 3 * (tmp_path / "large.csv").stat().st_size


@pytest.mark.parametrize("data", [b'1,2\n1,"', b'0,1\n1,2\n,\n"', b'a,b\n1,3\n2,"'])
def test_an_unclosed_quote_at_the_end_is_refused(data: bytes, tmp_path: Path) -> None:
    """polars panics at it, which is no ordinary exception."""
    refused(written(tmp_path / "x.csv", data), None, csv.read)


def test_a_block_may_begin_with_a_blank_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_SIZE", 6)
    path = written(tmp_path / "x.csv", "7,1,2\n\n\n9,3,4\n8,5,6\n")
    assert csv.read(path).inputs.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "holds no samples"),
        (b"# only words\n", "holds no samples"),
        (b"1,2\n3\n", "cannot be read as rows of numbers"),
        (b"1,two\n", "cannot be read as rows of numbers"),
        (b"\xff\xfe1\n", "cannot be read as rows of numbers"),
    ],
)
def test_rows_to_predict_are_numbers_or_refused(tmp_path: Path, text: bytes, words: str) -> None:
    refused(written(tmp_path / "x.csv", text), words, csv.read_rows)


def test_rows_to_predict_are_neither_fetched_nor_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = "cannot be read as rows"
    with pytest.raises(DataError, match=words):
        csv.read_rows(Path("file://" + str(tmp_path / "x.csv")))
    refused(written(tmp_path / "x.csv.gz", gzip.compress(b"1,2\n")), words, csv.read_rows)
    assert csv.read_rows(written(tmp_path / "x.csv", b"\xef\xbb\xbf1,2\r\n3,4\r\n")).tolist() == [[1, 2], [3, 4]]
