"""Reuse of freed memory, and MemoryError in place of the libraries' own errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np


def keep_freed_memory() -> None:
    """Let glibc keep the memory of large temporaries instead of returning it to the system at every free.

    It learns from the largest block freed so far, up to 32 MiB; a page fault for each 4 KiB of every temporary
    costs an unfused update 4 to 6 times its arithmetic. Without glibc this does nothing.
    """
    np.empty(32_000_000, np.uint8)


@contextlib.contextmanager
def raise_memory_error(kind: type[Exception], message: str) -> Iterator[None]:
    """A context that raises MemoryError for an error of a `kind` with `message` in its text."""
    try:
        yield
    except kind as error:
        if message in str(error):
            raise MemoryError(str(error)) from error
        raise
