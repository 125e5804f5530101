"""The machine: its processor, the threads of matrix products, and the load of other processes."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPROC",
)
"""Variables that libraries read when they are loaded; NPROC is XLA's, the only one it has."""

BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of time in which a core is not idle; steal is what a virtual machine's host gave to others."""

MIN_LOAD = 0.25
"""Load of other processes, in cores, that is worth a warning."""


def allowed_cores() -> set[int]:
    """The numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores() -> int:
    """How many cores this process may use."""
    return len(allowed_cores())


def processor() -> str:
    """The processor's model name on Linux, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"model name\s*: (.+)", info.read_text(encoding="utf-8"))):
        return found[1]
    return platform.processor() or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    installed = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def set_num_threads(threads: int, later_imports: bool = False) -> None:
    """Set the threads of matrix products, of loaded libraries, and of our own compiled loops.

    `later_imports` sets those of libraries that are imported later too, by environment variables. XLA reads its
    own when JAX starts, and never again.
    """
    from threadpoolctl import threadpool_limits

    from backends.threads import set_num_threads as set_loop_threads

    if later_imports:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))

    threadpool_limits(threads)
    set_loop_threads(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def get_num_threads() -> int:
    """The threads of matrix products, of the libraries that are loaded."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=cores())


@dataclass(frozen=True)
class Blas:
    """The library that multiplies matrices for NumPy, and the processor whose kernels it has chosen."""

    library: str
    version: str | None
    kernel: str | None
    threads: int

    @classmethod
    def loaded(cls) -> Blas | None:
        """NumPy's, even if other packages have loaded their own; None if it is unknown, such as Apple's."""
        from threadpoolctl import threadpool_info

        pools = (pool for pool in threadpool_info() if pool["user_api"] == "blas")
        pool = min(pools, key=lambda pool: "numpy" not in pool["filepath"], default=None)
        if pool is None:
            return None
        return cls(pool["internal_api"], pool["version"], pool.get("architecture"), pool["num_threads"])


@dataclass(frozen=True)
class CpuTimes:
    """Seconds: the clock, the time that all cores together were busy, and that of this process."""

    clock: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> CpuTimes:
        """Kinds of time that the system does not report count as 0."""
        import psutil

        times = psutil.cpu_times()
        return cls(time.perf_counter(), sum(getattr(times, name, 0.0) for name in BUSY), time.process_time())


def load_of_others(before: CpuTimes, after: CpuTimes) -> float:
    """How many cores other processes kept busy between two readings, on average."""
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others / (after.clock - before.clock))


def free_cores(others: float, count: int) -> int:
    """Whole cores of `count` that others leave free, at least 1; a load below `MIN_LOAD` leaves all."""
    return max(1, count - max(0, math.ceil(others - MIN_LOAD)))


def load_warning(others: float, threads: int, count: int) -> str | None:
    """A warning where others leave fewer of `count` cores than the products' `threads`; None otherwise.

    It advises fewer threads than there are, or to wait where there is one.
    """
    if others < MIN_LOAD or others + threads <= count + MIN_LOAD:
        return None
    busy = f"others keep {others:.1f} of {count} cores busy"
    if threads == 1:
        return f"{busy}, so an epoch may take longer: wait for them to finish"
    return (
        f"{busy}; products wait for their slowest thread, so an epoch may take many times as long: "
        f"--threads {free_cores(others, count)}, or wait"
    )
