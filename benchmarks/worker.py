"""Calls to an object in a process of its own. What goes wrong there, in whatever way, is a WorkerError here."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from nnbackprop.errors import NnbackpropError

CALL_SECONDS = 300.0
"""That one call may take."""

EXIT_SECONDS = 10.0
"""That a process has to end once its pipe is closed."""


class WorkerError(NnbackpropError):
    """A worker could not do what it was asked, or has ended."""

    @classmethod
    def of(cls, error: Exception) -> WorkerError:
        """An error of any kind, in a line."""
        return cls(" ".join(f"{type(error).__name__}: {error}".split())[:400])


class Worker:
    """A process with the object `make(*arguments)`: `send` does not wait, so that many may work at once."""

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, method: str, *arguments: Any) -> None:
        """Call a method of the object."""
        with suppress(OSError):  # it has ended, which `receive` will say
            self.pipe.send((method, arguments))

    def receive(self, seconds: float = CALL_SECONDS) -> Any:
        """Wait for what the method returns, at most so long; WorkerError says why there is nothing."""
        try:
            if not self.pipe.poll(max(0.0, seconds)):
                self.process.kill()
                raise WorkerError(f"it was not done after {seconds:.0f} s")
            answer = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(EXIT_SECONDS)
            raise WorkerError(f"its process ended with exit code {self.process.exitcode}") from None
        if isinstance(answer, WorkerError):
            raise answer
        return answer

    def end(self) -> None:
        """Let it end, or kill it."""
        self.pipe.close()
        self.process.join(EXIT_SECONDS)
        self.process.kill()


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """In the process: answer calls until the pipe is closed."""
    os.dup2(2, 1)  # what a library prints is no result of the command's
    served = make(*arguments)
    with suppress(EOFError):
        while True:
            method, arguments = pipe.recv()
            try:
                answer = getattr(served, method)(*arguments)
            except Exception as error:
                answer = WorkerError.of(error)
            pipe.send(answer)
