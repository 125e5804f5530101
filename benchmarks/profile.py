"""Where a step's microseconds go: the Python functions of a training run, by cProfile."""

from __future__ import annotations

import cProfile
import pstats
import time
from pathlib import Path

from .rivals.nnbackprop_steps import Ours
from .workloads import WORKLOADS, Problem

SECONDS = 3.0
MIN_TIME_FRACTION = 0.01
"""Functions below it are left out."""

ROOT = Path(__file__).parents[1]


def profile(name: str, backend: str, seconds: float = SECONDS) -> str:
    """A table of the functions of `nnbackprop` and `backends`, µs a step, as cProfile measures them.

    cProfile adds about 1 µs to each call. A library that compiles the step shows one call.
    """
    workload = WORKLOADS[name]
    ours, chunk, steps, profiler = Ours(Problem.of(workload), backend), workload.chunk, 0, cProfile.Profile()
    ours.train(0, chunk)  # compiles, and fills caches
    until = time.perf_counter() + seconds
    while not steps or time.perf_counter() < until:
        steps += chunk
        batches = ours.prepare(ours.problem.rows(steps, chunk))
        profiler.runcall(ours.run, batches)
    stats = pstats.Stats(profiler)
    rows = [
        (cumulative, own, f"{Path(path).relative_to(ROOT)} {function}")
        for (path, _, function), (_, _, own, cumulative, _) in stats.stats.items()  # type: ignore[attr-defined]
        if path.startswith((str(ROOT / "nnbackprop"), str(ROOT / "backends")))
        and cumulative > MIN_TIME_FRACTION * stats.total_tt  # type: ignore[attr-defined]
    ]
    lines = [f"**{name}, {workload.label}**: {workload.title}, {backend}, {steps:,} steps", ""]
    lines += ["| function | µs a step | of which its own |", "|---|--:|--:|"]
    lines += [f"| {f} | {1e6 * c / steps:,.1f} | {1e6 * own / steps:,.1f} |" for c, own, f in sorted(rows)[::-1]]
    return "\n".join(lines)
