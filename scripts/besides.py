"""Measure what our step does besides what a rival's does, by leaving it out: whole, bare and rival in turn.

python scripts/besides.py    five minutes on two cores that are quiet; keeps them in benchmarks/results/besides
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import msgspec
from pages import ROOT

sys.path.insert(0, str(ROOT))  # the benchmarks of this checkout

from backends import Backend, Tree
from benchmarks.contestants import ENTRIES
from benchmarks.contestants.ours import Ours
from benchmarks.machine import Machine
from benchmarks.results import RESULTS, Kept, results_path
from benchmarks.works import WORKS, Problem
from nnbackprop._system_info import cores
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader, get_batch
from nnbackprop.data.scaling import Scaling
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.training.step import TrainStep

RIVALS = {"jax": "jax-grad", "torch": "torch-eager"}
CASES = (("jax", "W1n"), ("jax", "W4"), ("torch", "W1"), ("torch", "W1n"), ("torch", "W1a"))
ROUNDS = 9
SECONDS, REST = 1.0, 0.3  # of a turn, and before it


class Left(msgspec.Struct, frozen=True):
    """Of each round, over the whole step's time: that of a step which does no more than a rival's; the rival's."""

    backend: str
    work: str
    bare: tuple[float, ...]
    rival: tuple[float, ...]


class Besides(Kept, frozen=True):
    """All cases."""

    cases: tuple[Left, ...]


@dataclass(frozen=True, eq=False)
class BareStep(TrainStep):
    """A step that neither sums its loss nor counts its right answers, nor tells of its gradients."""

    def run(self, backend: Backend, state: Tree, data: Tree, xs: Tree) -> Tree:
        """All steps alike."""
        return backend.scan(self, state, data, xs)

    def _part(self, state: Tree, data: Tree, x: Tree, row: int) -> tuple[Tree, Params]:
        inputs, labels, _ = get_batch(self.xp, data, x)
        draw = RngKey(self.seed, x["step"], row)
        _, _, _, grads = self.objective.gradients(self.xp, state["params"], inputs, labels, draw)
        return {name: state[name] for name in ("loss", "correct")}, grads


class Bare(Ours):
    """That step, on samples that were scaled once, before."""

    def __init__(self, problem: Problem, chunk: int, backend: str) -> None:
        super().__init__(problem, chunk, backend)
        self.step = BareStep(**{field.name: getattr(self.step, field.name) for field in fields(TrainStep)})
        scaled = Dataset(problem.x, problem.train.targets, problem.train.classes)
        self.loader = DataLoader(self.backend, scaled, Scaling.identity(), problem.config.params_dtype, "yes")


def measure(backend: str, work: str) -> Left:
    """Turn by turn, in one process."""
    problem, chunk = Problem.of(WORKS[work]), WORKS[work].chunk
    makers = (Ours, Bare)
    three = [*(make(problem, chunk, backend) for make in makers), ENTRIES[RIVALS[backend]].make(problem, chunk)]
    for contestant in three:
        contestant.run(0, 2 * chunk)  # compiles
    begin = time.perf_counter()
    three[0].run(2 * chunk, chunk)
    steps = chunk * max(1, round(SECONDS / (time.perf_counter() - begin)))
    rounds = []
    for k in range(ROUNDS):
        turns = []
        for contestant in three:
            time.sleep(REST)
            begin = time.perf_counter()
            contestant.run(3 * chunk + k * steps, steps)
            turns.append(time.perf_counter() - begin)
        rounds.append([turn / turns[0] for turn in turns])
    _, bare, rival = zip(*rounds, strict=True)
    return Left(backend, work, bare, rival)


def apart(backend: str, work: str) -> Left:
    """In a process of its own: two libraries' threads would fight for the cores."""
    done = subprocess.run([sys.executable, __file__, backend, work], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Left)


def kept() -> Besides | None:
    """What was last measured."""
    assert RESULTS, "benchmarks/results is in a checkout"
    found = [Besides.from_json(path.read_bytes()) for path in (RESULTS / "besides").glob("*.json")]
    return max(found, key=lambda one: one.date, default=None)


def main() -> None:
    """Measure and keep; given a backend and a work, print that one alone."""
    if sys.argv[1:]:
        print(json.dumps(msgspec.to_builtins(measure(*sys.argv[1:]))))
        return
    assert RESULTS, "benchmarks/results is in a checkout"
    machine, today = Machine.here(cores()), datetime.now(UTC).date().isoformat()
    found = Besides("python scripts/besides.py", today, machine, tuple(apart(*case) for case in CASES))
    path = results_path(machine, RESULTS / "besides")
    path.parent.mkdir(exist_ok=True)
    path.write_text(found.to_json())


if __name__ == "__main__":
    main()
