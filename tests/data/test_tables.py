"""Tables as people have them: dialect, target, task and index columns come out right, or are refused in words."""

from __future__ import annotations

import gzip
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import nnbackprop as nb
from nnbackprop.data import load_raw
from nnbackprop.data.convert import convert
from nnbackprop.data.readers import csv
from nnbackprop.data.readers.csv_dialect import MAX_COLUMNS
from nnbackprop.data.table import DataOptions, column_names, table_of
from nnbackprop.data.tabular import dataset_of
from nnbackprop.errors import DataError, LabelError, UsageError
from tests.support.data_files import assert_refused, write_file

RNG = np.random.default_rng(3)
N = 60
GLUCOSE, BMI, OUTCOME = RNG.integers(0, 200, N), RNG.normal(30, 5, N).round(1), np.arange(N) % 2
DIABETES = "glucose,bmi,outcome\n" + "".join(
    f"{g},{b},{o}\n" for g, b, o in zip(GLUCOSE, BMI, OUTCOME, strict=True)
)
COLOURS = np.array(["red", "green", "blue"])[np.arange(N) % 3]
ANIMALS = np.array(["cat", "dog"])[np.arange(N) % 2]


def load_text(folder: Path, text: str | bytes, name: str = "x.csv", **options: Any) -> nb.Dataset:
    return nb.load(write_file(folder / name, text), split=False, **options).train


def rows(*columns: Any, separator: str = ",") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def test_the_target_is_the_column_of_that_name_not_the_first(tmp_path: Path) -> None:
    train = load_text(tmp_path, DIABETES)
    assert train.target_names == ("outcome",)
    assert train.feature_names == ("glucose", "bmi")
    assert train.targets.tolist() == OUTCOME.tolist()
    assert np.array_equal(train.inputs, np.column_stack([GLUCOSE, BMI]).astype(np.float32))


@pytest.mark.parametrize(
    ("header", "target", "why"),
    [
        ("a,label,b", "label", "by its name"),
        ("y,a,b", "y", "by its name"),
        ("A,B,Class", "Class", "by its name"),
        ("a,b,c", "c", "the last column"),
        ("y,class,b", "class", "by its name"),
    ],
)
def test_the_choice_of_the_target_is_said_with_its_reason(
    tmp_path: Path, header: str, target: str, why: str
) -> None:
    columns = np.arange(N) % 2, np.arange(N) % 2, np.arange(N) % 2
    splits = nb.load(write_file(tmp_path / "x.csv", f"{header}\n{rows(*columns)}"))
    assert splits.description["target"] == f"{target} ({why})"
    assert splits.description["task"].startswith("classification (2 different whole numbers")


@pytest.mark.parametrize("target", ["glucose", 0, -3, ["glucose"]])
def test_a_target_is_named_or_counted(tmp_path: Path, target: Any) -> None:
    train = load_text(tmp_path, DIABETES, target=target)
    assert train.feature_names == ("bmi", "outcome")
    assert train.task == "regression"
    assert train.targets[:, 0].tolist() == GLUCOSE.tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "price"}, r"target='price': .* has no such column\. It has 3: glucose, bmi, outcome"),
        ({"target": 7}, "target='7': .* has no such column"),
        ({"drop": ["outcome"], "target": "outcome"}, "outcome is a target and named by drop"),
        ({"task": "guess"}, "cannot be read so: Invalid enum value 'guess'"),
        ({"colour": 1}, "cannot be read so: there is no option 'colour'"),
        ({"separator": "ab"}, "one character is needed, or tab"),
        ({"encoding": "ebcdic"}, "'ebcdic' is not read"),
    ],
)
def test_an_option_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_text(tmp_path, DIABETES, **options)


def test_pandas_numbered_header_is_no_sample(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (N, 784))
    text = ",".join(map(str, range(785))) + "\n" + rows(np.arange(N) % 10, *pixels.T)
    train = load_text(tmp_path, text)
    assert train.inputs.shape == (N, 784)
    assert train.inputs.dtype == np.uint8
    assert np.array_equal(train.inputs, pixels)
    assert train.targets.tolist() == (np.arange(N) % 10).tolist()
    assert train.target_names == ("0",)
    assert train.image_shape == (28, 28)
    assert nb.fit_scaling("unit", train).scale == 1 / 255  # which the header's 784 switched off


def test_an_id_is_no_feature_and_a_test_csv_without_labels_is_left_out(tmp_path: Path) -> None:
    write_file(tmp_path / "train.csv", "id,a,b,label\n" + rows(range(N), BMI, GLUCOSE, OUTCOME))
    write_file(tmp_path / "test.csv", "id,a,b\n" + rows(range(N, 2 * N), BMI, GLUCOSE))
    train, test = (lambda s: (s.train, s.test))(nb.load(tmp_path))
    assert train.feature_names == ("a", "b")
    assert train.classes == test.classes == ("0", "1")
    assert (len(train), len(test)) == (48, 12)
    assert any("test.csv has no labels (column label) and was left out" in note for note in train.reader_notes)
    assert any("'id' has another value in every row" in note for note in train.reader_notes)


def test_columns_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    write_file(tmp_path / "train.csv", "label,a,b,c\n" + rows(OUTCOME, GLUCOSE, BMI, COLOURS))
    write_file(tmp_path / "test.csv", "label,c,b,a\n" + rows(OUTCOME, COLOURS, BMI, GLUCOSE))
    splits = nb.load(tmp_path)
    assert np.array_equal(splits.train.inputs, splits.test.inputs)
    write_file(tmp_path / "test.csv", "label,c,a\n" + rows(OUTCOME, COLOURS, GLUCOSE))
    with pytest.raises(DataError, match=r"test.csv has no column b, which the network was trained on"):
        nb.load(tmp_path)


def test_a_first_line_with_a_missing_value_is_no_header(tmp_path: Path) -> None:
    train = load_text(tmp_path, f"0,1,NA,0\n{rows(GLUCOSE, GLUCOSE, BMI, OUTCOME)}", missing="mean")
    assert len(train) == N + 1
    assert train.inputs[0].tolist() == [0, 1, np.float32(BMI.mean()), 1]  # the last is the indicator


@pytest.mark.parametrize("first", [",", '"",', '"Unnamed: 0",', ""])
@pytest.mark.parametrize("separator", [",", "\t", ";", " "])
def test_row_names_are_no_feature(tmp_path: Path, first: str, separator: str) -> None:
    """pandas writes an empty name, R write.csv a quoted one, and R write.table leaves it out."""
    header = f"{first}a,b,label\n".replace(",", separator)
    columns = range(1, N + 1), GLUCOSE, BMI, np.sort(OUTCOME)
    train = load_text(tmp_path, header + rows(*columns, separator=separator))
    assert train.feature_names == ("a", "b")
    assert np.array_equal(train.inputs, np.column_stack([GLUCOSE, BMI]).astype(np.float32))
    assert any(
        "numbers the rows and was left out" in note or "another value" in note for note in train.reader_notes
    )


def test_every_row_with_its_own_label_is_refused_with_the_column(tmp_path: Path) -> None:
    text = "label,a\n" + rows(range(N), GLUCOSE)
    with pytest.raises(
        DataError, match=r"every row has its own label in column 'label' \(the first are 0, 1, 2\)"
    ):
        load_text(tmp_path, text)
    text = "a,name\n" + rows(GLUCOSE, [f"n{i}" for i in range(N)])
    with pytest.raises(DataError, match="every row has its own label in column 'name'"):
        load_text(tmp_path, text)


MIXED = {
    "comma": rows(BMI, COLOURS, ANIMALS),
    "semicolon": rows(BMI, COLOURS, ANIMALS, separator=";"),
    "tab": rows(BMI, COLOURS, ANIMALS, separator="\t"),
    "pipe": rows(BMI, COLOURS, ANIMALS, separator="|"),
    "space": rows(BMI, COLOURS, ANIMALS, separator=" "),
    "semicolon and decimal comma": rows([str(b).replace(".", ",") for b in BMI], COLOURS, ANIMALS, separator=";"),
    "quotes": rows([f'"{b}"' for b in BMI], [f'"{c}"' for c in COLOURS], ANIMALS),
}
SEPARATOR = {"comma": ",", "quotes": ",", "tab": "\t", "pipe": "|", "space": " "}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_dialects_are_detected(tmp_path: Path, name: str, header: bool, encoding: str, compress: Any) -> None:
    separator = SEPARATOR.get(name, ";")
    text = (separator.join(["größe", "colour", "animal"]) + "\n" if header else "") + MIXED[name]
    train = load_text(tmp_path, compress(text.replace("red", "röt").encode(encoding)))
    size, colour = ("größe", "colour") if header else ("column_1", "column_2")
    assert train.feature_names == (size, *(f"{colour}={c}" for c in ("blue", "green", "röt")))
    assert train.classes == ("cat", "dog")
    assert np.array_equal(train.inputs[:, 0], BMI.astype(np.float32))
    assert np.array_equal(train.inputs[:, 2], COLOURS == "green")
    assert train.targets.tolist() == (np.arange(N) % 2).tolist()


def test_the_old_macs_line_ends_and_windows_letters_are_read(tmp_path: Path) -> None:
    text = "preis €,colour,animal\n" + rows(BMI, COLOURS, ANIMALS).replace("red", "rot – hell")
    train = load_text(tmp_path, text.encode("cp1252"))
    assert train.feature_names[0] == "preis €"
    assert train.feature_names[3] == "colour=rot – hell"
    assert train.reader_notes == ("is not UTF-8 and was read as cp1252; encoding says what it is",)
    by_cr = load_text(tmp_path, text.replace("\n", "\r"))
    assert by_cr.feature_names == train.feature_names
    assert np.array_equal(by_cr.inputs, train.inputs)
    slip = ("a,b\n" + rows(["1", "2", "x", *GLUCOSE[3:]], ANIMALS)).replace("\n", "\r")
    with pytest.raises(DataError, match="line 4, column 'a': 'x' is not a number"):
        load_text(tmp_path, slip)


@pytest.mark.parametrize(
    ("above", "line", "columns"),
    [
        ("Sales of 2024\n", "'Sales of 2024'", 3),
        ("Sales of 2024\n", "'Sales of 2024'", 2),
        ("# exported on Monday, 3rd\n# by a program\n", "'# by a program'", 3),
        ("sep=,\n", "'sep=,'", 3),
        ("sep=,\n", "'sep=,'", 2),
    ],
)
def test_a_title_above_the_header_is_named(tmp_path: Path, above: str, line: str, columns: int) -> None:
    table = "bmi,animal\n" + rows(BMI, ANIMALS)
    if columns == 3:
        table = "colour,bmi,animal\n" + rows(COLOURS, BMI, ANIMALS)
    with pytest.raises(DataError, match=f"{line} stands above a table of {columns} columns"):
        load_text(tmp_path, above + table)


def test_columns_of_one_name_are_told(tmp_path: Path) -> None:
    train = load_text(tmp_path, "a,a,b\n" + rows(GLUCOSE, BMI, ANIMALS))
    assert train.feature_names == ("a", "a_2")
    assert train.reader_notes == ("the name 'a' occurs again: that column is 'a_2' here",)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(np.column_stack([GLUCOSE, BMI, OUTCOME]), columns=["a", "a", "b"])
    assert nb.load(frame, split=False).train.reader_notes == train.reader_notes


def test_truth_values_are_classes_under_one_name_whatever_holds_them(tmp_path: Path) -> None:
    flags = OUTCOME == 1
    frame = {"a": BMI, "flag": flags}
    polars.DataFrame(frame).write_parquet(tmp_path / "x.parquet")
    sources = [frame, polars.DataFrame(frame), str(tmp_path / "x.parquet")]
    found = [nb.load(source, split=False).train for source in sources]
    found += [
        load_text(tmp_path, "a,flag\n" + rows(BMI, np.where(flags, *c)))
        for c in (("true", "false"), ("TRUE", "FALSE"))
    ]
    found += [nb.Dataset({"a": BMI}, flags)]
    for data in found:
        assert data.classes == ("False", "True")
        assert np.array_equal(data.targets, OUTCOME)


def test_a_space_within_text_separates_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no feature is left .* Its columns are my colour"):
        load_text(tmp_path, "my colour\n" + "light red\ndark blue\n" * 9)


def test_dialects_may_be_said(tmp_path: Path) -> None:
    text = "a;b\n" + rows([f"{b};1" for b in range(N)], ["x"] * N, separator="#")
    train = load_text(tmp_path, text.replace("a;b", "a#b"), separator="#", header="yes", target="b")
    assert train.feature_names[0] == "a=0;1"
    headerless = load_text(tmp_path, "a,b\n" + rows(COLOURS, ANIMALS), header="no", name="y.csv")
    assert len(headerless) == N + 1


def test_a_quoted_separator_and_line_break_are_text(tmp_path: Path) -> None:
    text = "a,note,label\n" + "".join(f'{i},"x, y\nz",{i % 2}\n' for i in range(N))
    train = load_text(tmp_path, text)
    assert train.feature_names == ("a", "note=x, y\nz")
    text = text.replace("7,", "NA,", 1)
    with pytest.raises(DataError, match=f"line {2 + 2 * 7}, column 'a': the value is missing"):
        load_text(tmp_path, text)


def test_uci_adult_as_it_is_published(tmp_path: Path) -> None:
    """No header, a space after each comma, `?` for a missing value, text labels last."""
    work = ["Private"] * 5 + ["?"] + ["Private"] * (N - 6)
    text = rows(range(20, 20 + N), work, COLOURS, ANIMALS).replace(",", ", ")
    with pytest.raises(DataError, match="line 6, column 'column_2': the value is missing"):
        load_text(tmp_path, text)
    train = load_text(tmp_path, text, missing="median")
    assert train.feature_names == (
        "column_1",
        "column_2=Private",
        "column_2=missing",
        *(f"column_3={c}" for c in ("blue", "green", "red")),
    )
    assert train.inputs[5].tolist() == [25, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("column", "task"),
    [
        (ANIMALS, "classification"),
        (np.array(["true", "false"])[OUTCOME], "classification"),
        (np.arange(N) % 5, "classification"),
        (np.arange(N) * 1000, "regression"),
        (BMI, "regression"),
    ],
)
def test_the_task_is_chosen_by_the_targets_values(tmp_path: Path, column: np.ndarray, task: str) -> None:
    assert load_text(tmp_path, "a,b\n" + rows(GLUCOSE, column)).task == task


def test_a_task_that_is_named_is_taken(tmp_path: Path) -> None:
    text = "a,b\n" + rows(GLUCOSE, np.arange(N) % 5)
    assert load_text(tmp_path, text, task="regression").targets.dtype == np.float64
    wide = "a,b\n" + rows(GLUCOSE, np.arange(N) % 30)
    assert len(load_text(tmp_path, wide, task="classification").classes) == 30
    with pytest.raises(DataError, match=r"regression needs numbers .* Write amounts as plain numbers"):
        load_text(tmp_path, "a,b\n" + rows(GLUCOSE, ANIMALS), task="regression")
    with pytest.raises(DataError, match=r"line 2, column 'b': label 0\.5 is not a whole number"):
        load_text(tmp_path, "a,b\n" + rows(GLUCOSE, np.arange(N) % 5 + 0.5), task="classification")


def test_several_targets_are_several_labels_or_several_numbers(tmp_path: Path) -> None:
    text = "a,b,c,d\n" + rows(GLUCOSE, BMI, OUTCOME, OUTCOME[::-1])
    labels = load_text(tmp_path, text, target=["c", "d"])
    assert (labels.task, labels.target_names, labels.classes) == ("multilabel", ("c", "d"), ())
    assert np.array_equal(labels.targets, np.column_stack([OUTCOME, OUTCOME[::-1]]))
    numbers = load_text(tmp_path, text, target=["a", "b"])
    assert (numbers.task, numbers.targets.shape) == ("regression", (N, 2))


def test_dates_are_refused_with_what_to_do(tmp_path: Path) -> None:
    text = "sold,a,label\n" + rows(["2024-01-02"] * N, BMI, OUTCOME)
    with pytest.raises(DataError, match=r"column 'sold' holds dates, such as 2024-01-02, .*drop=\['sold'\]"):
        load_text(tmp_path, text)
    assert load_text(tmp_path, text, drop=["sold"]).feature_names == ("a",)
    frame = polars.DataFrame({"sold": polars.Series(["2024-01-02"] * N).str.to_date(), "a": BMI, "label": OUTCOME})
    with pytest.raises(DataError, match="holds dates"):
        nb.load(frame)


def test_features_and_drop_choose_columns(tmp_path: Path) -> None:
    assert load_text(tmp_path, DIABETES, features=["bmi"]).feature_names == ("bmi",)
    assert load_text(tmp_path, DIABETES, drop=["bmi"]).feature_names == ("glucose",)
    with_id = "id,a,label\n" + rows(range(N), BMI, OUTCOME)
    assert load_text(tmp_path, with_id, features=["id", "a"]).feature_names == ("id", "a")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_parquet_and_arrow_are_read(tmp_path: Path, suffix: str) -> None:
    frame = polars.DataFrame({"a": GLUCOSE, "b": BMI, "c": COLOURS, "label": ANIMALS})
    write = frame.write_parquet if suffix == "parquet" else frame.write_ipc
    write(tmp_path / f"x.{suffix}")
    train = nb.load(tmp_path / f"x.{suffix}", split=False).train
    expected = load_text(tmp_path, "a,b,c,label\n" + rows(GLUCOSE, BMI, COLOURS, ANIMALS))
    assert np.array_equal(train.inputs, expected.inputs)
    assert train.feature_names == expected.feature_names
    content = (tmp_path / f"x.{suffix}").read_bytes()
    assert_refused(write_file(tmp_path / f"cut.{suffix}", content[: len(content) // 2]))


def test_frames_and_dicts_are_tables() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    columns = {"a": GLUCOSE, "b": BMI, "c": COLOURS, "label": ANIMALS}
    tables = [columns, polars.DataFrame(columns), pandas.DataFrame(columns)]
    tables.append(pandas.DataFrame(columns).astype({"c": "category", "a": "Int64"}))
    parts = [nb.load(table, split=False).train for table in tables]
    for part in parts[1:]:
        assert np.array_equal(part.inputs, parts[0].inputs)
        assert part.feature_names == parts[0].feature_names
        assert part.classes == ("cat", "dog")
    holes = pandas.DataFrame({"a": [1.5, None, 2.5], "c": ["x", None, "y"], "label": [0, 1, 0]})
    with pytest.raises(DataError, match="memory, row 1, column 'a': the value is missing"):
        nb.load(holes, split=False)
    filled = nb.load(holes, split=False, missing="mean").train
    assert filled.inputs.tolist() == [[1.5, 0, 1, 0, 0], [2, 1, 0, 0, 1], [2.5, 0, 0, 1, 0]]


def test_a_single_npy_is_a_table_without_names(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.column_stack([BMI, GLUCOSE, OUTCOME]))
    train = nb.load(tmp_path / "x.npy", split=False).train
    assert (train.feature_names, train.target_names) == (("column_1", "column_2"), ("column_3",))
    assert np.array_equal(train.inputs, np.column_stack([BMI, GLUCOSE]).astype(np.float32))
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 4)))
    assert_refused(tmp_path / "x.npy", r"float64 of shape \(2, 3, 4\); a file by itself is a table, numbers")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "has no columns"),
        ({"a": [1, 2], "label": [0]}, r"columns have \{'a': 2, 'label': 1\} values"),
        ({"a": [[1], [2]], "label": [0, 1]}, r"column 'a' has shape \(2, 1\)"),
        ({"a": polars.Series([[1], [2]]), "label": [0, 1]}, "column 'a' is of type List"),
        ({"a": np.array([1, 2], "m8[s]"), "label": [0, 1]}, r"column 'a' is of type timedelta64\[s\]"),
        ({"a": [timedelta(1), timedelta(2)], "label": [0, 1]}, "column 'a' is of type timedelta"),
        ({"a": np.array([1, 2j]), "label": [0, 1]}, "column 'a' is of type complex128"),
        ({"label": [0, 1]}, "no feature is left beside the target label"),
        (7, "A int cannot be loaded"),
    ],
)
def test_what_is_no_table_is_refused(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        nb.load(data)


PLAIN = ("a", "b", "c", "d", "e", "t", "w")
PATTERNS = ("*", "^a.*$", "^.*$", "^colour$", "[0-9]+", "^target$", "^w$")


@pytest.mark.parametrize("source", ["csv", "parquet", "dict", "polars", "pandas"])
def test_a_column_may_have_any_name(tmp_path: Path, source: str) -> None:
    """polars takes * for all columns, and ^...$ for a regular expression, in most of its calls."""
    ages = [None if i % 7 == 3 else float(b) for i, b in enumerate(BMI)]
    values = [GLUCOSE, ages, OUTCOME == 1, COLOURS, BMI, ANIMALS, GLUCOSE + 1]
    parts = []
    for names in (PLAIN, PATTERNS):
        data: Any = dict(zip(names, values, strict=True))
        path = tmp_path / f"{len(parts)}.{source}"
        if source == "pandas":
            data = pytest.importorskip("pandas", reason="pandas is not installed").DataFrame(data)
        elif source != "dict":
            frame = polars.DataFrame(list(data.values()), schema=list(PLAIN), strict=False)
            frame.columns = list(names)
            data = frame if source == "polars" else path
            write = {"csv": frame.write_csv, "parquet": frame.write_parquet}.get(source)
            if write is not None:
                write(path)
        options = {"target": names[5], "missing": "median", "sample_weight": names[6], "split": False}
        parts.append(nb.load(data, **options).train)
        if source in ("csv", "parquet"):
            numbers = DataOptions(target=(names[5],), features=(names[4], names[0]))
            convert(path, tmp_path / names[1], numbers)
            expected = np.column_stack([BMI, GLUCOSE]).astype(np.float32)
            assert np.array_equal(np.load(tmp_path / names[1] / "X.npy"), expected)
    plain, patterns = parts
    assert patterns.feature_names == (
        "*",
        "^a.*$",
        "^a.*$=missing",
        "^.*$",
        *patterns.feature_names[4:7],
        "[0-9]+",
    )
    assert patterns.feature_names[4] == "^colour$=blue"
    for name in ("inputs", "targets", "weights", "classes"):
        assert np.array_equal(getattr(plain, name), getattr(patterns, name))
    unseen = table_of(
        {**dict(zip(PATTERNS[:5], (col[:2] for col in values), strict=False)), "^colour$": ["x", "red"]}
    )
    inputs, notes = patterns.preprocessing.transform(unseen)
    assert np.array_equal(inputs[1, 4:7], [0, 0, 1])
    assert "column '^colour$' has 'x', which training did not have" in notes[0]


@pytest.mark.parametrize("name", ["train.csv.gz", "Train.CSV.gz", "houses_train.tsv.gz"])
def test_gzipped_tables_are_found_in_their_folder_and_alone(tmp_path: Path, name: str) -> None:
    separator = "\t" if "tsv" in name else ","
    head = separator.join(("glucose", "bmi", "outcome")) + "\n"
    text = head + rows(GLUCOSE, BMI, OUTCOME, separator=separator)
    write_file(tmp_path / name, gzip.compress(text.encode()))
    write_file(tmp_path / name.lower().replace("train", "test"), gzip.compress(text.encode()))
    for train in (nb.load(tmp_path).train, nb.load(tmp_path / name, split=False).train):
        assert np.array_equal(train.inputs, np.column_stack([GLUCOSE, BMI]).astype(np.float32))
        assert train.targets.tolist() == OUTCOME.tolist()


DAYS = [f"2024-01-{day:02d}" for day in range(1, 21)]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n3,4\n", {"drop": ["a", "b"]}, "no column is left to be the target: take one of drop back"),
        ("a,day\n" + rows(range(20), DAYS), {}, r"the target 'day' holds dates, such as 2024-01-01"),
        (
            "a,u,v\n1,0,1\n2,1,3\n",
            {"target": ["u", "v"], "task": "multilabel"},
            r"0 or 1, and 'v' has other values",
        ),
        ("a,u,v\n1,0,x\n2,1,y\n", {"target": ["u", "v"]}, "the target 'v' is text and one of 2"),
        (f"a,{'n' * 5000}\n1,2\n", {}, r"the name of column 2 has 5000 characters"),
    ],
)
def test_what_cannot_be_a_table_with_a_target_is_said(
    tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        load_text(tmp_path, text, **options)


def test_what_is_no_table_and_what_no_cell_are_refused() -> None:
    with pytest.raises(DataError, match="a table is needed and int was given: pass a pandas or polars DataFrame"):
        table_of(5)
    with pytest.raises(DataError, match="column 'a' is of type list; numbers, text or truth"):
        nb.load({"a": np.array([[1], [2, 3]], object), "y": [0, 1]}, split=False)


def test_names_of_columns_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    assert load_text(tmp_path, "a,a,a_2,y\n1,2,3,0\n4,5,6,1\n").feature_names == ("a", "a_2", "a_2_2")


def test_a_header_of_as_many_equal_names_as_columns_are_read_takes_one_pass() -> None:
    names = column_names(["a"] * MAX_COLUMNS, "memory")
    assert names == ["a", *(f"a_{i}" for i in range(2, MAX_COLUMNS + 1))]


def test_classes_that_are_one_number_have_one_order() -> None:
    """The order of a set of text is another in each process."""
    names = ("00001", "0001", "001", "01", "1", "002", "02", "2", "10")
    table = {"a": np.arange(90.0), "label": [*names[::-1]] * 10}
    assert nb.load(table, split=False).train.classes == names


def test_classes_of_the_doctor_are_numbers_where_they_are_written_so() -> None:
    a = np.arange(40.0)

    def labels_of(*names: str) -> tuple[list[Any], dict[int, str]]:
        part = load_raw({"a": a, "label": names * (40 // len(names))}).train
        return part.labels[: len(names)].tolist(), dict(part.label_names)

    assert labels_of("7", "-5") == ([7, -5], {})
    assert labels_of("01", "1") == ([0, 1], {0: "01", 1: "1"})
    assert labels_of("5", "--5") == ([1, 0], {0: "--5", 1: "5"})
    long = "12345678901234567890", "12345678901234567891"
    assert labels_of(*long) == ([0, 1], dict(enumerate(long)))


@pytest.mark.parametrize("kind", [polars.Date, polars.Datetime, polars.String, polars.Boolean, polars.Null])
def test_a_column_without_a_value_is_numbers_whatever_its_type(kind: Any) -> None:
    table = {"a": BMI, "empty": polars.Series([None] * N, dtype=kind), "label": OUTCOME}
    with pytest.raises(DataError, match="row 0, column 'empty': the value is missing, as 60 of 60 are"):
        nb.load(table)
    with pytest.raises(DataError, match="'empty' has no value in the training part, so there is no mean"):
        nb.load(table, missing="mean")
    fitted = nb.load({**table, "empty": GLUCOSE}, split=False, missing="mean").train.preprocessing
    assert fitted is not None
    assert np.allclose(fitted.transform(table_of(table))[0][:, 1], GLUCOSE.mean(), rtol=1e-6)


ROOMS = np.array(["1000", "2000", "A7", "007"])[np.arange(N) % 4]


def test_text_of_the_training_part_is_text_in_the_test_part_whatever_it_looks_like(tmp_path: Path) -> None:
    """Of a column by itself, 1000 and 007 are numbers, and True and no are truth values."""
    flags = np.array(["True", "False", "Unknown"])[np.arange(N) % 3]
    write_file(tmp_path / "train.csv", "room,flag,label\n" + rows(ROOMS, flags, flags))
    write_file(tmp_path / "test.csv", "room,flag,label\n1000,True,True\n007,False,False\n")
    test = nb.load(tmp_path).test
    assert test.feature_names[:4] == ("room=007", "room=1000", "room=2000", "room=A7")
    assert test.feature_names[4:] == ("flag=False", "flag=True", "flag=Unknown")
    assert test.inputs.tolist() == [[0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 1, 0, 0]]
    assert [test.classes[k] for k in test.targets] == ["True", "False"]


VOTES = "republican,n,y,?,n\ndemocrat,y,n,y,?\nrepublican,n,y,y,n\ndemocrat,?,n,y,n\n" * 9
"""As UCI's house-votes-84.data: text alone, no header."""


@pytest.mark.parametrize(
    ("text", "samples", "names"),
    [
        (VOTES, 36, ("column_1", "column_2", "column_3", "column_4", "column_5")),
        ("red,?,big\n" + "green,x,small\n" * 9, 10, ("column_1", "column_2", "column_3")),
        (
            "400.0,402.0,404.0,label\n" + "0.1,0.2,0.3,oak\n0.2,0.2,0.1,elm\n" * 9,
            18,
            ("400.0", "402.0", "404.0", "label"),
        ),
        ("country,2019,2020,class\n" + "fr,1,3,a\nde,2,3,b\n" * 9, 18, ("country", "2019", "2020", "class")),
        ("country,NA,EU\n" + "fr,1,3\nde,2,3\n" * 9, 18, ("country", "NA", "EU")),
        ("vote,age,y\n" + "n,young,y\ny,old,n\n" * 9, 18, ("vote", "age", "y")),
        ("a,b,kind\nx,u,oak\ny,v,elm\na,b,kind\n", 3, ("a", "b", "kind")),
    ],
)
def test_values_that_recur_are_no_header_and_the_name_of_a_target_is_one(
    tmp_path: Path, text: str, samples: int, names: tuple[str, ...]
) -> None:
    table = csv.read(write_file(tmp_path / "x.csv", text))
    assert (len(table), table.columns) == (samples, names)


def test_a_header_may_have_line_breaks_in_quotes(tmp_path: Path) -> None:
    text = '\n"height\n\n(cm)","weight\r\n(kg)",label\n' + rows(BMI, GLUCOSE, ANIMALS)
    train = load_text(tmp_path, text)
    assert np.array_equal(train.inputs, np.column_stack([BMI, GLUCOSE]).astype(np.float32))
    with pytest.raises(DataError, match="line 6, column 'label': the target is missing, in 1 of 60 rows"):
        load_text(tmp_path, text.replace("cat", "", 1))


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\v"])
def test_only_line_feeds_end_a_line(tmp_path: Path, separator: str) -> None:
    notes = [f"big{separator}dark{separator}red", "small"] * (N // 2)
    train = load_text(tmp_path, "a;note;label\n" + rows(BMI, notes, ANIMALS, separator=";"))
    assert np.array_equal(train.inputs[:, 0], BMI.astype(np.float32))
    assert train.inputs[:, 1].tolist() == [1, 0] * (N // 2)


COMMAS = np.array([str(b).replace(".", ",") for b in BMI])
QUOTED = [f'"{cell}"' for cell in COMMAS]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (rows(QUOTED, GLUCOSE, ANIMALS), {}, [BMI, GLUCOSE]),
        (rows(QUOTED, GLUCOSE, ANIMALS), {"decimal": ","}, [BMI, GLUCOSE]),
        (rows(COMMAS, BMI, ANIMALS, separator=";"), {}, [BMI, BMI]),
        (
            rows([*GLUCOSE, *GLUCOSE, *COMMAS], [*BMI] * 3, [*ANIMALS] * 3, separator="\t"),
            {},
            [[*GLUCOSE, *GLUCOSE, *BMI], [*BMI] * 3],
        ),
        (rows(['"0,125"', '"0,250"'] * 30, GLUCOSE, ANIMALS), {}, [[0.125, 0.25] * 30, GLUCOSE]),
        (rows(['"1,250"', '"12,500"'] * 30, GLUCOSE, ANIMALS), {"decimal": ","}, [[1.25, 12.5] * 30, GLUCOSE]),
    ],
    ids=["quoted", "quoted and said", "beside points", "after whole numbers", "0,125", "1,250 said"],
)
@pytest.mark.parametrize("header", [True, False])
def test_each_column_tells_whether_it_has_decimal_commas(
    tmp_path: Path, text: str, options: dict[str, Any], expected: list[Any], header: bool
) -> None:
    separator = next(mark for mark in "\t;," if mark in text)
    names = separator.join(["a", "b", "label"]) + "\n" if header else ""
    inputs = load_text(tmp_path, names + text, **options).inputs
    assert np.array_equal(inputs, np.column_stack(expected).astype(np.float32))


def test_commas_that_may_separate_thousands_make_text(tmp_path: Path) -> None:
    cells = ['"1,250"', '"12,500"'] * (N // 2)
    train = load_text(tmp_path, "a,label\n" + rows(cells, ANIMALS))
    assert train.feature_names == ("a=1,250", "a=12,500")
    said = load_text(tmp_path, "a,label\n" + rows(QUOTED, ANIMALS), decimal=".")
    assert said.feature_names == tuple(f"a={cell}" for cell in sorted(set(COMMAS)))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([Decimal("0.25"), Decimal("1.5"), Decimal("3")], [0.25, 1.5, 3]),
        ([np.int64(1), np.float32(2.5), True], [1, 2.5, 1]),
        ([Fraction(1, 4), 2, np.bool_(False)], [0.25, 2, 0]),
        ([np.bool_(True), np.bool_(False), True], [1, 0, 1]),
    ],
)
def test_objects_that_are_numbers_are_numbers(column: list[Any], expected: list[float]) -> None:
    train = nb.load({"a": np.array(column, object), "label": ["x", "y", "x"]}, split=False).train
    assert train.inputs.tolist() == [[value] for value in expected]
    gap = np.array([None, *column], object)
    filled = nb.load({"a": gap, "label": ["x", "y", "x", "y"]}, split=False, missing="mean").train
    mean = np.float32(np.mean(expected))
    assert filled.inputs.tolist() == [[mean, 1], *([value, 0] for value in expected)]


def test_missing_values_of_pandas_are_missing() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    columns = {"a": [1, None, 3], "b": [True, None, False], "c": ["x", None, "y"]}
    frame = pd.DataFrame(columns).convert_dtypes()
    assert all(frame[name].isna()[1] for name in columns)
    train = nb.load(frame.assign(label=[0, 1, 0]), split=False, missing="mean").train
    assert train.feature_names == ("a", "a=missing", "b", "b=missing", "c=x", "c=y", "c=missing")
    assert train.inputs.tolist() == [[1, 0, 1, 0, 1, 0, 0], [2, 1, 0.5, 1, 0, 0, 1], [3, 0, 0, 0, 0, 1, 0]]
    with pytest.raises(DataError, match="row 1, column 'b': the value is missing"):
        nb.Dataset(frame[["b"]], np.array([0, 1, 0]))


def test_a_column_of_arrays_is_refused() -> None:
    column = np.empty(2, object)
    column[:] = [np.zeros(2), np.zeros(3)]
    with pytest.raises(DataError, match="column 'a' is of type ndarray; numbers, text or truth"):
        nb.load({"a": column, "y": [0, 1]}, split=False)


@pytest.mark.parametrize(
    ("column", "task"),
    [(np.arange(100_000, 160_000, 1000), "regression"), (np.arange(N) % 20, "classification")],
)
def test_bytes_that_are_no_image_do_not_make_amounts_classes(
    tmp_path: Path, column: np.ndarray, task: str
) -> None:
    text = "age,rooms,price\n" + rows(GLUCOSE, np.arange(N) % 9, column)
    train = load_text(tmp_path, text)
    assert (train.inputs.dtype, train.task) == (np.uint8, task)


@pytest.mark.parametrize("index", [np.arange(N)[::-1], np.arange(N) % 7], ids=["shuffled", "repeated"])
def test_the_index_of_a_data_frame_in_parquet_is_no_target_and_no_feature(
    tmp_path: Path, index: np.ndarray
) -> None:
    path = tmp_path / "x.parquet"
    polars.DataFrame({"a": GLUCOSE, "b": OUTCOME, "__index_level_0__": index}).write_parquet(path)
    train = nb.load(path, split=False).train
    assert (train.feature_names, train.target_names) == (("a",), ("b",))
    assert "column '__index_level_0__' is the index of a pandas DataFrame" in train.reader_notes[0]
    kept = nb.load(path, features=["a", "__index_level_0__"], target="b", split=False).train
    assert kept.inputs[:, 1].tolist() == index.tolist()


def test_measurements_whose_names_end_in_id_or_index_are_features(tmp_path: Path) -> None:
    amounts = RNG.normal(5, 2, N)
    text = "citric_acid,amount_paid,heat_index,wineId,alcohol,label\n" + rows(
        amounts, amounts + 1, amounts * 2, np.arange(N)[::-1], amounts - 3, OUTCOME
    )
    names = ("citric_acid", "amount_paid", "heat_index", "alcohol")
    assert load_text(tmp_path, text).feature_names == names


def test_a_name_may_stand_for_a_list_of_one(tmp_path: Path) -> None:
    data = {"10": GLUCOSE, "1": BMI, "0": OUTCOME}
    assert nb.load(data, drop="10", split=False).train.feature_names == ("1",)
    assert nb.load(data, features="10", target=2, split=False).train.feature_names == ("10",)
    assert load_text(tmp_path, DIABETES, drop=0).feature_names == ("bmi",)


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        (BMI, ["0.5", ""], {}, r"test\.csv, line 3, column 'y': the target is missing, in 1 of 2 rows"),
        (ANIMALS, ["NA", "NA"], {}, r"test\.csv, line 2, column 'y': the target is missing, in 2 of 2 rows"),
        (BMI, ["x", "z"], {}, r"test\.csv: regression needs numbers and the target 'y' is text, such as 'x'"),
        (OUTCOME, [0, 2], {"target": ["y", "b"]}, r"test\.csv: multilabel targets are 0 or 1, and 'y' has other"),
    ],
    ids=["one missing", "all missing", "text", "a third value"],
)
def test_targets_of_the_test_table_are_checked_as_those_of_training(
    tmp_path: Path, train: Any, test: list[Any], options: dict[str, Any], message: str
) -> None:
    write_file(tmp_path / "train.csv", "a,b,y\n" + rows(GLUCOSE, OUTCOME, train))
    write_file(tmp_path / "test.csv", "a,b,y\n" + rows([1, 2], [0, 1], test))
    with pytest.raises(LabelError, match=message):
        nb.load(tmp_path, **{"target": "y"} | options)


def test_targets_to_evaluate_on_are_checked_as_those_of_training() -> None:
    preprocessing = nb.load({"a": BMI, "u": OUTCOME, "v": OUTCOME[::-1]}, target=["u", "v"]).train.preprocessing
    with pytest.raises(LabelError, match="multilabel targets are 0 or 1, and 'v' has other values"):
        dataset_of(table_of({"a": [1.5, 2.5], "u": [0, 1], "v": [1, 2]}), preprocessing)


def test_a_table_of_no_rows_is_refused() -> None:
    frame = polars.DataFrame({"a": [], "label": []}, schema={"a": polars.Float64, "label": polars.Int64})
    for split in (False, True):
        with pytest.raises(DataError, match="memory: holds no samples"):
            nb.load(frame, split=split)


def test_a_validation_table_beside_the_parts_is_left_out_with_a_note(tmp_path: Path) -> None:
    for name in ("train", "test", "val"):
        write_file(tmp_path / f"{name}.csv", DIABETES)
    splits = nb.load(tmp_path)
    assert "val.csv was left out" in splits.train.reader_notes
    assert splits.test.source == str(tmp_path / "test.csv")


@pytest.mark.parametrize(
    ("text", "options", "names"),
    [
        ("pay\tage\tlabel\n4,268\t3\ta\n300\t4\tb\n", {}, ("pay=300", "pay=4,268", "age")),
        ("pay;rate;label\n4.268;0,5;a\n300;0,25;b\n", {}, ("pay=300", "pay=4.268", "rate")),
        ("pay;rate;label\n4.268;3;a\n300;4;b\n", {"decimal": ","}, ("pay=300", "pay=4.268", "rate")),
        ("pay;rate;label\n4.268,50;3;a\n1,5;4;b\n", {}, ("pay=1,5", "pay=4.268,50", "rate")),
    ],
    ids=["tabs", "beside decimal commas", "decimal commas said", "both signs"],
)
def test_a_sign_of_thousands_is_no_decimal_sign(
    tmp_path: Path, text: str, options: dict[str, Any], names: tuple[str, ...]
) -> None:
    assert load_text(tmp_path, text, **options).feature_names == names


def test_points_are_decimal_where_no_cell_has_a_decimal_comma(tmp_path: Path) -> None:
    train = load_text(tmp_path, "a;b;label\n4.268;7;x\n3.125;8;y\n")
    assert train.inputs[:, 0].tolist() == [np.float32(4.268), 3.125]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("label", ["", ",a", ',"a\n\nb"'])
def test_a_row_of_separators_is_a_row_and_a_blank_line_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str, end: str
) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    lines = [
        "x,z" + ",name" * bool(label),
        "1,1" + label,
        "," + "," * bool(label),
        "",
        "",
        "2," + label,
        "3,3" + label,
    ]
    path = write_file(tmp_path / "x.csv", end.join([*lines, "", ""]))
    expected = pd.read_csv(path)
    assert expected["x"].isna().tolist() == [False, True, False, False]
    for size in (1, csv.BLOCK_SIZE):
        monkeypatch.setattr(csv, "BLOCK_SIZE", size)
        table = csv.read(path)
        for name in table.columns:
            cells = table.column(name).to_list()
            assert cells == [None if value != value else value for value in expected[name]]
        assert table.place(1) == f"line {5 if 'b' in label else 3}"


def test_a_separator_at_the_end_of_each_row_adds_no_name(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    path = write_file(tmp_path / "x.csv", "x,z\n" + "1,2,\n3,4,\n" * 5)
    table = csv.read(path)
    expected = pd.read_csv(path, index_col=False)
    assert {name: table.column(name).to_list() for name in "xz"} == expected.to_dict("list")
    train = nb.load(path, split=False).train
    assert (train.feature_names, train.target_names) == (("x",), ("z",))
    assert any("without a name ('column_3') has no value and was left out" in note for note in train.reader_notes)


def test_names_of_rows_that_the_header_leaves_out_are_said(tmp_path: Path) -> None:
    table = csv.read(write_file(tmp_path / "x.csv", "x,z\nr1,1,2\nr2,3,4\n"), expected=("x", "z"))
    assert (table.column("x").to_list(), table.column("z").to_list()) == ([1, 3], [2, 4])
    assert table.reader_notes == ("the header names 2 of 3 columns, not the first",)


@pytest.mark.parametrize(
    ("first", "is_header"),
    [("0,1,2,diagnosis", True), ("2019,2020,2021,status", True), ("0.5,1.5,2.5,rare", False)],
)
def test_numbered_columns_beside_a_named_one_are_a_header(tmp_path: Path, first: str, is_header: bool) -> None:
    table = csv.read(write_file(tmp_path / "x.csv", f"{first}\n{rows(BMI, BMI, BMI, ANIMALS)}"))
    assert (table.has_names, len(table)) == (is_header, N + (not is_header))


def test_a_first_row_of_numbers_in_sequence_is_data_where_its_text_recurs(tmp_path: Path) -> None:
    table = csv.read(write_file(tmp_path / "x.csv", "1,2,cat\n" + rows(GLUCOSE, GLUCOSE, ANIMALS)))
    assert (table.has_names, len(table)) == (False, N + 1)


NESTED = {
    "emb": polars.Series([[1.0, 2.0]] * N),
    "part": polars.Series([{"u": 1}] * N),
    "raw": polars.Series([b"x"] * N),
    "took": polars.Series(np.arange(N), dtype=polars.Int64).cast(polars.Duration("us")),
}


@pytest.mark.parametrize("source", ["parquet", "polars", "pandas"])
def test_columns_that_no_network_takes_can_be_left_out(tmp_path: Path, source: str) -> None:
    frame = polars.DataFrame({"a": BMI, **NESTED, "label": ANIMALS})
    data: Any = frame if source == "polars" else tmp_path / "x.parquet"
    if source == "pandas":
        pd = pytest.importorskip("pandas", reason="pandas is not installed")
        data = pd.DataFrame({name: frame[name].to_list() for name in frame.columns})
    elif source != "polars":
        frame.write_parquet(data)
    train = nb.load(data, split=False, drop=[*NESTED]).train
    assert train.feature_names == ("a",)
    assert np.array_equal(train.inputs[:, 0], BMI.astype(np.float32))
    with pytest.raises(DataError, match=r"column 'emb' is of type (List\(Float64\)|list); .*drop=\['emb'\]"):
        nb.load(data)


def test_a_column_that_no_network_takes_is_refused_where_it_is_used() -> None:
    frame = polars.DataFrame({"a": BMI, **NESTED, "label": ANIMALS})
    train = nb.load(frame, split=False, features=["a"], target="label").train
    expected = train.preprocessing.transform(table_of(frame.select("a")))[0]
    assert np.array_equal(train.preprocessing.transform(table_of(frame))[0], expected)
    for options, words in [
        ({"target": "raw", "features": ["a"]}, "column 'raw' is of type Binary"),
        ({"target": ["a", "took"]}, "column 'took' is of type Duration"),
        ({"sample_weight": "part", "features": ["a"]}, "column 'part' is of type Struct"),
    ]:
        with pytest.raises(DataError, match=words):
            nb.load(frame, **options)


def test_a_column_that_no_network_takes_is_left_out_of_what_is_converted(tmp_path: Path) -> None:
    polars.DataFrame({"a": BMI, "emb": NESTED["emb"], "y": GLUCOSE}).write_parquet(tmp_path / "x.parquet")
    convert(tmp_path / "x.parquet", tmp_path / "out", DataOptions(drop=("emb",)))
    assert np.array_equal(np.load(tmp_path / "out" / "X.npy"), BMI.astype(np.float32)[:, None])
    with pytest.raises(DataError, match=r"column 'emb' is of type List\(Float64\)"):
        convert(tmp_path / "x.parquet", tmp_path / "other", DataOptions())


def test_dates_are_text_where_training_had_other_text_beside_them(tmp_path: Path) -> None:
    last = np.array(["2024-01-01", "2024-02-01", "never"])[np.arange(N) % 3]
    write_file(tmp_path / "train.csv", "last,label\n" + rows(last, ANIMALS))
    write_file(tmp_path / "test.csv", "last,label\n2024-02-01,cat\n2024-01-01,dog\n")
    splits = nb.load(tmp_path)
    assert splits.test.inputs.tolist() == [[0, 1, 0], [1, 0, 0]]
    days = {"last": polars.Series(["2024-02-01"]).str.to_date()}
    assert splits.train.preprocessing.transform(table_of(days))[0].tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    "cell",
    [
        "01/02/24",
        "5-1-24",
        "31.12.99",
        "5 Jan 2024",
        "5-Jan-24",
        "Jan 5, 2024",
        "September 30 2024",
        "5 May 2024 10:30",
    ],
)
def test_dates_of_two_digit_years_and_month_names_are_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match=f"column 'sold' holds dates, such as {cell}"):
        load_text(tmp_path, "sold;label\n" + rows([cell] * N, ANIMALS, separator=";"))


@pytest.mark.parametrize("cell", ["1.2.340", "45-99-24", "may", "5 marbles 2024", "Jan", "A 5 Jan 2024"])
def test_what_only_looks_like_a_date_is_text(tmp_path: Path, cell: str) -> None:
    assert load_text(tmp_path, f"a,b,label\n{cell},1,x\n{cell},2,y\n").feature_names == (f"a={cell}", "b")


def test_text_with_a_value_for_more_than_half_of_the_rows_is_said(tmp_path: Path) -> None:
    prices = [f"${i}.50" for i in range(N)]
    half = [i // 2 for i in range(N)]
    text = "price,code,label\n" + rows(prices, [f"c{i}" for i in half], ANIMALS)
    splits = nb.load(write_file(tmp_path / "x.csv", text))
    assert splits.description["text"] == (
        f"column 'price' is text with {N} values in {N} rows, a feature each; drop=['price'] leaves it out"
    )
    assert "text" not in nb.load(tmp_path / "x.csv", drop=["price"]).description


def test_masked_values_are_missing() -> None:
    y = ["a", "b", "a"]
    for column in (np.array([5, -9999, 7]), np.array([0.5, -9999, 1.5]), np.array(["u", "?!", "v"])):
        masked = np.ma.array(column, mask=[False, True, False])
        with pytest.raises(DataError, match="row 1, column 'x': the value is missing, as 1 of 3"):
            nb.load({"x": masked, "y": y}, target="y")
    train = nb.load(
        {"x": np.ma.masked_less([5, -9999, 7], 0), "y": y}, target="y", missing="mean", split=False
    ).train
    assert train.inputs.tolist() == [[5, 0], [6, 1], [7, 0]]
    free = np.ma.masked_less([5, 6, 7], 0)
    assert nb.load({"x": free, "y": y}, target="y", split=False).train.inputs.tolist() == [[5], [6], [7]]


def test_classes_of_a_csv_file_that_are_one_number_are_one_class_and_two_as_text(tmp_path: Path) -> None:
    codes = np.array(["007", "7", "12"])[np.arange(N) % 3]
    path = write_file(tmp_path / "x.csv", "a,label\n" + rows(BMI, codes))
    assert nb.load(path, split=False).train.classes == ("7", "12")
    frame = polars.DataFrame({"a": BMI, "label": codes})
    assert nb.load(frame, split=False).train.classes == ("007", "7", "12")


def test_a_header_in_another_case_is_a_header(tmp_path: Path) -> None:
    preprocessing = nb.load({"x": BMI, "z": GLUCOSE, "label": ANIMALS}, split=False).train.preprocessing
    table = csv.read(write_file(tmp_path / "x.csv", "X,Z\n1.5,2\n3,4\n"), expected=preprocessing.columns)
    with pytest.raises(
        DataError, match=r"has no column x, z, which the network was trained on\. Its columns are X, Z"
    ):
        preprocessing.transform(table)
    bare = csv.read(write_file(tmp_path / "x.csv", "1,2\n3.5,4\n"), expected=preprocessing.columns)
    assert preprocessing.transform(bare)[0].tolist() == [[1, 2], [3.5, 4]]


def test_text_of_data_frames_is_as_in_a_csv_file_and_none_a_class(tmp_path: Path) -> None:
    colours = ["red ", " red", "blue", None]
    colours, label = colours * 2, ["None", "Apnea", "NA", "null"] * 2
    frame = polars.DataFrame({"colour": colours, "label": label})
    train = nb.load(frame, missing="mean", split=False).train
    assert train.feature_names == ("colour=blue", "colour=red", "colour=missing")
    assert train.inputs.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]] * 2
    assert [train.classes[k] for k in train.targets] == label
    rows_of_file = csv.read(write_file(tmp_path / "x.csv", "colour,b\nred ,1\nblue,2\n"))
    assert train.preprocessing.transform(rows_of_file)[0].tolist() == [[0, 1, 0], [1, 0, 0]]
