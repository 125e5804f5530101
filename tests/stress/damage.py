"""Checkpoint files whose bytes have changed: each must be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nnbackprop.errors import RunFolderError
from nnbackprop.runs.checkpoint import load

REASONS = (
    "it was cut off, damaged, or not written by nnbackprop|it has format .* and this version reads format"
    "|it has no SHA-256 to know damage by|its bytes do not have the SHA-256 that it says"
)


def assert_refused(path: Path, content: bytes) -> None:
    """AssertionError unless `content` is refused by an error that names `path` and says what is wrong."""
    path.write_bytes(content)
    try:
        load(path)
        message = f"{path} is damaged, and was loaded all the same"
    except RunFolderError as error:
        message = str(error)
    assert re.match(f"{re.escape(str(path))} cannot be used as a checkpoint: ({REASONS})", message), message


def flip_bit(content: bytes, bit: int) -> bytes:
    """`content` with one bit the other way."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damage(path: Path) -> None:
    """Flip one bit of a file."""
    content = path.read_bytes()
    path.write_bytes(flip_bit(content, 8 * (len(content) - 1)))


def all_damaged(content: bytes) -> Iterator[bytes]:
    """Each bit flipped, and each length cut to."""
    yield from (flip_bit(content, bit) for bit in range(8 * len(content)))
    yield from (content[:length] for length in range(len(content)))
