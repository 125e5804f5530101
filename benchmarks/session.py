"""A rival at a workload, in its process: checked against our step on NumPy, then timed."""

from __future__ import annotations

import gc
import math
import os
import sys
import time

import numpy as np

from nnbackprop._system_info import set_num_threads
from nnbackprop.diagnostics.difference import difference
from nnbackprop.nn.layers import Dropout
from nnbackprop.nn.layers.base import Params

from .results import Check
from .rivals import RIVALS, Rival
from .rivals.nnbackprop_steps import Ours
from .workloads import WORKLOADS, Problem

TOLERANCE = 1e-12
"""How far a rival's tensor may be from ours, ||a - b|| / ||b||, in float64, unless the rival says otherwise."""

LOSS_TOLERANCE = 0.1
"""How far its loss may be from ours, relative, where each draws dropout masks of its own."""


class Session:
    """What a rival's process does: `load`, `check`, then `run` again and again. `threads` are a CPU's."""

    def __init__(self, name: str, threads: int | None = None) -> None:
        self.name, self.entry, self.threads, self.step = name, RIVALS[name], threads, 0
        self.problem: Problem | None = None
        self.rival: Rival | None = None

    @classmethod
    def of_process(cls, name: str, threads: int | None = None) -> Session:
        """The only session of this process: some packages and cores are out of its reach from here on."""
        session = cls(name, threads)
        if session.entry.blocked:
            sys.modules[session.entry.blocked] = None  # type: ignore[assignment]  # as if it were not installed
        if threads:
            limit_cores(threads)
        return session

    def load(self, workload: str, device: str = "cpu", tf32: bool = False) -> None:
        """Read the data."""
        self.problem, self.rival = Problem.of(WORKLOADS[workload], device=device, tf32=tf32), None

    def make(self, problem: Problem) -> Rival:
        rival = self.entry.make(problem)
        if self.threads:
            set_num_threads(self.threads, later_imports=True)  # of the libraries that it has imported
        return rival

    def check(self) -> Check | None:
        """The rival against our step on NumPy, in float64; None for matrix products, which train nothing.

        In float32, rounding puts some number on the other side of a ReLU's kink, and from there on two right
        trainings part. A rival draws dropout masks of its own: it is compared without dropout, then by its loss.
        """
        if self.entry.kind == "floor":
            return None
        assert self.problem
        dropout = any(isinstance(layer, Dropout) for layer in self.problem.workload.layers)
        own_masks = dropout and self.entry.kind == "rival"
        check = self.compare(self.problem.in_float64(dropout=not own_masks))
        return self.compare(self.problem.in_float64(), by_loss=True) if own_masks and check.passed else check

    def compare(self, problem: Problem, by_loss: bool = False) -> Check:
        """Train both to the last step in one call, and where they part, again step by step.

        A rival that is right step by step and wrong in one call has failed too: it is timed by the latter.
        """
        check = self.compare_every(None, problem, by_loss)
        if check.passed:
            return check
        by_step = self.compare_every(1, problem, by_loss)
        return check if by_step.passed else by_step

    def compare_every(self, chunk: int | None, problem: Problem, by_loss: bool) -> Check:
        """Train both, `chunk` steps a call or all in one, until the last step or the first beyond the limit."""
        workload, rivals = problem.workload, (self.make(problem), Ours(problem, "numpy"))
        limit = LOSS_TOLERANCE if by_loss else getattr(rivals[0], "tolerance", TOLERANCE)
        steps = getattr(rivals[0], "check_steps", workload.check_steps)
        chunk = chunk or steps
        for step in range(0, steps, chunk):
            rows = problem.rows(step, chunk)
            for rival in rivals:
                rival.run(rival.prepare(rows))
            theirs, ours = (rival.weights() for rival in rivals)
            if by_loss:
                apart = {"loss": relative(np.array(problem.loss_of(theirs)), np.array(problem.loss_of(ours)))}
            else:
                apart = differences(theirs, ours)
            tensor = max(apart, key=lambda name: math.inf if apart[name] is None else apart[name] or 0.0)
            check = Check(self.name, self.entry.title, tensor, step + chunk, apart[tensor], limit)
            if not check.passed:
                break
        return check

    def run(self, steps: int) -> tuple[float, float]:
        """Seconds of further steps on the clock, and CPU seconds of all this process's threads."""
        if self.problem is None:
            raise ValueError("no data were loaded")
        if self.rival is None:
            self.rival, self.step = self.make(self.problem), 0
            if (
                self.entry.kind != "floor"
                and (dtype := self.rival.weights()[0]["W"].dtype) != self.problem.x.dtype
            ):
                raise ValueError(f"its weights are {dtype}, and not {self.problem.x.dtype}")
        batches = self.rival.prepare(self.problem.rows(self.step, steps))
        cpu, begin = time.process_time(), time.perf_counter()
        self.rival.run(batches)
        seconds = time.perf_counter() - begin
        self.step += steps
        return seconds, time.process_time() - cpu

    def free(self) -> None:
        """Free the rival and its data."""
        self.rival = self.problem = None
        gc.collect()


def limit_cores(count: int) -> None:
    """Keep this process on so many cores, as XLA takes a thread a core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def differences(theirs: Params, ours: Params) -> dict[str, float | None]:
    """||a - b|| / ||b|| of each tensor, by name, such as W2; None if it has another shape or is not finite."""
    found: dict[str, float | None] = {}
    for k, layer in enumerate(ours):
        other = theirs[k] if k < len(theirs) else {}
        for name, b in layer.items():
            found[f"{name}{k + 1}"] = relative(other[name], b) if name in other else None
    return found


def relative(a: np.ndarray, b: np.ndarray) -> float | None:
    """||a - b|| / ||b||; None if shapes differ or it is not finite."""
    distance = difference(a, b).relative if a.shape == b.shape else math.inf
    return distance if math.isfinite(distance) else None
