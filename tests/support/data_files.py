"""Data files made by hand from their specifications, and the check that a faulty one is refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data import load
from nnbackprop.errors import DataError


def write_file(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_refused(path: Path, words: str | None = None, read: Callable[[Path], Any] = load) -> None:
    """Assert that reading `path` raises a DataError that names it and matches `words`."""
    with pytest.raises(DataError, match=words) as error:
        read(path)
    assert str(path) in str(error.value)


def idx(shape: tuple[int, ...], body: bytes, kind: int = 0x08) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, kind, len(shape), *shape) + body


def idx_of(array: np.ndarray) -> bytes:
    return idx(array.shape, array.astype(np.uint8).tobytes())


def npy(shape: object, body: bytes, descr: str = "|u1") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def png(bits: int, colours: int, rows: int, columns: int, pixels: bytes) -> bytes:
    """A PNG by ISO/IEC 15948; each row of `pixels` begins with the number of its filter."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, bits, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
