"""IDX, the format MNIST was published in, plain or gzipped.

Big-endian: two zero bytes, a type, the number of axes, an int32 length for each axis, then the values.
Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
"""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import DEFLATE_RATIO, Budget
from nnbackprop.data.table import Table
from nnbackprop.errors import DataError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"
MAX_AXES = 32
PIECE = 2**18


def read_part(
    folder: Path, part: str, names: Mapping[int, str] | None = None, digests: Mapping[str, str] | None = None
) -> Table:
    """The table of the part "train" or "t10k", whose two gzipped files in `folder` are named as MNIST's are."""
    images, labels = (folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    return read_table(images, labels, names, digests)


def read_table(
    images: Path, labels: Path, names: Mapping[int, str] | None = None, digests: Mapping[str, str] | None = None
) -> Table:
    """The table of a file of images and a file of labels; `digests` by file name, see `read`."""
    x, t = (read(path, (digests or {}).get(path.name)) for path in (images, labels))
    if t.ndim != 1 and x.ndim == 1:
        raise DataError(f"{images} holds labels and {labels} holds images: swap the two.")
    return Table.of(x, t, str(images), names)


def read(path: Path, digest: str | None = None) -> np.ndarray:
    """The array of an IDX file, plain or gzipped, in native byte order; any of the format's six types.

    `digest` is the SHA-256 that the decompressed bytes must have. Raises DataError, naming the file and
    the fault. Memory is taken for bytes that are there, never for what a header claims, and within `limits`.
    """
    with open_data(path, "IDX") as file:
        zipped = file.read(len(GZIP)) == GZIP
        file.seek(0)
        limit = size_of(file) * (DEFLATE_RATIO if zipped else 1)
        return _parse(gzip.GzipFile(fileobj=file) if zipped else file, limit, path, digest)


def _parse(stream: BinaryIO | gzip.GzipFile, limit: int, path: Path, digest: str | None) -> np.ndarray:
    header, shape, dtype = _header(stream, path)
    size = math.prod(shape) * dtype.itemsize
    claim = f"its header promises {shape} values of {dtype.name}, {size} bytes"
    if size > limit:
        raise DataError(f"{path}: {claim}, more than the file can hold. Copy or download it again.")
    Budget(str(path)).take_array(shape, dtype)
    body = read_up_to(stream, size + 1)
    if len(body) != size:
        found = f"only {len(body)} follow; it is truncated" if len(body) < size else "further bytes follow"
        raise DataError(f"{path}: {claim}, but {found}. Copy or download it again.")
    if digest is not None and hashlib.sha256(header + body).hexdigest() != digest:
        raise DataError(f"{path}: its contents do not have SHA-256 {digest}. Copy or download it again.")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(stream: BinaryIO | gzip.GzipFile, path: Path) -> tuple[bytes, tuple[int, ...], np.dtype]:
    """The header's bytes, and the shape and type it states."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise DataError(
            f"{path}: begins with bytes {magic.hex(' ') or '(none)'}, which no IDX file does "
            "(00 00, a type of 08 09 0b 0c 0d 0e, the number of axes)."
        )
    axes = stream.read(4 * magic[3])
    shape = tuple(np.frombuffer(axes[: len(axes) // 4 * 4], ">u4").tolist())
    if len(axes) != 4 * magic[3] or not 1 <= len(shape) <= MAX_AXES or 0 in shape:
        raise DataError(
            f"{path}: its header promises {magic[3]} axes and gives their lengths as {shape}; "
            f"1 to {MAX_AXES} of at least 1 are needed."
        )
    return magic + axes, shape, np.dtype(TYPES[magic[2]])


def read_up_to(stream: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """At most `size` bytes, growing with what arrives."""
    body = bytearray()
    while len(body) < size and (piece := stream.read(min(PIECE, size - len(body)))):
        body += piece
    return body
