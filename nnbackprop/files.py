"""Files written whole or not at all, and what a crash leaves of them swept away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import RunFolderError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one rename; after a crash the old file or the new one is there, whole."""
    temporary = _beside(path)
    try:
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


def name_again(path: Path, other: Path) -> None:
    """Let `other` name what `path` names now, in one rename; a copy where the file system has no second names."""
    temporary = _beside(other)
    try:
        os.link(path, temporary)
    except OSError:
        write_atomically(other, path.read_bytes())
        return
    os.replace(temporary, other)
    temporary.unlink(missing_ok=True)  # which a rename leaves where both were the same file already


def sweep(folder: Path) -> None:
    """Remove what a write that was cut off left in a folder that nobody writes to at present."""
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened (Windows does not)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
