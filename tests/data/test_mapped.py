"""Inputs that stay in their .npy file: the same numbers, bit for bit, as those in memory."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Backend
from nnbackprop.data import Dataset, fit_scaling, load, mapped, split
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.data.mapped import MappedArray, blocks
from nnbackprop.data.raw import RawDataset, RawSplits, validate
from nnbackprop.data.readers.npz import read_pair
from nnbackprop.data.scaling import moments
from nnbackprop.errors import DataError
from tests.support.data_files import assert_refused, npy
from tests.support.memory import load_in_subprocess

LABELS = np.arange(1000) % 3


def inputs(dtype: str, columns: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype == "uint8":
        return rng.integers(0, 256, (1000, columns), np.uint8)
    return (1e3 * rng.standard_normal((1000, columns)) + 7).astype(dtype)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and windows that a thousand rows fill several of."""
    monkeypatch.setattr(mapped, "BLOCK_BYTES", 1)
    monkeypatch.setattr(mapped, "WINDOW_BYTES", 1000)


def pair(folder: Path, x: np.ndarray, max_in_memory: int = 0) -> RawDataset:
    np.save(folder / "X.npy", x)
    np.save(folder / "y.npy", LABELS[: len(x)])
    return read_pair(folder / "X.npy", folder / "y.npy", max_in_memory)


def stored(folder: Path, x: np.ndarray) -> MappedArray:
    found = pair(folder, x).inputs
    assert isinstance(found, MappedArray)
    return found


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        np.array([5, -2, 5]),
        np.arange(900, 0, -3).reshape(2, 150),
        slice(2, 800, 7),
        slice(None, None, -1),
        LABELS == 1,
        (slice(0, 9), 2),
        (4, 1),
        (np.array([1, 0]), slice(1, 3)),
        np.array([], np.int64),
    ],
    ids=lambda key: type(key).__name__,
)
def test_rows_are_those_of_the_array(tmp_path: Path, key: Any) -> None:
    x = inputs("float32")
    rows = np.random.default_rng(1).permutation(1000)
    assert np.array_equal(stored(tmp_path, x)[key], x[key])
    assert np.array_equal(stored(tmp_path, x).take(rows)[key], x[rows][key])


def test_rows_outside_and_files_cut_short_are_refused(tmp_path: Path) -> None:
    found = stored(tmp_path, inputs("float32"))
    for key in (1000, -1001, np.array([0, 1000])):
        with pytest.raises(IndexError):
            found[key]
    (tmp_path / "X.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"X\.npy cannot be read any more"):
        found[0]


def test_views_of_views_pickles_and_copies(tmp_path: Path) -> None:
    x = inputs("float32", columns=6)
    view = stored(tmp_path, x).take(np.array([9, 7, 5, 3])).take(np.array([3, 0]))
    for same in (view, pickle.loads(pickle.dumps(view)), copy.deepcopy(view)):
        assert np.array_equal(same[:], x[[3, 9]])
        assert (same.shape, same.nbytes) == ((2, 6), 48)
    assert np.array_equal(view.reshape(2, 3, -1)[1], x[9].reshape(3, 2))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_statistics_are_the_same_bits(tmp_path: Path, dtype: str, columns: int) -> None:
    x = inputs(dtype, columns)
    found = stored(tmp_path, x)
    assert len(list(blocks(found))) == 4
    for ours, theirs in zip(moments(found), moments(x), strict=True):
        assert np.array_equal(ours, theirs)
    for axis in (None, 0):
        assert np.array_equal(found.min(axis), x.min(axis))
        assert np.array_equal(found.max(axis), x.max(axis))
    assert np.array_equal(found.mean(0), x.mean(0, dtype=np.float64))
    assert np.isclose(found.mean(), x.mean(dtype=np.float64), rtol=1e-14, atol=0)  # all numbers add up in pairs
    parts = (Dataset(a, LABELS, ("a", "b", "c")) for a in (found, x))
    for kind in ("unit", "standard", "per-feature", "rashid"):
        ours, theirs = (fit_scaling(kind, part) for part in parts)
        assert np.array_equal(ours.scale, theirs.scale)
        assert np.array_equal(ours.shift, theirs.shift)
        parts = (Dataset(a, LABELS, ("a", "b", "c")) for a in (found, x))


@pytest.mark.usefixtures("small_blocks")
def test_a_value_that_is_not_finite_is_found_in_any_block(tmp_path: Path) -> None:
    x = inputs("float32")
    x[700, 2] = x[300, 4] = np.nan
    for part in (pair(tmp_path, x), RawDataset(x, LABELS, "memory")):
        with pytest.raises(DataError, match=r"2 of 5000 input values.*\(nan\) at sample 300, feature 4"):
            validate(RawSplits(part))


def test_parts_of_a_split_stay_in_the_file(tmp_path: Path) -> None:
    x = inputs("float32")
    data = Dataset(stored(tmp_path, x), LABELS, ("a", "b", "c"))
    in_memory = Dataset(x, LABELS, ("a", "b", "c"))
    for ours, theirs in zip(split(data, 0.2, 3), split(in_memory, 0.2, 3), strict=True):
        assert isinstance(ours.inputs, MappedArray)
        assert np.array_equal(ours.inputs[:], theirs.inputs)
        assert np.array_equal(ours.targets, theirs.targets)


def test_batches_stream(tmp_path: Path, backend: Backend) -> None:
    x = inputs("float32")
    data = Dataset(stored(tmp_path, x), LABELS, ("a", "b", "c"))
    device_data = DeviceDataset(backend, data, fit_scaling("none", data), "float32")
    assert not device_data.resident
    rows = np.array([[9, 0, 4], [1, 2, 999]])
    ((_, batches),) = device_data.to_device([(None, device_data.batches(rows))])
    assert np.array_equal(backend.to_numpy(batches["inputs"]), x[rows])


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 1), (6, 1, 8, 8), (6, 8, 8, 3)])
def test_images_keep_their_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    in_file, in_memory = pair(tmp_path, x), pair(tmp_path, x, x.nbytes + 200)
    assert isinstance(in_file.inputs, MappedArray)
    assert isinstance(in_memory.inputs, np.ndarray)
    assert in_file.image_shape == in_memory.image_shape
    assert np.array_equal(in_file.inputs[:], in_memory.inputs)


@pytest.mark.parametrize(
    "x",
    [
        np.asfortranarray(inputs("float32")),
        inputs("float32").astype(">f4"),
        LABELS[:, None],
        inputs("float16"),
        np.zeros((1000, 3, 8, 8), np.uint8),
    ],
    ids=["fortran", "big-endian", "int64", "float16", "channels-first"],
)
def test_what_must_be_converted_is_read(tmp_path: Path, x: np.ndarray) -> None:
    assert isinstance(pair(tmp_path, x).inputs, np.ndarray)


@pytest.mark.parametrize("shape", ["(1000000000000, 784)", "(1, 2)", "(-1, 2)", "(0, 3)", "(3,)"])
def test_a_header_that_lies_is_refused(tmp_path: Path, shape: str) -> None:
    (tmp_path / "X.npy").write_bytes(npy(shape, b"abc"))
    np.save(tmp_path / "y.npy", LABELS[:1])
    assert_refused(tmp_path / "X.npy", read=lambda path: read_pair(path, tmp_path / "y.npy", 0))


def test_the_limit_of_a_file_decides_and_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs("float32", columns=100)
    pair(tmp_path, x)
    assert isinstance(load(tmp_path).train.inputs, np.ndarray)
    monkeypatch.setenv("NNBACKPROP_MAX_BYTES", "100000")
    for source in (tmp_path, tmp_path / "X.npy", tmp_path / "y.npy"):
        assert isinstance(load(source).train.inputs, MappedArray)
    with pytest.raises(DataError, match=r"would take 320,000 bytes of memory"):
        np.asarray(load(tmp_path).train.inputs)


def test_one_of_a_pair_alone_is_a_table_or_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", LABELS)
    assert_refused(tmp_path / "y.npy", r"Name a pair X\.npy and y\.npy")


def test_loading_takes_memory_for_blocks_alone(tmp_path: Path) -> None:
    for name, rows in (("small", 1000), ("large", 640_000)):
        (tmp_path / name).mkdir()
        x = tmp_path / name / "X.npy"
        x.write_bytes(npy(f"({rows}, 100)", b"", "<f4"))
        os.truncate(x, x.stat().st_size + 400 * rows)  # zeros
        np.save(tmp_path / name / "y.npy", np.arange(rows) % 3)
    words, grown = load_in_subprocess(tmp_path / "small", tmp_path / "large", NNBACKPROP_MAX_BYTES=str(2**30))
    assert words == "(640000, 100)"
    assert grown < 128 * 2**20  # of 256 MB, which are looked at
