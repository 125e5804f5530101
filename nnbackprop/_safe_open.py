"""Opening a file that may be a stranger's: what has no end, or is waited for, is refused when it is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_file(path: Path) -> BinaryIO:
    """A file opened for reading; OSError for what is none, a pipe or a device, at once."""
    return open(path, "rb", opener=_descriptor)


def size_of(stream: BinaryIO) -> int:
    """The bytes that an open file has."""
    return os.fstat(stream.fileno()).st_size


def _descriptor(path: str, flags: int) -> int:
    """The system's number for a file, opened without waiting for another end, as a pipe would be waited for."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # of a folder `open` says itself that it is one
        os.close(descriptor)
        raise OSError("it is a pipe or a device; a file is needed, which can be read more than once")
    return descriptor
