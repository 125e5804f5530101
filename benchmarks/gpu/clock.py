"""A clock that waits for the device: medians over repeats, warmed up first."""

from __future__ import annotations

import time
from collections.abc import Callable

from .setting import Size

LEAST = 3
"""Times a thing is done before it counts: once to compile, once to capture, once as it will be."""


def microseconds(run: Callable[[], None], wait: Callable[[], None], steps: int, size: Size) -> list[float]:
    """Microseconds a step of `run`, which does `steps` of them, in each of the repeats."""
    begin, done = time.perf_counter(), 0
    while done < LEAST or time.perf_counter() - begin < size.warm:
        run()
        wait()
        done += 1
    return [seconds(run, wait) / steps * 1e6 for _ in range(size.repeats)]


def seconds(run: Callable[[], None], wait: Callable[[], None]) -> float:
    """Of one run, from a device that has nothing to do until it has nothing to do again."""
    wait()
    begin = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - begin
