"""Checkpoint files: what is written is read back; what is damaged, foreign or too large is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as serialise

from nnbackprop.data import limits
from nnbackprop.errors import RunFolderError, TooLargeError
from nnbackprop.runs import checkpoint as checkpoints
from nnbackprop.runs.checkpoint import FORMAT, Checkpoint, flatten, load, save, to_bytes, unflatten
from tests.stress.damage import assert_refused, flip_bit
from tests.stress.readers import with_digest, without_digest
from tests.support.memory import peak_of

TREE = ({"W": np.arange(6.0).reshape(2, 3), "b": np.zeros(3)}, {}, ({"W": np.ones((3, 1))}, {}))

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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.safetensors"


# Round trips.


def test_a_nested_tree_survives_flattening() -> None:
    flat = flatten(TREE, "params")
    assert set(flat) == {"params/0/W", "params/0/b", "params/2/0/W"}
    again = unflatten(TREE, flat, "params")
    assert (again[1], again[2][1]) == ({}, {})
    assert np.array_equal(again[0]["W"], TREE[0]["W"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"params/2/0/W": None}, r"nothing at params/2/0/W.*\(3, 1\)"),
        ({"params/0/b": np.zeros(2)}, r"shape \(2,\) of float64 at params/0/b.*\(3,\)"),
        ({"params/0/b": np.zeros(3, np.float32)}, r"shape \(3,\) of float32 at params/0/b.*of float64"),
    ],
)
def test_unflatten_names_the_array_that_does_not_fit(change: dict[str, Any], said: str) -> None:
    arrays = {name: a for name, a in {**flatten(TREE, "params"), **change}.items() if a is not None}
    with pytest.raises(RunFolderError, match=said):
        unflatten(TREE, arrays, "params")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_transposed_and_sliced_arrays_come_back_in_their_order(dtype: type, path: Path) -> None:
    """safetensors 825: it writes a non-contiguous array's memory as it lies."""
    a = np.arange(24, dtype=dtype).reshape(4, 6)
    views = {"transposed": a.T, "sliced": a[::2, 1:5:2], "fortran": np.asfortranarray(a), "scalar": a[0, 3]}
    save(path, Checkpoint(views, {}))
    for read in (load(path).arrays, load_file(path)):
        for name, view in views.items():
            assert (read[name].dtype, read[name].shape) == (dtype, view.shape)
            assert np.array_equal(read[name], view)


def test_arrays_and_metadata_come_back(path: Path) -> None:
    path.write_bytes(WHOLE)
    found = load(path)
    assert found.meta == META
    assert all(np.array_equal(found.arrays[name], array) for name, array in ARRAYS.items())


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place() -> None:
    begin, end = DIGEST
    zeros = WHOLE[:begin] + b"0" * 64 + WHOLE[end:]
    assert hashlib.sha256(zeros).hexdigest().encode() == WHOLE[begin:end]


# Damage.


@pytest.mark.parametrize(
    ("begin", "end"),
    [(0, 8), (8, HEADER), DIGEST, (HEADER, len(WHOLE))],
    ids=["header length", "header", "digest", "arrays"],
)
def test_one_flipped_bit_is_refused(begin: int, end: int, path: Path) -> None:
    """Up to 400 random bits of each part of the file."""
    bits = range(8 * begin, 8 * end)
    for bit in random.Random(begin).sample(bits, min(400, len(bits))):
        assert_refused(path, flip_bit(WHOLE, bit))


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    for length in random.Random(1).sample(range(len(WHOLE)), 1000):
        assert_refused(path, WHOLE[:length])


@pytest.mark.parametrize("more", [b"\0", b" ", b"}", WHOLE, bytes(4096)], ids=lambda more: f"{len(more)} bytes")
def test_added_bytes_are_refused(more: bytes, path: Path) -> None:
    for content in (WHOLE + more, more + WHOLE, WHOLE[:HEADER] + more + WHOLE[HEADER:]):
        assert_refused(path, content)


def test_a_block_of_zeros_is_refused(path: Path) -> None:
    """As a file system may leave where the power failed before the block reached the disk."""
    for begin in range(0, len(WHOLE), 64):
        assert_refused(path, (WHOLE[:begin] + bytes(64) + WHOLE[begin + 64 :])[: len(WHOLE)])


def test_a_mixture_of_two_checkpoints_is_refused(path: Path) -> None:
    newer = to_bytes(Checkpoint({name: array + 1 for name, array in ARRAYS.items()}, META))
    assert len(newer) == len(WHOLE)
    for at in (HEADER, HEADER + 512, len(WHOLE) - 64):
        assert_refused(path, newer[:at] + WHOLE[at:])


# Files of others.


@pytest.mark.parametrize(
    "content", [b"", b"not safetensors at all", b"\xff" * 64, serialise({"a": np.ones(2)})], ids=len
)
def test_a_file_that_is_no_checkpoint_of_ours_is_named(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"last\.safetensors cannot be used.*not written by nnbackprop"):
        load(path)


def test_another_format_says_which(path: Path) -> None:
    save_file({"a": np.ones(2)}, path, {"nnbackprop": json.dumps({"format": 99})})
    with pytest.raises(RunFolderError, match=f"format 99 and this version reads format {FORMAT}"):
        load(path)


def test_a_missing_checkpoint_says_so(path: Path) -> None:
    with pytest.raises(RunFolderError, match="no checkpoint at"):
        load(path)


def with_header(entries: dict[str, Any], content: bytes) -> bytes:
    """A safetensors file with these entries in its header and a digest that is right."""
    meta = json.dumps({"format": 2, "sha256": "0" * 64, **META})
    return with_digest(json.dumps({"__metadata__": {"nnbackprop": meta}, **entries}).encode() + b"\n" + content)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_file_with_a_right_header_and_digest_loads(path: Path) -> None:
    path.write_bytes(with_header({"a": entry("F64", [1], 0, 8)}, np.float64(3).tobytes()))
    assert load(path).arrays["a"].tolist() == [3]


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
def test_impossible_arrays_are_refused_even_with_a_right_digest(entries: dict[str, Any], path: Path) -> None:
    path.write_bytes(with_header(entries, bytes(24)))
    with pytest.raises(RunFolderError, match=r"last\.safetensors cannot be used.*its arrays cannot be read"):
        load(path)


@pytest.mark.parametrize("name", ["params/0/W", "best/0/W", "scaling/scale"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_refused(name: str, bad: float, path: Path) -> None:
    save(path, Checkpoint({name: np.array([1.0, bad])}, META))
    with pytest.raises(RunFolderError, match=rf"last\.safetensors cannot be used.*{name} holds numbers that"):
        load(path)


# The limit of memory for one file.

CAP = 2**20
TOO_LARGE = r"would take [\d,]+ bytes of memory, and one file may take 1,048,576.*NNBACKPROP_MAX_BYTES=\d+"
SMALL = Checkpoint({"params/0/W": np.ones((2, 3))}, {"progress": {"step": 1}})
LARGE = Checkpoint({"params/0/W": np.ones((2**9, 2**9))}, {"progress": {"step": 2}})


def asked_limit(error: Exception) -> int:
    """The limit that a refusal says is needed."""
    return int(str(error).partition(f"{limits.ENVIRONMENT_VARIABLE}=")[2].partition(" ")[0])


def test_a_checkpoint_beyond_the_limit_is_refused_unread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(CAP))
    save(path, SMALL)
    os.truncate(path, 2**28)

    def read() -> None:
        with pytest.raises(TooLargeError, match=rf"last\.safetensors: {TOO_LARGE}"):
            load(path)

    assert peak_of(read) < CAP


def with_json(inner: bytes) -> bytes:
    """A checkpoint with its digest whose header holds this JSON among its arrays."""
    header, _, arrays = without_digest(to_bytes(SMALL)).partition(b"\n")
    return with_digest(header.rstrip(b" }") + b'}, "x": ' + inner + b"}\n" + arrays)


FULL = {
    "floats": to_bytes(LARGE),
    "bytes": to_bytes(Checkpoint({"params/0/W": np.ones((2**11, 2**10), np.uint8)}, {})),
    "many arrays": to_bytes(Checkpoint({f"params/{i}/W": np.ones(1) for i in range(9000)}, {})),
    "much metadata": to_bytes(Checkpoint({}, {"classes": ["😀" * 50] * 9000})),
    "lists in the header": with_json(b"[" + b"[]," * 2**18 + b"0]"),
    "dicts in the header": with_json(b"[" + b'{"":{"":{}}},' * 2**16 + b"0]"),
    "damaged": to_bytes(LARGE)[:-1],
}


@pytest.mark.parametrize("name", FULL)
def test_a_checkpoint_at_the_limit_takes_less_than_four_times_the_limit(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The limit is set to what the refusal says is needed, and then the file is not refused for its size."""
    save(path, SMALL)
    load(path)  # imports are not the file's memory
    path.write_bytes(FULL[name])
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, "1")
    with pytest.raises(TooLargeError) as error:
        load(path)
    asked = asked_limit(error.value)
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(asked))
    refusals: list[str] = []

    def read() -> None:
        try:
            load(path)
        except RunFolderError as error:
            refusals.append(str(error))

    peak = peak_of(read)
    assert not any("one file may take" in refusal for refusal in refusals)
    assert asked > 10**6
    assert peak < 4 * asked


def test_no_checkpoint_is_written_that_could_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, "1000")
    with pytest.raises(TooLargeError, match="one file may take 1,000") as error:
        save(path, LARGE)
    assert not path.exists()
    asked = asked_limit(error.value)
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(asked))
    save(path, LARGE)
    assert np.array_equal(load(path).arrays["params/0/W"], LARGE.arrays["params/0/W"])
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(asked - 1))
    for call in (lambda: load(path), lambda: save(path, LARGE)):
        with pytest.raises(TooLargeError, match=f"NNBACKPROP_MAX_BYTES={asked} "):
            call()


def test_a_header_longer_than_is_read_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MAX_HEADER_SIZE", 2**10)
    save(path, SMALL)
    with pytest.raises(TooLargeError, match=r"bytes of names beside its numbers, and 1,024 are read"):
        save(path.with_name("other.safetensors"), replace(SMALL, meta={"classes": ["a" * 128] * 10}))
    path.write_bytes(struct.pack("<Q", 2**10 + 1) + path.read_bytes()[8:] + bytes(2**11))
    with pytest.raises(RunFolderError, match="cut off, damaged, or not written by nnbackprop"):
        load(path)
