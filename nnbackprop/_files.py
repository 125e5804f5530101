"""Files written whole or not at all, and what a crash leaves of them swept away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import RunFolderError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one rename; after a crash the old file or the new one is there, whole."""
    with _replacing(path) as temporary:
        _write(temporary, content)


def name_again(path: Path, other: Path) -> None:
    """Let `other` name what `path` names now, in one rename; a copy where the file system has no second names."""
    with _replacing(other) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            _write(temporary, path.read_bytes())


def append(path: Path, content: bytes) -> None:
    """Add `content` to the end of `path`; of a write that fails nothing is left there."""
    with _told(path):
        before = path.stat().st_size if path.exists() else 0
        try:
            _write(path, content, "ab")
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, before)
            raise


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with _told(path):
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what writes that were cut off left in a folder that nobody writes to at present."""
    for temporary in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name for what is then renamed to `path`, and gone whatever happens."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _told(path):
        temporary.unlink(missing_ok=True)  # a crash may leave a second name of a checkpoint there
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)  # which a rename leaves where both were the same file already
    _fsync_folder(path.parent)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system refuses becomes a RunFolderError that names the file."""
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
