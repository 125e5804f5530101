"""The process that trains, as the server holds it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

from .worker import Job, work


class TrainerProcess:
    """A process that does a job, and the pipe to it."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection: Any  # a Connection; on Windows a PipeConnection
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, job), name="nnbackprop lab trainer")
        with _without_interrupts():
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """Its number."""
        return self._process.pid

    def send(self, command: str, value: Any) -> bool:
        """Tell it a command; whether it could be told."""
        try:
            self._connection.send((command, value))
        except OSError:  # it has just ended, and `messages` is about to say so
            return False
        return True

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What it tells, a kind and its data, until it is gone."""
        while True:
            try:
                yield self._connection.recv()
            except (EOFError, OSError):
                break
        self.join()

    def join(self) -> None:
        """Wait until it is gone."""
        self._process.join()

    @property
    def death(self) -> str:
        """How it ended, where it said nothing."""
        status = self._process.exitcode
        how = f"with status {status}" if status is None or status >= 0 else f"by {signal.Signals(-status).name}"
        return (
            f"The training process ended {how}, without a word. What the run had saved is kept: resume it, or, "
            "where memory ran out, train a smaller network."
        )


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process started within it meets no Ctrl-C, which a terminal sends to all: the server tells it to stop.

    Not so on Windows, where no signal can be blocked.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which else starts with the process, and lets signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
