"""As many threads for everybody, whichever library starts them: by its variable and by the cores it may use."""

from __future__ import annotations

import os

from nnbackprop._system_info import POOLS, cores, use_threads

VARIABLES = (*POOLS, "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


def variables(threads: int) -> dict[str, str]:
    """What a process's environment must say before it starts."""
    return dict.fromkeys(VARIABLES, str(threads))


def hold() -> int:
    """Stay on as many cores as `variables` says, which is how XLA counts them; returns the number."""
    threads = int(os.environ.get(VARIABLES[0], cores()))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    use_threads(threads)
    return threads
