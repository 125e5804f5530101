"""Checkpoints with flipped bits, cut, torn, lengthened, or made on purpose: none is taken for what it is not."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.errors import RunFolderError
from nnbackprop.runs import train as experiment
from nnbackprop.runs.checkpoint import Checkpoint, load, save, to_bytes
from tests.support.commands import run
from tests.torture.damage import flipped, refused

META = {"progress": {"step": 7, "norms": {"dense1": 0.1}}, "classes": ["0", "ü"], "fingerprint": "0" * 64}
ARRAYS = {
    "params/0/W": np.arange(1, 601, dtype=np.float32).reshape(20, 30).T,
    "params/0/b": np.ones(20, np.float32),
    "optimizer/step": np.array(7),
    "scaling/scale": np.ones(30),
}
WHOLE = to_bytes(Checkpoint(ARRAYS, META))
HEADER = 8 + struct.unpack_from("<Q", WHOLE)[0]
DIGEST = re.search(rb"[0-9a-f]{64}", WHOLE).span()  # type: ignore[union-attr]
KINDS = {
    "length of the header": (0, 8),
    "header": (8, HEADER),
    "digest": DIGEST,
    "arrays": (HEADER, len(WHOLE)),
}


def test_undamaged_it_loads(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(WHOLE)
    found = load(tmp_path / "whole")
    assert found.meta == META
    assert all(np.array_equal(found.arrays[name], array) for name, array in ARRAYS.items())


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place() -> None:
    begin, end = DIGEST
    zeros = WHOLE[:begin] + b"0" * 64 + WHOLE[end:]
    assert hashlib.sha256(zeros).hexdigest().encode() == WHOLE[begin:end]


@pytest.mark.parametrize("kind", KINDS)
def test_one_bit_flipped(kind: str, tmp_path: Path) -> None:
    """At random places in each part of the file, or at all where there are fewer: more than 1,000 together."""
    begin, end = KINDS[kind]
    bits = range(8 * begin, 8 * end)
    for bit in random.Random(kind).sample(bits, min(400, len(bits))):
        refused(tmp_path / "last.safetensors", flipped(WHOLE, bit))


def test_cut_anywhere(tmp_path: Path) -> None:
    for length in random.Random(1).sample(range(len(WHOLE)), 1000):
        refused(tmp_path / "last.safetensors", WHOLE[:length])


@pytest.mark.parametrize("more", [b"\0", b" ", b"}", WHOLE, bytes(4096)], ids=lambda more: f"{len(more)} bytes")
def test_bytes_added(more: bytes, tmp_path: Path) -> None:
    for content in (WHOLE + more, more + WHOLE, WHOLE[:HEADER] + more + WHOLE[HEADER:]):
        refused(tmp_path / "last.safetensors", content)


def test_a_block_that_never_reached_the_disk(tmp_path: Path) -> None:
    """Zeros in its place, as a file system may leave after the power failed."""
    for begin in range(0, len(WHOLE), 64):
        torn = WHOLE[:begin] + bytes(64) + WHOLE[begin + 64 :]
        refused(tmp_path / "last.safetensors", torn[: len(WHOLE)])


def test_two_files_mixed(tmp_path: Path) -> None:
    """The beginning of a newer checkpoint and the rest of an older one, of the same shapes."""
    newer = to_bytes(Checkpoint({name: array + 1 for name, array in ARRAYS.items()}, META))
    assert len(newer) == len(WHOLE)
    for at in (HEADER, HEADER + 512, len(WHOLE) - 64):
        refused(tmp_path / "last.safetensors", newer[:at] + WHOLE[at:])


def signed(entries: dict[str, Any], content: bytes) -> bytes:
    """A safetensors file with these entries in its header and a digest that is right."""
    meta = json.dumps({"format": 2, "sha256": "0" * 64, **META})
    header = json.dumps({"__metadata__": {"nnbackprop": meta}, **entries}).encode()
    whole = struct.pack("<Q", len(header)) + header + content
    digest = hashlib.sha256(whole).hexdigest().encode()
    return whole.replace(b"0" * 64, digest, 1)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_file_signed_here_loads(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(signed({"a": entry("F64", [1], 0, 8)}, np.float64(3).tobytes()))
    assert load(tmp_path / "made").arrays["a"].tolist() == [3]


@pytest.mark.parametrize(
    "entries",
    [
        {"a": entry("F64", [2], 0, 16), "b": entry("F64", [2], 8, 24)},
        {"a": entry("F64", [2], 0, 16), "b": entry("F64", [2], 0, 16)},
        {"a": entry("F64", [1], 0, 8)},
        {"a": entry("F64", [1], 16, 24)},
        {"a": entry("F64", [4], 0, 32)},
        {"a": entry("F64", [2], 0, 24)},
        {"a": entry("F64", [2**62, 2**62], 0, 24)},
        {"a": entry("F64", [10**12], 0, 8 * 10**12)},
        {"a": entry("F64", [-3], 0, 24)},
        {"a": entry("F64", [3], 24, 0)},
        {"a": entry("F99", [3], 0, 24)},
        {"a": entry("BF16", [12], 0, 24)},
        {"a": entry("F8_E4M3", [24], 0, 24)},
        {"a": [1, 2]},
        {"a": None},
    ],
    ids=lambda entries: json.dumps(entries).replace('"', ""),
)
def test_arrays_that_cannot_be_are_refused_though_signed(entries: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(signed(entries, bytes(24)))
    with pytest.raises(RunFolderError, match=r"last\.safetensors cannot be used.*its arrays cannot be read"):
        load(path)


@pytest.mark.parametrize("name", ["params/0/W", "best/0/W"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_though_signed(name: str, bad: float, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save(path, Checkpoint({name: np.array([1.0, bad])}, META))
    with pytest.raises(RunFolderError, match=rf"last\.safetensors cannot be used.*{name} holds numbers that"):
        load(path)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "draw", lambda *_: None)
    assert run("train", "weight-height", "--epochs", "3", "--keep", "1", "--progress", "off") == 0
    return Path("runs/weight-height/checkpoints")


def change(name: str, how: Callable[[np.ndarray], np.ndarray]) -> Callable[[Checkpoint], Checkpoint]:
    return lambda found: replace(found, arrays={**found.arrays, name: how(found.arrays[name])})


def without(name: str) -> Callable[[Checkpoint], Checkpoint]:
    return lambda found: Checkpoint(
        {key: array for key, array in found.arrays.items() if key != name},
        {key: value for key, value in found.meta.items() if key != name},
    )


def beside(name: str, value: Any) -> Callable[[Checkpoint], Checkpoint]:
    return lambda found: replace(found, meta={**found.meta, name: value})


WRONG = {
    "dtype": (change("params/0/W", lambda a: a.astype("f4")), "shape (2, 2) of float32 at params/0/W"),
    "integers": (change("params/0/b", lambda a: a.astype("i8")), "shape (2,) of int64 at params/0/b"),
    "shape": (change("params/0/W", lambda a: a.reshape(4)), "shape (4,) of float64 at params/0/W"),
    "rows": (change("params/0/b", lambda a: np.append(a, 0)), "shape (3,) of float64 at params/0/b"),
    "a weight missing": (without("params/0/W"), "nothing at params/0/W"),
    "not a number": (change("params/0/W", lambda a: a * np.nan), "params/0/W holds numbers that are not finite"),
}


@pytest.mark.parametrize(("which", "words"), [("last", ["train", "--resume"]), ("best", ["evaluate"])])
@pytest.mark.parametrize("what", WRONG)
def test_the_commands_refuse_what_is_signed_and_does_not_fit(
    what: str, which: str, words: list[str], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, (changed, said) = trained / f"{which}.safetensors", WRONG[what]
    save(path, changed(load(path)))
    capsys.readouterr()
    assert run(*words, "weight-height") == 5
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\n", b"3\n", b"[]\n", b'{"epoch": "1"}\n', b'{"step": 1}\n', b"\0\0\n", b"[" * 100_000 + b"\n"],
    ids=lambda content: repr(content[:12]),
)
def test_rows_that_are_none_are_refused_and_left_as_they_are(
    content: bytes, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = trained.parent / "metrics.jsonl"
    metrics.write_bytes(content)
    assert run("train", "--resume", "last", "--epochs", "5") == 5
    assert f"{metrics} holds a line that is no row of an epoch" in " ".join(capsys.readouterr().err.split())
    assert metrics.read_bytes() == content


@pytest.mark.parametrize("name", ["a" * 300, "a" * 5000, "a\0b"], ids=len)
def test_a_name_that_no_file_can_have_is_no_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", name) == 5
    assert "is no run folder" in " ".join(capsys.readouterr().err.split())
