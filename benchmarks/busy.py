"""An epoch beside busy neighbours: on fixed numbers of threads, and on as many as a run chooses itself.

python -m benchmarks.busy      0, 1 and 2 neighbours; keeps the result in benchmarks/results/busy

A neighbour is a process that counts without end. Each figure is the median of rounds in which everybody trains in
turn for some seconds, scaled to an epoch of 60,000 samples.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from nnbackprop._system_info import CpuTimes, cores
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_data import RunData
from nnbackprop.runs.threads import thread_control
from nnbackprop.runs.train import initialized_trainer, open_backend
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd
from nnbackprop.training.trainer import Trainer

from .kept import keep, made_by, origin
from .machine import Machine
from .results import RESULTS
from .session import Session
from .worker import Worker

NEIGHBOURS = (0, 1, 2)
FOLDER = RESULTS / "busy"
RECIPE, WORKLOAD, SAMPLES = "mnist-original", "W1", 60_000
SETTLE = 1.0  # seconds for a run to see its neighbours before it chooses its threads


class OurRun:
    """Trains the recipe, for some seconds at a time; `threads` None lets the run choose."""

    def __init__(self, backend: str, threads: int | None) -> None:
        self.config = resolve(RECIPE, {"backend": backend, "threads": threads})
        self.backend = open_backend(self.config)
        self.data = RunData.load(self.config)
        self.epoch(0.0)  # compiles kernels

    def epoch(self, seconds: float) -> float:
        """Seconds of an epoch, by training for `seconds` or one chunk."""
        before = CpuTimes.now()
        time.sleep(SETTLE if seconds else 0.1)
        control, clock = thread_control(self.config, self.backend, before), Stopwatch(seconds)
        trainer = initialized_trainer(self.config, self.backend, self.data)
        trainer.set_options(callbacks=(control, clock) if control else (clock,))
        trainer.fit(self.data.train)
        if control:
            control.restore()
        return clock.seconds / clock.samples * SAMPLES


@dataclass
class Stopwatch(Callback):
    """Ends a run after `limit` seconds of training."""

    limit: float
    seconds: float = 0.0
    samples: int = 0

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        self.seconds += event.seconds
        self.samples += event.n_samples
        if self.seconds >= self.limit:
            trainer.stop()


class TorchRun:
    """The same network in PyTorch, eager, on a fixed number of threads."""

    def __init__(self, threads: int) -> None:
        self.session = Session("torch-eager", threads)
        self.session.load(WORKLOAD)
        self.session.run(1)

    def epoch(self, seconds: float) -> float:
        """Seconds of an epoch, by training for about `seconds`."""
        steps, spent, batch = 0, 0.0, 20
        while spent < seconds:
            spent += self.session.run(batch)[0]
            steps += batch
        assert self.session.problem
        return spent / steps * SAMPLES / self.session.problem.batch


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    context = get_context("spawn")
    processes = [context.Process(target=_count, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def _count() -> None:
    while True:
        pass


def measure(rounds: int, seconds: float) -> list[dict[str, object]]:
    """A row for each who trains and each way to choose threads, with seconds an epoch by number of neighbours."""
    fixed = range(1, cores() + 1)
    rows: list[tuple[str, int | None, Callable[..., Any], tuple[Any, ...]]] = [
        ("nnbackprop, NumPy and numba", t, OurRun, ("numpy", t)) for t in (*fixed, None)
    ]
    rows += [("nnbackprop, PyTorch arrays", t, OurRun, ("torch", t)) for t in (*fixed, None)]
    rows += [("PyTorch, eager", t, TorchRun, (t,)) for t in fixed]
    found: list[dict[str, object]] = []
    with ExitStack() as stack:
        workers = [Worker(make, *arguments) for *_, make, arguments in rows]
        for worker in workers:
            stack.callback(worker.end)
        times: dict[int, list[list[float]]] = {k: [[] for _ in rows] for k in NEIGHBOURS}
        for k in NEIGHBOURS:
            with neighbours(k):
                for _ in range(rounds):
                    for worker, seen in zip(workers, times[k], strict=True):
                        worker.send("epoch", seconds)
                        seen.append(worker.receive())
    for i, (title, threads, *_) in enumerate(rows):
        epochs = {str(k): median(times[k][i]) for k in NEIGHBOURS}
        found.append({"title": title, "threads": "auto" if threads is None else str(threads), "epochs": epochs})
    return found


def table(found: dict[str, Any]) -> str:
    """Seconds an epoch, a row each, a column for each number of neighbours."""
    heads = ["no neighbour", "1 busy neighbour", *(f"{k} busy neighbours" for k in NEIGHBOURS[2:])]
    lines = [f"| seconds an epoch | threads | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    for row in found["rows"]:
        cells = " | ".join(f"{row['epochs'][str(k)]:.2f}" for k in NEIGHBOURS)
        lines.append(f"| {row['title']} | {row['threads']} | {cells} |")
    return "\n".join([*lines, "", made_by(found)]) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--seconds", type=float, default=5.0, help="that everybody trains in a round (default: 5)")
    options = parser.parse_args(argv)
    rows = measure(options.rounds, options.seconds)
    machine = Machine.here()
    found = {
        **origin("benchmarks.busy", argv, machine),
        "rows": rows,
    }
    keep(FOLDER, machine, found)
    Console().print(Markdown(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
