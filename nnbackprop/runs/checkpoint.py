"""A checkpoint is one safetensors file: arrays by path, JSON in its metadata. Any backend opens any other's.

Its metadata holds the SHA-256 of the whole file, taken with the digest's own 64 characters as zeros: whatever bit
of it changes, it is refused. Its size is held to the limit of one file when it is written too: what a run leaves,
it can read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends import Tree, dtype_name
from nnbackprop._files import open_file, size_of, write_atomically
from nnbackprop.data.limits import JSON_GROWTH, MemoryBudget
from nnbackprop.errors import RunFolderError, TooLargeError

FORMAT = 2
LENGTH_SIZE = 8  # bytes that say how long the header is, which follows them
MAX_HEADER_SIZE = 2**24  # bytes: names of arrays and classes, of which a million fit
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')  # in JSON that is a string of JSON


@dataclass(frozen=True)
class Checkpoint:
    """Host arrays, named by their path in the state such as `params/0/W`, and plain JSON values."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def flatten(tree: Tree, prefix: str) -> dict[str, Any]:
    """Arrays of a tree by path: {"params/0/W": W, ...}; the inverse of `unflatten`."""
    if not isinstance(tree, (dict, tuple)):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, branch in (tree if isinstance(tree, dict) else dict(enumerate(tree))).items():
        flat |= flatten(branch, f"{prefix}/{name}")
    return flat


def unflatten(template: Tree, arrays: dict[str, np.ndarray], prefix: str) -> Tree:
    """A tree shaped like `template` with the arrays found under `prefix`; RunFolderError if one does not fit."""
    if isinstance(template, dict):
        return {name: unflatten(branch, arrays, f"{prefix}/{name}") for name, branch in template.items()}
    if isinstance(template, tuple):
        return tuple(unflatten(branch, arrays, f"{prefix}/{i}") for i, branch in enumerate(template))
    found = arrays.get(prefix)
    dtype = dtype_name(template)
    if found is None or found.shape != tuple(template.shape) or found.dtype != dtype:
        got = "nothing" if found is None else f"shape {found.shape} of {found.dtype}"
        raise RunFolderError(
            f"The checkpoint has {got} at {prefix}, and this network needs shape {tuple(template.shape)} of "
            f"{dtype}: it was written by another network. Open it with the configuration of its own run folder."
        )
    return found


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` whole or not at all; TooLargeError for one that `load` would not read."""
    content = to_bytes(checkpoint)
    if (header := _header_length(content)) > MAX_HEADER_SIZE:
        raise TooLargeError(
            f"{path}: would have {header:,} bytes of names beside its numbers, and {MAX_HEADER_SIZE:,} are read: "
            "give the classes shorter names, or have fewer of them."
        )
    _check_size(path, len(content), header)
    write_atomically(path, content)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; RunFolderError names the file and what is wrong with it.

    TooLargeError, before memory is taken, if that is its size.
    """
    try:
        with open_file(path) as stream:
            size = size_of(stream)
            _check_size(path, size, min(_header_length(stream.read(LENGTH_SIZE)), size, MAX_HEADER_SIZE))
            stream.seek(0)
            content = stream.read(size)
    except TooLargeError:
        raise
    except FileNotFoundError:
        raise RunFolderError(
            f"There is no checkpoint at {path}: train a run first, or name another run folder."
        ) from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror or error}): see who may read it.") from error
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
    # a sum of the epoch under way may be infinite, and is gone on from: json.dumps keeps it, though it is no JSON
    content = serialise(arrays, {"nnbackprop": json.dumps(meta)})
    return b"".join(_sealed(content, hashlib.sha256(content).hexdigest().encode()))


def from_bytes(content: bytes) -> Checkpoint:
    """The checkpoint in a file's bytes; ValueError says in words why there is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        if (length := _header_length(content)) > min(len(content) - LENGTH_SIZE, MAX_HEADER_SIZE):
            raise ValueError("its header is longer than it can be")
        header = json.loads(content[LENGTH_SIZE : LENGTH_SIZE + length])
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
        if name.startswith(("params/", "best/", "scaling/", "target_scaling/")) and not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite, which no run saves")
    return Checkpoint(arrays, {name: value for name, value in meta.items() if name not in ("format", "sha256")})


def _check_digest(content: bytes) -> None:
    found = DIGEST.search(content)
    if found is None:
        raise ValueError("it has no SHA-256 to know damage by")
    digest = hashlib.sha256()
    for part in _sealed(content, NO_DIGEST):
        digest.update(part)
    if digest.hexdigest().encode() != found[1]:
        raise ValueError("its bytes do not have the SHA-256 that it says: it was cut off or damaged")


def _sealed(content: bytes, digest: bytes) -> tuple[memoryview, bytes, memoryview]:
    """The same bytes with another digest in the first place that has one, in parts, as a copy may be large."""
    begin, end = DIGEST.search(content).span(1)  # type: ignore[union-attr]
    view = memoryview(content)
    return view[:begin], digest, view[end:]


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:LENGTH_SIZE], "little")


def _check_size(path: Path, size: int, header: int) -> None:
    """TooLargeError where `size` bytes, `header` of them JSON, are beyond the limit of one file."""
    MemoryBudget(str(path), error=TooLargeError).reserve(size + JSON_GROWTH * header)
