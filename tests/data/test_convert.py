"""Tables as pairs of .npy files: the numbers and labels of the table, written whole or not at all."""

from __future__ import annotations

import io
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from nnbackprop.data import load
from nnbackprop.data.convert import convert
from nnbackprop.data.readers import blocks, csv, parquet
from nnbackprop.data.table import DataOptions, Table, table_of
from nnbackprop.data.tabular import take
from nnbackprop.diagnostics.doctor.run import diagnose
from nnbackprop.errors import DataError, InputError, LabelError, NnbackpropError, UsageError
from tests.support.commands import run, said

RNG = np.random.default_rng(0)
NUMBERS = {"a": RNG.standard_normal(500), "label": np.arange(500) % 3, "b": RNG.integers(0, 9, 500)}


def write(path: Path, columns: Any) -> Path:
    frame = polars.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=120)
    elif path.suffix == ".arrow":
        frame.write_ipc(path)
    else:
        frame.write_csv(path)
    return path


def png_of(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_numbers_and_labels_are_those_of_the_table(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "BLOCK_SIZE", 1000)
    path = write(tmp_path / f"x.{suffix}", NUMBERS)
    found = convert(path, tmp_path / "out", DataOptions())
    assert (found.shape, found.dtype, found.roles.targets) == ((500, 2), np.float32, ("label",))
    x = np.load(tmp_path / "out" / "X.npy")
    assert np.array_equal(x, np.stack([NUMBERS["a"], NUMBERS["b"]], axis=1).astype(np.float32))
    assert np.load(tmp_path / "out" / "y.npy").tolist() == NUMBERS["label"].tolist()
    pair, table = load(tmp_path / "out"), load(path)
    assert np.array_equal(pair.train.inputs, table.train.inputs)
    assert (pair.train.classes, pair.train.targets.tolist()) == (table.train.classes, table.train.targets.tolist())


PRICE = RNG.lognormal(12, 1, 500)


@pytest.mark.parametrize(
    ("columns", "options", "expected", "task"),
    [
        ({"price": PRICE}, {}, PRICE, "regression"),
        ({"price": PRICE.round()}, {}, PRICE.round(), "regression"),
        ({"p": PRICE, "q": -PRICE}, {"target": ("p", "q")}, np.stack([PRICE, -PRICE], axis=1), "regression"),
        ({"p": NUMBERS["label"] > 0, "q": NUMBERS["label"] != 1}, {"target": ("p", "q")}, None, "multilabel"),
    ],
    ids=["one", "whole", "two", "labels"],
)
def test_numbers_and_several_labels_are_targets(
    tmp_path: Path, columns: dict, options: dict, expected: Any, task: str
) -> None:
    expected = np.stack(list(columns.values()), axis=1).astype(np.uint8) if expected is None else expected
    path = write(tmp_path / "x.parquet", {"a": NUMBERS["a"], "b": NUMBERS["b"], **columns})
    found = convert(path, tmp_path / "out", DataOptions(**options))
    y = np.load(tmp_path / "out" / "y.npy")
    assert (y.dtype, found.names_task) == (expected.dtype, False)
    assert np.array_equal(y, expected)
    pair, table = load(tmp_path / "out"), load(path, target=options.get("target", ()))
    assert pair.train.task == table.train.task == pair.description["task"].split()[0] == task
    assert np.array_equal(pair.train.inputs, table.train.inputs)
    assert np.array_equal(pair.train.targets, table.train.targets)


@pytest.mark.parametrize(
    ("columns", "flags", "task"),
    [
        ({"stars": np.arange(500) % 5}, ("--task", "regression"), "regression"),
        ({"one": np.arange(500) % 2, "two": 1 - np.arange(500) % 2}, ("--target", "one", "two"), "multilabel"),
    ],
    ids=["few whole numbers", "one-hot"],
)
def test_a_task_that_the_values_do_not_show_is_in_the_command_to_train(
    tmp_path: Path, columns: dict, flags: tuple[str, ...], task: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.parquet", {"a": NUMBERS["a"], **columns})
    assert run("data", "convert", str(path), str(tmp_path / "out"), *flags) == 0
    assert f"nnbackprop train {tmp_path / 'out'} --task {task}" in said(capsys)
    targets = load(tmp_path / "out", task=task, split=False).train.targets
    assert np.array_equal(targets, np.stack(list(columns.values()), axis=1))


def test_an_infinite_target_of_a_later_block_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_SIZE", 1000)
    price = PRICE.copy()
    price[400] = np.inf
    path = write(tmp_path / "x.csv", {"a": NUMBERS["a"], "price": price})
    with pytest.raises(LabelError, match="line 402, column 'price': the target is infinite"):
        convert(path, tmp_path / "out", DataOptions())


def test_blocks_are_the_rows_in_order_and_each_is_checked(tmp_path: Path) -> None:
    rows = 250_000
    columns = {f"c{i}": np.arange(rows) + i for i in range(40)}
    path = write(tmp_path / "x.parquet", {**columns, "y": ["u"] * (rows - 1) + [None]})
    tables = list(blocks.read_blocks(path, DataOptions()))
    assert len(tables) > 1
    assert np.array_equal(np.concatenate([table.column("c3") for table in tables]), np.arange(rows) + 3)
    assert tables[1].at("c3", 5) == f"{path}, row {len(tables[0]) + 5}, column 'c3'"
    with pytest.raises(LabelError, match=f"row {rows - 1}, column 'y': the target is missing"):
        convert(path, tmp_path / "out", DataOptions())


@pytest.mark.parametrize(
    ("columns", "dtype"),
    [
        ({"a": [0, 255, 7], "y": ["x", "z", "x"]}, "uint8"),
        ({"a": [0, 256, 7], "y": ["x", "z", "x"]}, "float32"),
        ({"a": [1e9, 1e9 + 1, 1e9 + 2], "y": ["x", "z", "x"]}, "float64"),
        ({"a": [-1e39, 0.0, 1.0], "y": ["x", "z", "x"]}, "float64"),
        ({"a": [True, False, True], "y": ["x", "z", "x"]}, "float32"),
    ],
)
def test_the_dtype_holds_the_numbers(tmp_path: Path, columns: dict, dtype: str) -> None:
    convert(write(tmp_path / "x.parquet", columns), tmp_path / "out", DataOptions())
    x = np.load(tmp_path / "out" / "X.npy")
    assert (x.dtype, x[:, 0].tolist()) == (dtype, [float(value) for value in columns["a"]])
    assert np.load(tmp_path / "out" / "y.npy").tolist() == columns["y"]


@pytest.mark.parametrize("as_struct", [False, True])
@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3)])
def test_images_are_decoded(tmp_path: Path, shape: tuple[int, ...], as_struct: bool) -> None:
    pixels = RNG.integers(0, 256, (6, *shape), np.uint8)
    files: list[Any] = [png_of(image) for image in pixels]
    files = [{"bytes": file, "path": "a.png"} for file in files] if as_struct else files
    path = write(tmp_path / "x.parquet", {"image": files, "label": [0, 1, 0, 1, 0, 1]})
    convert(path, tmp_path / "out", DataOptions())
    assert np.array_equal(np.load(tmp_path / "out" / "images.npy"), pixels)
    assert load(tmp_path / "out", split=False).train.image_shape == shape


def test_images_of_other_sizes_need_one(tmp_path: Path) -> None:
    files = [png_of(np.full((side, side), 9, np.uint8), "JPEG") for side in (8, 10)]
    path = write(tmp_path / "x.parquet", {"image": files, "label": [0, 1]})
    with pytest.raises(DataError, match=r"row 1, column 'image' is an image of 10x10.*8x8.*size="):
        convert(path, tmp_path / "out", DataOptions())
    convert(path, tmp_path / "out", DataOptions(size="5x6"))
    assert np.load(tmp_path / "out" / "images.npy").shape == (2, 5, 6)


@pytest.mark.parametrize(
    ("columns", "options", "error", "words"),
    [
        ({"a": ["u", "v", "u"], "y": [0, 1, 0]}, {}, DataError, r"column 'a' is text.*drop"),
        ({"a": [1.0, None, 2.0], "y": [0, 1, 0]}, {}, InputError, r"row 1, column 'a': the value is missing"),
        (
            {"a": [1, 2, 3], "y": [0.5, math.inf, 0.25]},
            {},
            LabelError,
            r"row 1, column 'y': the target is infinite",
        ),
        ({"a": [1, 2, 3], "y": [0.5, None, 0.25]}, {}, LabelError, r"row 1, column 'y': the target is missing"),
        ({"a": [1, 2, 3], "y": [0, 1, 0]}, {"task": "multilabel"}, LabelError, r"is two classes"),
        ({"a": [b"abc", b"", b"x"], "y": [0, 1, 0]}, {}, DataError, r"row 0, column 'a': is not PNG"),
        ({"a": [b"abc"] * 3, "b": [1, 2, 3], "y": [0, 1, 0]}, {}, DataError, r"features=\['a'\]"),
        ({"a": [None, b"x", b"x"], "y": [0, 1, 0]}, {}, DataError, r"row 0, column 'a': the image is missing"),
        ({"a": [[1], [2], [3]], "y": [0, 1, 0]}, {}, DataError, r"column 'a' is of type List"),
        ({"a": [1, 2, 3], "y": [0, 1, 0]}, {"missing": "mean"}, UsageError, r"missing"),
        ({"a": [1, 2, 3], "y": [0, 1, 0]}, {"target": ("c",)}, UsageError, r"no such column"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, columns: dict, options: dict, error: type[NnbackpropError], words: str
) -> None:
    path = write(tmp_path / "x.parquet", columns)
    with pytest.raises(error, match=words):
        convert(path, tmp_path / "out", DataOptions(**options))
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", NUMBERS)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=re.escape(str(path))):
        convert(path, tmp_path / "out", DataOptions())
    assert not (tmp_path / "out").exists()


def test_a_file_is_read_where_another_error_is_handled(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", NUMBERS)
    try:
        raise KeyError
    except KeyError:
        assert sum(map(len, blocks.read_blocks(path, DataOptions()))) == 500


def test_a_name_with_a_pattern_is_that_file(tmp_path: Path) -> None:
    for suffix in ("parquet", "arrow"):
        write(tmp_path / f"x1.{suffix}", {"a": [7.0] * 4, "label": [0, 1, 0, 1]})
        path = write(tmp_path / f"x[1].{suffix}", NUMBERS)
        assert np.array_equal(load(path, split=False).train.targets, NUMBERS["label"])
        assert convert(path, tmp_path / f"out {suffix}", DataOptions()).shape == (500, 2)


ENDS = "import os, sys; sys.stdout.buffer.write(bytes([100, *bytes(7)]) + b'abc'); sys.stdout.flush(); os._exit(9)"


def test_a_reader_that_ends_within_a_block_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second reading too, where it is no want of space."""
    path = write(tmp_path / "x.parquet", NUMBERS)
    words = re.escape(f"{path} cannot be read") + ".*more memory than there is .its reader ended with status 9"
    read_all = parquet.read_blocks

    def read_blocks(path: Path) -> Iterator[Table]:
        yield from read_all(path)
        monkeypatch.setattr(parquet, "COMMAND", ENDS)

    monkeypatch.setattr(parquet, "read_blocks", read_blocks)
    with pytest.raises(DataError, match=words):
        convert(path, tmp_path / "out", DataOptions())
    with pytest.raises(DataError, match=words):
        parquet.read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.parquet", NUMBERS)
    (tmp_path / "my out").mkdir()
    assert run("data", "convert", str(path), str(tmp_path / "my out"), "--target", "label", "--drop", "b") == 0
    printed = said(capsys)
    assert "500 x 1 float32 written" in printed
    assert f"nnbackprop train {shlex.quote(str(tmp_path / 'my out'))}" in printed
    before = (tmp_path / "my out" / "X.npy").read_bytes()
    assert run("data", "convert", str(path), str(tmp_path / "my out")) == UsageError.exit_code
    assert "name a folder that is not, or is empty" in said(capsys)
    assert (tmp_path / "my out" / "X.npy").read_bytes() == before


def test_labels_that_are_text_are_the_classes_of_the_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.csv", {**NUMBERS, "label": np.array(["z", "x", "y"])[np.arange(500) % 3]})
    assert run("data", "convert", str(path), str(tmp_path / "out")) == 0
    pair, table = load(tmp_path / "out"), load(path)
    assert pair.train.classes == ("x", "y", "z")
    assert np.array_equal(pair.train.targets, table.train.targets)
    assert run("train", str(tmp_path / "out"), "--dry-run") == 0
    assert not [
        f.id for f in diagnose(None, {"data": str(tmp_path / "out")}).findings if f.id.startswith("labels")
    ]


def test_classes_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"a": NUMBERS["a"][:8], "label": ["01", "1", "01", "1", "x", "x", "01", "1"]}
    halves = [take(table_of(table), rows) for rows in np.arange(8).reshape(2, 4)]
    monkeypatch.setattr("nnbackprop.data.convert.read_blocks", lambda *_: iter(halves))
    convert(tmp_path / "x", tmp_path / "out", DataOptions())
    assert np.load(tmp_path / "out" / "y.npy").tolist() == table["label"]
    assert load(tmp_path / "out", split=False).train.classes == ("01", "1", "x")
    halves.pop()
    convert(tmp_path / "x", tmp_path / "other", DataOptions())
    assert load(tmp_path / "other", split=False).train.classes == ("01", "1")


@pytest.mark.parametrize("parts", [(0,), (0, 1, 1)])
def test_a_table_that_changes_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[int, ...]
) -> None:
    halves = [
        take(table_of({name: column[:8] for name, column in NUMBERS.items()}), np.arange(k, k + 4)) for k in (0, 4)
    ]
    readings = iter([(0, 1), parts])
    monkeypatch.setattr("nnbackprop.data.convert.read_blocks", lambda *_: (halves[k] for k in next(readings)))
    with pytest.raises(DataError, match="has changed while it was converted"):
        convert(tmp_path / "x", tmp_path / "out", DataOptions())
    assert not list(tmp_path.iterdir())


def test_the_current_folder_is_refused_as_one_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet", NUMBERS)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in (".", "../empty"):
        with pytest.raises(UsageError, match="is the current folder"):
            convert(path, Path(name), DataOptions())
    convert(path, Path("out"), DataOptions())
    assert sorted(file.name for file in Path("out").iterdir()) == ["X.npy", "y.npy"]
