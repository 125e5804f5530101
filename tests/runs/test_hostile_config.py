"""Configurations no run should begin with: each wrong value is named, and no file brings the reader down."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from nnbackprop.errors import RunFolderError, UsageError
from nnbackprop.runs.config import Config, of_run, parse, resolve

ABSURD = [
    ("batch_size", 0),
    ("batch_size", -5),
    ("batch_size", 2.5),
    ("batch_size", 2**63),
    ("epochs", 0),
    ("epochs", 10**30),
    ("epochs", True),
    ("lr", -1),
    ("lr", 0),
    ("lr", float("nan")),
    ("lr", float("inf")),
    ("dropout", [1.0]),
    ("dropout", [-0.1]),
    ("dropout", [float("nan")]),
    ("dropout", [0.1] * 2000),
    ("dropout", 0.5),
    ("hidden", [0]),
    ("hidden", [10**9]),
    ("hidden", [1] * 2000),
    ("hidden", 512),
    ("hidden", [[512]]),
    ("outputs", 0),
    ("seed", -1),
    ("seed", 2**64),
    ("threads", 10**6),
    ("momentum", 1.0),
    ("weight_decay", float("inf")),
    ("label_smoothing", 1),
    ("targets", [0.0]),
    ("targets", [0.0, float("nan")]),
    ("l1", -1e-9),
    ("clip_norm", 0),
    ("patience", 0),
    ("validation", 1),
    ("test_fraction", -0.1),
    ("max_time", float("-inf")),
    ("dtype", "float8"),
    ("bias", 1),
    ("data", ["mnist"]),
    ("name", {"a": 1}),
]


@pytest.mark.parametrize(("name", "value"), ABSURD, ids=lambda value: str(value)[:20])
def test_an_absurd_value_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^my\.toml has {name} = "):
        parse({name: value}, "my.toml")


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_no_setting_takes_a_table(field) -> None:
    with pytest.raises(UsageError, match=rf"^my\.toml has {field.name} = "):
        parse({field.name: {"x": 1}}, "my.toml")


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_a_letter_too_many_suggests_the_nearest_name(field) -> None:
    with pytest.raises(UsageError, match=rf"Did you mean {field.name}\?"):
        parse({f"{field.name}_x": 1}, "my.toml")


BROKEN = {
    "nested without end": b"a = " + b"[" * 9000,
    "tables without end": b"a = " + b"{a = " * 2500,
    "a number without end": b"lr = " + b"1" * 9000,
    "a name without end": b"a" + b".a" * 2**20,
    "no text": b"lr = \xff",
    "UTF-16": "lr = 1".encode("utf-16"),
    "a zero byte": b"lr = 1\0",
    "a value twice": b"lr = 1\nlr = 2",
    "no such day": b"lr = 2024-02-31",
    "nothing after the sign": b"lr =",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_its_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(BROKEN[name])
    with pytest.raises(UsageError, match=r"my\.toml cannot be read as TOML"):
        resolve(str(path), {})
    with pytest.raises(RunFolderError, match=r"my\.toml cannot be read as a run's configuration"):
        of_run(path)


def test_a_file_with_a_mark_and_windows_lines_is_read(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes(b"\xef\xbb\xbflr = 0.5\r\nhidden = [3]\r\n")
    config = resolve(str(tmp_path / "my.toml"), {})
    assert (config.lr, config.hidden) == (0.5, (3,))


def test_a_name_that_no_file_can_have_is_refused() -> None:
    for recipe in ("a\0b", "x" * 5000, "."):
        with pytest.raises(UsageError):
            resolve(recipe, {})
