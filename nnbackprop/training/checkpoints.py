"""A checkpoint is one safetensors file: arrays by path, JSON in its metadata. Any backend opens any other's."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends import Tree
from nnbackprop.errors import RunFolderError

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """Host arrays, named by their path in the state such as `params/0/W`, and plain JSON values."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def flatten(tree: Tree, prefix: str) -> dict[str, Any]:
    """Arrays of a tree by path: {"params/0/W": W, ...}; the inverse of `fill`."""
    if not isinstance(tree, (dict, tuple)):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, branch in (tree if isinstance(tree, dict) else dict(enumerate(tree))).items():
        flat |= flatten(branch, f"{prefix}/{name}")
    return flat


def fill(template: Tree, arrays: dict[str, np.ndarray], prefix: str) -> Tree:
    """A tree shaped like `template` with the arrays found under `prefix`; RunFolderError if one does not fit."""
    if isinstance(template, dict):
        return {name: fill(branch, arrays, f"{prefix}/{name}") for name, branch in template.items()}
    if isinstance(template, tuple):
        return tuple(fill(branch, arrays, f"{prefix}/{i}") for i, branch in enumerate(template))
    found = arrays.get(prefix)
    if found is None or found.shape != tuple(template.shape):
        got = "nothing" if found is None else f"shape {found.shape}"
        raise RunFolderError(
            f"The checkpoint has {got} at {prefix}, and this network needs shape {tuple(template.shape)}: "
            "it was written by another network. Open it with the configuration of its own run folder."
        )
    return found


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` whole or not at all: a temporary name, fsync, one rename."""
    from safetensors.numpy import save as to_bytes

    # safetensors writes a transposed view's memory as it lies, in the wrong order: hand it C order alone.
    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in checkpoint.arrays.items()}
    meta = {"nnbackprop": json.dumps({"format": FORMAT, **checkpoint.meta})}
    write_atomically(path, to_bytes(arrays, meta))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; RunFolderError names the file and what is wrong with it."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RunFolderError(f"There is no checkpoint at {path}: train a run first, or name another run folder.")
    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {})["nnbackprop"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise RunFolderError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}). It is damaged or was not "
            "written by nnbackprop; use another checkpoint of the run, or train again."
        ) from error
    if meta.get("format") != FORMAT:
        raise RunFolderError(
            f"{path} has checkpoint format {meta.get('format')} and this version reads format {FORMAT}: "
            "open it with the version of nnbackprop that wrote it (see env.json beside it)."
        )
    return Checkpoint(arrays, meta)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one rename; after a crash the old file or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunFolderError(
            f"{path} could not be written ({error.strerror or error}): free some space or choose another place "
            "with --runs-dir. What was there before is untouched."
        ) from error
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened (Windows does not)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
