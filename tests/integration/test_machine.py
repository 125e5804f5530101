"""The machine: threads are what was asked for, and a crowd is told from quiet by arithmetic on counts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nnbackprop._system_info import Moment, cores, crowd, remark

THREADS = """
from threadpoolctl import threadpool_info
import numpy
from nnbackprop._system_info import POOLS, use_threads
use_threads(1)
import os
print([pool["num_threads"] for pool in threadpool_info()], {os.environ[name] for name in POOLS})
"""


def test_products_take_as_many_threads_as_asked_for() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, check=True, env=environment
    )
    pools, variables = done.stdout.strip().split("] ")
    assert set(pools.strip("[").split(", ")) <= {"1", ""}
    assert variables == "{'1'}"


def test_others_are_what_was_busy_and_not_ours() -> None:
    """2 s on the clock; 3 core-seconds busy, 1 of them ours: others kept 1 core busy."""
    assert crowd(Moment(10.0, 100.0, 5.0), Moment(12.0, 103.0, 6.0)) == 1.0


def test_a_count_that_lags_behind_ours_is_nobody() -> None:
    assert crowd(Moment(0.0, 0.0, 0.0), Moment(1.0, 0.9, 1.0)) == 0.0


@pytest.mark.parametrize(
    ("others", "threads", "count", "said"),
    [
        pytest.param(1.0, 2, 2, "--threads 1", id="a core of two is gone"),
        pytest.param(2.0, 2, 2, "--threads 1", id="both are gone: one thread at least"),
        pytest.param(3.0, 8, 8, "--threads 5", id="three of eight"),
        pytest.param(1.0, 1, 2, None, id="room for one thread"),
        pytest.param(0.2, 2, 2, None, id="next to nobody"),
        pytest.param(4.0, 4, 16, None, id="a large machine"),
    ],
)
def test_a_word_is_said_where_others_take_what_we_want(
    others: float, threads: int, count: int, said: str | None
) -> None:
    words = remark(others, threads, count)
    assert words is None if said is None else said in str(words)


def test_moments_pass() -> None:
    before = Moment.now()
    sum(range(10**6))
    after = Moment.now()
    assert after.clock > before.clock
    assert after.own > before.own
    assert 1 <= cores() <= (os.cpu_count() or 1)
