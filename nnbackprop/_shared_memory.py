"""Memory that the processes of one machine share."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile

from backends.collectives import Processes

FOLDER = "/dev/shm"  # files of memory, which Linux has


def shared_memory(size: int, processes: Processes) -> mmap.mmap | None:
    """`size` bytes of zeros that all processes see, or None where one of them cannot have them; collective."""
    own, path = None, None
    if processes.rank == 0:
        with contextlib.suppress(OSError):
            file, path = tempfile.mkstemp(dir=FOLDER, prefix="nnbackprop-")
            own = _mapped(file, size)
    path = processes.broadcast(path)
    if processes.rank and path is not None:
        with contextlib.suppress(OSError):
            own = _mapped(os.open(path, os.O_RDWR), size)
    all_have_it = all(processes.all_gather_object(own is not None))
    if processes.rank == 0 and path is not None:
        os.unlink(path)  # the memory stays for as long as it is mapped
    return own if all_have_it else None


def _mapped(file: int, size: int) -> mmap.mmap:
    try:
        if sys.platform == "linux":  # as /dev/shm is
            os.posix_fallocate(file, 0, size)  # OSError where there is no room, and no crash at the first use
        return mmap.mmap(file, size)
    finally:
        os.close(file)
