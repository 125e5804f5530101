"""Files that are not what their names say: pipes, arrays of other kinds, labels that are no text, odd bytes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from scipy.io.matlab import MatlabObject
from scipy.sparse import csc_array

from nnbackprop.data import load
from nnbackprop.data.readers import csv
from nnbackprop.errors import DataError

X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 0, 1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(DataError, match="is a pipe or a device"):
        load(tmp_path / "x.csv")


@pytest.mark.parametrize("spec", ["x" * 5000, "~nobody-of-this-name/x", "a\0b", ""])
def test_names_no_file_can_have(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        load(spec)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (MatlabObject(np.array([(1.0,)], [("a", float)]), "thing"), "X is an object"),
        (csc_array(X), "X is a sparse matrix"),
        (X + 1j, "X is complex"),
        ({"a": {"b": X}}, "X is a struct"),
        (np.array([[X, "a"], [{}, 1]], object), "X is a cell array"),
    ],
    ids=["object", "sparse", "complex", "struct", "cell"],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_mat_variables_that_are_no_numbers_are_called_what_they_are(
    tmp_path: Path, x: object, words: str, compressed: bool
) -> None:
    savemat(tmp_path / "x.mat", {"X": x, "y": Y}, do_compression=compressed)
    with pytest.raises(DataError, match=words):
        load(tmp_path / "x.mat")


def test_names_in_a_file_reach_no_terminal_as_commands(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"\x1b[2J": X, "y": Y, **{f"z{i}": Y for i in range(50)}})
    with pytest.raises(DataError, match=r"holds '\\x1b\[2j', y, z0.* \.\.\.; x_train") as error:
        load(tmp_path / "x.npz")
    assert "z49" not in str(error.value)
    savemat(tmp_path / "x.mat", {"ab": X})
    content = (tmp_path / "x.mat").read_bytes()
    (tmp_path / "x.mat").write_bytes(content.replace(b"ab", b"\x1b["))
    with pytest.raises(DataError, match=r"called '\\x1b\[', which is no name"):
        load(tmp_path / "x.mat")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([b"\xff", b"a", b"b", b"c"]), r"'\\\\xff' of sample 0"),
        (np.array([0x110000, 1, 2, 3], np.uint32).view("<U1"), "bytes that are no text"),
        (np.array([2**64 - 1, 0, 1, 2], np.uint64), "18446744073709551615 of sample 0"),
        (np.array([0, 1, 2, np.inf]), "inf of sample 3"),
        (np.array(["a" * 200] * 4), "text of 200 characters"),
    ],
)
def test_labels_that_no_class_can_be_called(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    np.savez(tmp_path / "x.npz", X=X, y=labels)
    with pytest.raises(DataError, match=words):
        load(tmp_path / "x.npz")


def test_the_first_label_at_fault_is_found_wherever_it_is(tmp_path: Path) -> None:
    for row in (0, 1, 500, 998, 999):
        labels = np.arange(1000.0) % 3
        labels[row:] = np.nan
        np.savez(tmp_path / "x.npz", X=np.zeros((1000, 2)), y=labels)
        with pytest.raises(DataError, match=f"label nan of sample {row} "):
            load(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbflabel,a,b\r\n7,1,2\r\n\r\n9,3,4\r\n",
        b'"label","a","b"\n"7","1","2"\n"9","3","4"',
        b"label, a, b\n7, 1, 2\n9, 3, 4\n",
    ],
    ids=["BOM and CRLF", "quoted", "spaces"],
)
def test_csv_in_other_hands_is_the_same_table(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(text)
    table = csv.read(tmp_path / "x.csv")
    assert table.inputs.tolist() == [[1, 2], [3, 4]]
    assert [int(label) for label in table.labels] == [7, 9]


def test_a_block_that_begins_with_a_blank_line_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK", 6)
    (tmp_path / "x.csv").write_bytes(b"7,1,2\n\n\n9,3,4\n8,5,6\n")
    assert csv.read(tmp_path / "x.csv").inputs.tolist() == [[1, 2], [3, 4], [5, 6]]


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
    (tmp_path / "x.csv").write_bytes(text)
    with pytest.raises(DataError, match=words):
        csv.read_rows(tmp_path / "x.csv")


def test_rows_to_predict_are_neither_fetched_nor_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot be read as rows"):
        csv.read_rows(Path("file://" + str(tmp_path / "x.csv")))
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    with pytest.raises(DataError, match="cannot be read as rows"):
        csv.read_rows(tmp_path / "x.csv.gz")
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf1,2\r\n3,4\r\n")
    assert csv.read_rows(tmp_path / "x.csv").tolist() == [[1, 2], [3, 4]]
