"""Files: opened without waiting or guessing, and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import DataError, NnbackpropError, RunFolderError


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; OSError at once for a folder, a pipe or a device."""
    return open(path, "rb", opener=_descriptor)


def size_of(stream: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(stream.fileno()).st_size


@contextlib.contextmanager
def open_data(path: Path, kind: str) -> Iterator[BinaryIO]:
    """Open a file for a parser of `kind`; whatever opening or parsing raises becomes a DataError."""
    try:
        with open_file(path) as stream:
            yield stream
    except NnbackpropError:
        raise
    except Exception as error:  # parsers raise many kinds at damaged files
        raise DataError(
            f"{path} cannot be read as {kind}: {error}. See that it is a whole {kind} file and that "
            "you may read it."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one rename: after a crash it is the old file or the new one, whole."""
    with _replacing(path) as temporary:
        _write(temporary, content)


def link(path: Path, other: Path) -> None:
    """Make `other` a second name of `path`, in one rename; a copy where the file system has no hard links."""
    with _replacing(other) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            _write(temporary, path.read_bytes())


def append(path: Path, content: bytes) -> None:
    """Add `content` to the end of `path`; a write that fails leaves nothing behind."""
    with _writing(path):
        before = path.stat().st_size if path.exists() else 0
        try:
            _write(path, content, "ab")
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, before)
            raise


def remove(path: Path) -> None:
    """Remove a file, if it exists."""
    with _writing(path):
        path.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what interrupted writes left in a folder that nobody is writing to."""
    for temporary in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            temporary.unlink()


def _descriptor(path: str, flags: int) -> int:
    """Open without blocking, as opening a pipe would wait for its other end."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # `open` itself refuses a folder
        os.close(descriptor)
        raise OSError("it is a pipe or a device; a file is needed, which can be read more than once")
    return descriptor


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name whose file is renamed to `path` at the end, and removed on failure."""
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder: name a file in it.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        temporary.unlink(missing_ok=True)  # a crash may have left a hard link to a checkpoint there
        try:
            yield temporary
            _rename(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)  # a rename leaves it if both were the same file already
    _fsync_folder(path.parent)


def _rename(temporary: Path, path: Path) -> None:
    """Rename over `path`. Windows refuses while a reader has it open: it is waited for, a second in all."""
    for pause in (0.01, 0.04, 0.15, 0.8) if sys.platform == "win32" else ():
        with contextlib.suppress(PermissionError):
            os.replace(temporary, path)
            return
        time.sleep(pause)
    os.replace(temporary, path)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """OSError becomes a RunFolderError that names the file."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{path} could not be written ({error.strerror or error}): see that its folder is there, has "
            "space and may be written to. What the file held before is untouched."
        ) from error


def _write(path: Path, content: bytes, mode: str = "wb") -> None:
    with path.open(mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened (Windows does not)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
