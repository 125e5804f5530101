"""Checkpoints: what is written is what is read, whole or not at all, and damage has a name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nnbackprop._files import write_atomically
from nnbackprop.errors import RunFolderError
from nnbackprop.runs.checkpoint import FORMAT, Checkpoint, fill, flatten, load, save

TREE = ({"W": np.arange(6.0).reshape(2, 3), "b": np.zeros(3)}, {}, {"W": np.ones((3, 1))})


def test_a_tree_survives_flattening() -> None:
    flat = flatten(TREE, "params")
    assert set(flat) == {"params/0/W", "params/0/b", "params/2/W"}
    again = fill(TREE, flat, "params")
    assert again[1] == {}
    assert np.array_equal(again[0]["W"], TREE[0]["W"])


def test_fill_names_what_does_not_fit() -> None:
    with pytest.raises(RunFolderError, match=r"nothing at params/2/W.*\(3, 1\)"):
        fill(TREE, {k: v for k, v in flatten(TREE, "params").items() if k != "params/2/W"}, "params")
    with pytest.raises(RunFolderError, match=r"shape \(2,\) of float64 at params/0/b.*\(3,\)"):
        fill(TREE, flatten(TREE, "params") | {"params/0/b": np.zeros(2)}, "params")
    with pytest.raises(RunFolderError, match=r"shape \(3,\) of float32 at params/0/b.*of float64"):
        fill(TREE, flatten(TREE, "params") | {"params/0/b": np.zeros(3, np.float32)}, "params")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_transposed_and_sliced_arrays_come_back_in_their_order(tmp_path: Path, dtype: type) -> None:
    """safetensors 825: it writes a non-contiguous array's memory as it lies."""
    a = np.arange(24, dtype=dtype).reshape(4, 6)
    views = {
        "transposed": a.T,
        "fortran": np.asfortranarray(a),
        "sliced": a[::2, 1:5:2],
        "scalar": np.array(3, dtype),
    }
    save(tmp_path / "c.safetensors", Checkpoint(views, {}))
    for read in (load(tmp_path / "c.safetensors").arrays, load_file(tmp_path / "c.safetensors")):
        for name, view in views.items():
            assert read[name].dtype == dtype
            assert read[name].shape == view.shape
            assert np.array_equal(read[name], view)


def test_values_beside_the_arrays_come_back(tmp_path: Path) -> None:
    meta = {"progress": {"step": 7, "loss": 0.1}, "classes": ["0", "ü"]}
    save(tmp_path / "c.safetensors", Checkpoint({"a": np.ones(2)}, meta))
    assert load(tmp_path / "c.safetensors").meta == meta


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        RunFolderError, match=r"last\.safetensors cannot be used.*damaged, or not written by nnbackprop"
    ):
        load(path)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save(path, Checkpoint({"a": np.ones(100)}, {}))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunFolderError, match="cut off or damaged"):
        load(path)


def test_somebody_elses_safetensors_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(RunFolderError, match="not written by nnbackprop"):
        load(tmp_path / "x.safetensors")


def test_another_format_says_which(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, tmp_path / "x.safetensors", {"nnbackprop": json.dumps({"format": 99})})
    with pytest.raises(RunFolderError, match=f"format 99 and this version reads format {FORMAT}"):
        load(tmp_path / "x.safetensors")


def test_a_missing_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no checkpoint at"):
        load(tmp_path / "last.safetensors")
