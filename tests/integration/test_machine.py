"""Threads are as many as asked for, and the load of other processes is arithmetic on counters."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from nnbackprop._system_info import CpuTimes, cores, load_of_others, load_warning

THREADS = """
from threadpoolctl import threadpool_info
import numpy
from nnbackprop._system_info import THREAD_VARIABLES, set_num_threads
set_num_threads(1, later_imports=True)
import os
print([pool["num_threads"] for pool in threadpool_info()], {os.environ[name] for name in THREAD_VARIABLES})
"""


def test_set_num_threads_sets_every_library() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, check=True, env=environment
    )
    pools, variables = done.stdout.strip().split("] ")
    assert set(pools.strip("[").split(", ")) <= {"1", ""}
    assert variables == "{'1'}"


def test_load_of_others_is_busy_time_less_our_own_and_never_negative() -> None:
    """2 s on the clock; 3 core-seconds busy, 1 of them ours: others kept 1 core busy."""
    assert load_of_others(CpuTimes(10.0, 100.0, 5.0), CpuTimes(12.0, 103.0, 6.0)) == 1.0
    assert load_of_others(CpuTimes(0.0, 0.0, 0.0), CpuTimes(1.0, 0.9, 1.0)) == 0.0


@pytest.mark.parametrize(
    ("others", "threads", "count", "said"),
    [
        pytest.param(1.0, 2, 2, "--threads 1", id="one of two is busy"),
        pytest.param(2.0, 2, 2, "--threads 1", id="both are busy: one thread at least"),
        pytest.param(3.0, 8, 8, "--threads 5", id="three of eight"),
        pytest.param(1.0, 1, 2, None, id="room for one thread"),
        pytest.param(0.2, 2, 2, None, id="next to nobody"),
        pytest.param(4.0, 4, 16, None, id="a large machine"),
    ],
)
def test_warning_where_others_use_the_cores_we_need(
    others: float, threads: int, count: int, said: str | None
) -> None:
    warning = load_warning(others, threads, count)
    assert warning is None if said is None else said in str(warning)


@pytest.mark.parametrize("count", range(1, 17))
def test_warning_never_advises_the_threads_there_are(count: int) -> None:
    warnings = 0
    for threads in range(1, count + 1):
        for tenths in range(10 * count + 1):
            warning = load_warning(tenths / 10, threads, count)
            warnings += warning is not None
            advised = re.search(r"--threads (\d+)", warning or "")
            assert advised is None or int(advised[1]) < threads
            assert warning is None or (advised is None) == (threads == 1)
    assert warnings


def test_cpu_times_measure_clock_and_processor_time() -> None:
    before = CpuTimes.now()
    sum(range(10**6))
    after = CpuTimes.now()
    assert after.clock > before.clock
    assert after.own > before.own
    assert 1 <= cores() <= (os.cpu_count() or 1)
