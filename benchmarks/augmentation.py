"""What augmentation costs: steps of 784-1000-500-10 on images as they are and on augmented ones, in turn.

python -m benchmarks.augmentation      on each library; keeps the result in benchmarks/results/augmentation

The transformations are those of the recipe `deformed`. Exit status 1 if they take more than half of a step.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from nnbackprop._system_info import CpuTimes, cores, set_num_threads
from nnbackprop.runs import build
from nnbackprop.runs.config_files import resolve

from .kept import keep, made_by, origin
from .machine import Machine
from .report import spread
from .results import MAX_OTHER_LOAD, RESULTS, Absent
from .rivals import RIVALS
from .session import Session
from .suite import not_installed, other_load
from .worker import Worker, WorkerError
from .workloads import Problem, Workload, dense_layers

FOLDER = RESULTS / "augmentation"
RECIPE, IMAGE_SHAPE, MAX_SHARE = "deformed", (28, 28), 0.5
WORKLOAD = Workload(
    "augmentation",
    "784-1000-500-10, Adam, batch 128",
    "step",
    steps=1,
    layers=dense_layers(1000, 500),
    adam=True,
    lr=0.001,
    batch=128,
    scale="unit",
)
OURS = tuple(name for name, rival in RIVALS.items() if rival.kind == "ours" and "cpu" in rival.devices)


@dataclass(frozen=True)
class Round:
    """Milliseconds of a step without and with augmentation, and how many cores others kept busy meanwhile."""

    plain: float
    augmented: float
    others: float

    @property
    def share(self) -> float:
        """Of augmentation in the step that has it."""
        return 1 - self.plain / self.augmented


class Steps:
    """Both trainings on one library, in a process of its own."""

    def __init__(self, name: str, threads: int) -> None:
        session, problem = Session.of_process(name, threads), Problem.of(WORKLOAD)
        augmentation = build.augmentation(resolve(RECIPE, {}))
        assert augmentation
        plain, augmented = (session.make(problem) for _ in range(2))
        step = augmented.step  # type: ignore[attr-defined]
        augment = augmentation.for_images(IMAGE_SHAPE, problem.train.classes)
        augmented.step = replace(step, augment=augment)  # type: ignore[attr-defined]
        self.problem, self.trainings, self.threads, self.at = problem, (plain, augmented), threads, 0
        for _ in range(2):  # the first compiles
            self.round(WORKLOAD.chunk)

    def round(self, steps: int) -> Round:
        """A slice of each."""
        rows = self.problem.rows(self.at, steps)
        self.at += steps
        before, times = CpuTimes.now(), list[float]()
        for training in self.trainings:
            batches = training.prepare(rows)
            begin = time.perf_counter()
            training.run(batches)
            times.append(1e3 * (time.perf_counter() - begin) / steps)
        others = other_load(before, CpuTimes.now(), 0.0, self.threads)  # our own time is no others'
        plain, augmented = times
        return Round(plain, augmented, others)

    def measure(self, rounds: int, seconds: float) -> list[Round]:
        """Rounds of about so many seconds."""
        first = self.round(WORKLOAD.chunk)
        seconds_a_step = 1e-3 * (first.plain + first.augmented)
        steps = max(1, round(seconds / seconds_a_step / WORKLOAD.chunk)) * WORKLOAD.chunk
        return [self.round(steps) for _ in range(rounds)]


def measure(rounds: int, seconds: float, threads: int) -> tuple[dict[str, list[Round]], list[Absent]]:
    """The rounds of each library, one after the other, and who is not here."""
    found, absent = dict[str, list[Round]](), list[Absent]()
    for name in OURS:
        title = RIVALS[name].title
        if reason := not_installed(name):
            absent.append(reason)
            continue
        worker = Worker(Steps, name, threads)
        worker.send("measure", rounds, seconds)
        try:
            found[title] = worker.receive()
        except WorkerError as error:
            absent.append(Absent(name, title, str(error)))
        finally:
            worker.end()
    return found, absent


def undisturbed(rounds: list[Round]) -> list[Round]:
    """The rounds in which others left our cores alone; all where there is none."""
    return [r for r in rounds if r.others <= MAX_OTHER_LOAD] or rounds


def table(found: dict[str, Any]) -> str:
    """A row a library: a step without and with augmentation, and its share."""
    lines, disturbed = (
        ["| | a step without augmentation | with | share of augmentation |", "|---|---|---|---|"],
        [],
    )
    for title, kept in found["rows"].items():
        rounds = undisturbed(every := [Round(**r) for r in kept])
        if others := sum(r.others > MAX_OTHER_LOAD for r in every):
            disturbed.append(f"{title} {others} of {len(every)}")
        plain, augmented = (
            spread([getattr(r, name) for r in rounds], milliseconds) for name in ("plain", "augmented")
        )
        share = spread([r.share for r in rounds], "{:.0%}".format)
        lines.append(f"| {title} | {plain} | {augmented} | {share} |")
    remarks = [f"{one['title']} left out: {one['reason'].rstrip('.')}." for one in found["absent"]]
    if disturbed:
        remarks.append(
            f"Rounds in which other processes took over {MAX_OTHER_LOAD:.0%} of a core, left out unless all of a "
            f"row's are: {'; '.join(disturbed)}."
        )
    made = f"{found['title']}. {made_by(found)}"
    return "\n".join([*lines, *(["", " ".join(remarks)] if remarks else []), "", made]) + "\n"


def milliseconds(value: float) -> str:
    """Three digits."""
    return f"{value:.3g} ms"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augmentation", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round (default: 2)")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    options = parser.parse_args(argv)
    set_num_threads(options.threads, later_imports=True)  # of the processes that are started here
    rows, absent = measure(options.rounds, options.seconds, options.threads)
    machine = Machine.here(options.threads)
    found = {
        **origin("benchmarks.augmentation", argv, machine),
        "title": f"{WORKLOAD.title}; {', '.join(resolve(RECIPE, {}).augment)}",
        "rows": {title: [asdict(r) for r in rounds] for title, rounds in rows.items()},
        "absent": [asdict(one) for one in absent],
    }
    keep(FOLDER, machine, found)
    Console().print(Markdown(table(found)))
    return int(any(median(r.share for r in undisturbed(rounds)) > MAX_SHARE for rounds in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
