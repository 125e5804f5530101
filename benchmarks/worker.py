"""One contestant in a process of its own: `python -m benchmarks.worker NAME`, JSON lines in, JSON lines out.

{"call": "prepare", "work": "W1"}              build it: {"ok": null}
{"call": "check", "steps": 20, "path": "..."}  train from the first weights, save what they became as .npz
{"call": "run", "steps": 500}                  train on: {"ok": {"seconds": ..., "cpu": ...}}
{"call": "drop"}                               free the memory

What cannot be done is {"error": "why"}. The process ends with its input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np

from benchmarks.contestants import ENTRIES, Contestant, Entry
from benchmarks.threads import hold
from benchmarks.works import WORKS, Problem
from nnbackprop._system_info import use_threads


class Stage:
    """A contestant at a work, and how many steps of it have been made."""

    CALLS = ("prepare", "check", "run", "drop")

    def __init__(self, entry: Entry, threads: int) -> None:
        self.entry, self.threads = entry, threads
        self.contestant: Contestant | None = None
        self.at = 0

    def answer(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Do what is asked; an error of any kind becomes its words."""
        try:
            if call not in self.CALLS:
                raise ValueError(f"there is no call {call!r}; there are {', '.join(self.CALLS)}")
            return {"ok": getattr(self, call)(**arguments)}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def prepare(self, work: str) -> None:
        """The work's data and first weights, and the contestant of them."""
        self.contestant = self.entry.make(Problem.of(WORKS[work]), WORKS[work].chunk)
        self.at = 0
        use_threads(self.threads)  # of the libraries that it brought with it

    def check(self, steps: int, path: str) -> dict[str, float]:
        """Train, and save each layer's parameters under its number and name, such as 0.W."""
        took = self.run(steps)
        weights = self._ready().weights()
        np.savez(path, **{f"{k}.{name}": w for k, layer in enumerate(weights) for name, w in layer.items()})
        return took

    def run(self, steps: int) -> dict[str, float]:
        """Seconds on the clock, and those of all this process's threads on a core."""
        contestant = self._ready()
        cpu, begin = time.process_time(), time.perf_counter()
        contestant.run(self.at, steps)
        seconds = time.perf_counter() - begin
        self.at += steps
        return {"seconds": seconds, "cpu": time.process_time() - cpu}

    def drop(self) -> None:
        """Forget the contestant and its data."""
        self.contestant = None
        gc.collect()

    def _ready(self) -> Contestant:
        if self.contestant is None:
            raise ValueError("nothing was prepared")
        return self.contestant


def serve(stage: Stage, questions: TextIO, answers: TextIO) -> None:
    """Answer line by line."""
    for line in questions:
        print(json.dumps(stage.answer(**json.loads(line))), file=answers, flush=True)


def main() -> None:
    """Keep stdout for the answers alone: what a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    entry = ENTRIES[sys.argv[1]]
    if entry.blocked:
        sys.modules[entry.blocked] = None  # type: ignore[assignment]  # as if it were not installed
    serve(Stage(entry, hold()), sys.stdin, answers)


if __name__ == "__main__":
    main()
