"""IDX, the format MNIST was published in, plain or gzipped.

Big-endian: two zero bytes, a type, the number of axes, an int32 length for each axis, then the values.
Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import DEFLATE_RATIO, MemoryBudget
from nnbackprop.data.raw import RawDataset, Task
from nnbackprop.errors import DataError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
MAX_AXES = 32
READ_SIZE = 2**18


def read_part(folder: Path, part: str, label_names: Mapping[int, str] | None = None) -> RawDataset:
    """The part "train" or "t10k", whose two gzipped files in `folder` are named as MNIST's are."""
    images, labels = (folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    return read_pair(images, labels, label_names)


def read_pair(
    images: Path,
    labels: Path,
    label_names: Mapping[int, str] | None = None,
    task: Task = "classification",
) -> RawDataset:
    """A file of images with its file of labels, or of the targets of another task."""
    x, t = read(images), read(labels)
    if t.ndim != 1 and x.ndim == 1:
        raise DataError(f"{images} holds labels and {labels} holds images: swap the two.")
    return RawDataset.from_arrays(x, t, str(images), label_names, task=task)


def read(path: Path) -> np.ndarray:
    """The array of an IDX file, plain or gzipped, in native byte order; any of the format's six types.

    Raises DataError, naming the file and the fault. Memory is allocated for bytes that are there, never for what a
    header claims, and within `limits`.
    """
    with open_data(path, "IDX") as file:
        stream = unzipped(file)
        return _parse(stream, size_of(file) * (1 if stream is file else DEFLATE_RATIO), path)


def unzipped(file: BinaryIO) -> BinaryIO:
    """What a file holds, from its beginning: the text or array itself, gzipped or not."""
    zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if zipped else file  # type: ignore[return-value]


def _parse(stream: BinaryIO, max_size: int, path: Path) -> np.ndarray:
    shape, dtype = _read_header(stream, path)
    size = math.prod(shape) * dtype.itemsize
    claim = f"its header promises {shape} values of {dtype.name}, {size} bytes"
    if size > max_size:
        raise DataError(f"{path}: {claim}, more than the file can hold. Copy or download it again.")
    MemoryBudget(str(path)).reserve_array(shape, dtype)
    body = read_up_to(stream, size + 1)
    if len(body) != size:
        found = f"only {len(body)} follow; it is truncated" if len(body) < size else "further bytes follow"
        raise DataError(f"{path}: {claim}, but {found}. Copy or download it again.")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: BinaryIO, path: Path) -> tuple[tuple[int, ...], np.dtype]:
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
    return shape, np.dtype(TYPES[magic[2]])


def read_up_to(stream: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """At most `size` bytes; memory grows with what has been read."""
    body = bytearray()
    while len(body) < size and (piece := stream.read(min(READ_SIZE, size - len(body)))):
        body += piece
    return body


def to_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as an IDX file, not gzipped: the inverse of `read`."""
    header = bytes([0, 0, 0x08, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + np.ascontiguousarray(array, np.uint8).tobytes()
