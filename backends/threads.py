"""Threads for compiled loops: as many as those of matrix products.

numba's own pool, and those of OpenMP, keep waiting threads busy, and so fight with OpenBLAS's over the cores.
These sleep until there is work; a loop that releases Python's lock then runs on all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

_threads: int | None = None


def set_num_threads(threads: int) -> None:
    """Use so many threads, from now on."""
    global _threads
    _threads = threads


def get_num_threads() -> int:
    """What was set, else what OpenBLAS or OpenMP was told by its variable, else as many as there are cores."""
    if _threads is not None:
        return _threads
    told = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_blocks(run: Callable[[int], None], blocks: int) -> None:
    """Call `run(block)` for each of `blocks` blocks, in whichever order threads are free for them."""
    others = min(get_num_threads(), blocks) - 1
    left = iter(range(blocks))

    def work() -> None:
        for block in left:  # each thread takes the next one
            run(block)

    waiting = [_pool(others).submit(work) for _ in range(others)]
    work()
    for thread in waiting:
        thread.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="nnbackprop-loops")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of its parent's threads
