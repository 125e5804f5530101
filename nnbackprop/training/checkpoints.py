"""A checkpoint is one safetensors file: arrays by path, JSON in its metadata. Any backend opens any other's.

Its metadata holds the SHA-256 of the whole file, taken with the digest's own 64 characters as zeros: whatever bit
of it changes, it is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends import Tree
from nnbackprop.errors import RunFolderError
from nnbackprop.files import write_atomically

FORMAT = 2
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')  # in JSON that is a string of JSON


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
    dtype = str(template.dtype).rpartition(".")[2]  # torch's are called torch.float32
    if found is None or found.shape != tuple(template.shape) or found.dtype != dtype:
        got = "nothing" if found is None else f"shape {found.shape} of {found.dtype}"
        raise RunFolderError(
            f"The checkpoint has {got} at {prefix}, and this network needs shape {tuple(template.shape)} of "
            f"{dtype}: it was written by another network. Open it with the configuration of its own run folder."
        )
    return found


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` whole or not at all."""
    write_atomically(path, to_bytes(checkpoint))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; RunFolderError names the file and what is wrong with it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunFolderError(
            f"There is no checkpoint at {path}: train a run first, or name another run folder."
        ) from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror}): see who may read it.") from error
    try:
        return from_bytes(content)
    except ValueError as error:
        raise RunFolderError(
            f"{path} cannot be used as a checkpoint: {error}. Use another checkpoint of the run, or train again."
        ) from error


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The file of a checkpoint, its digest filled in."""
    from safetensors.numpy import save as serialise

    # safetensors writes a transposed view's memory as it lies, in the wrong order: hand it C order alone.
    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in checkpoint.arrays.items()}
    meta = {"format": FORMAT, "sha256": NO_DIGEST.decode(), **checkpoint.meta}
    content = serialise(arrays, {"nnbackprop": json.dumps(meta)})
    return _sealed(content, hashlib.sha256(content).hexdigest().encode())


def from_bytes(content: bytes) -> Checkpoint:
    """The checkpoint in a file's bytes; ValueError says in words why there is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        meta = json.loads(header["__metadata__"]["nnbackprop"])
        number = meta["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("it was cut off, damaged, or not written by nnbackprop") from error
    if number != FORMAT:
        raise ValueError(
            f"it has format {number} and this version reads format {FORMAT}; env.json beside it names the version "
            "that wrote it"
        )
    _check_digest(content)
    try:
        arrays = parse(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its arrays cannot be read ({error})") from error
    for name, array in arrays.items():
        if name.startswith(("params/", "best/", "scaling/")) and not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite, which no run saves")
    return Checkpoint(arrays, {name: value for name, value in meta.items() if name not in ("format", "sha256")})


def _check_digest(content: bytes) -> None:
    found = DIGEST.search(content)
    if found is None:
        raise ValueError("it has no SHA-256 to know damage by")
    if hashlib.sha256(_sealed(content, NO_DIGEST)).hexdigest().encode() != found[1]:
        raise ValueError("its bytes do not have the SHA-256 that it says: it was cut off or damaged")


def _sealed(content: bytes, digest: bytes) -> bytes:
    """The same bytes with another digest in the first place that has one."""
    begin, end = DIGEST.search(content).span(1)  # type: ignore[union-attr]
    return content[:begin] + digest + content[end:]
