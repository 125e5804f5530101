"""The workers as their employer sees them: hired, asked, dismissed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnbackprop.errors import NnbackpropError

from .threads import variables

PATIENCE = 10.0
"""Seconds a worker has to end once it is told to."""


class WorkerError(NnbackpropError):
    """A worker could not do what it was asked, or is no more."""


class Worker:
    """A contestant's process. `send` does not wait, so that many may be at work before the first `receive`."""

    def __init__(self, name: str, threads: int) -> None:
        root = str(Path(__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.words = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `end`)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            text=True,
            env={**os.environ, **variables(threads), "PYTHONPATH": path},
        )

    def ask(self, call: str, **arguments: Any) -> Any:
        """Send a call and wait for its answer; WorkerError says why there is none."""
        self.send(call, **arguments)
        return self.receive()

    def send(self, call: str, **arguments: Any) -> None:
        """Ask for something."""
        with suppress(OSError):  # it has ended, which `receive` will say
            print(json.dumps({"call": call, **arguments}), file=self.process.stdin, flush=True)

    def receive(self) -> Any:
        """Wait for the answer to what was sent; WorkerError says why there is none."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"Its process ended with status {self.process.wait()}. {self._last_words()}".strip())
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["ok"]

    def end(self) -> None:
        """Let it end, or make it."""
        try:
            self.process.communicate(timeout=PATIENCE)
        except (subprocess.TimeoutExpired, OSError):
            self.process.kill()
            self.process.wait()
        self.words.close()

    def _last_words(self) -> str:
        self.words.seek(0)
        lines = self.words.read().strip().splitlines()
        return lines[-1] if lines else ""
