"""A signal, once: finish the chunk and save. Twice: stop at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a polite kill, a terminal that was closed
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Within it the first signal calls `stop` and is told in the list; the second does what it always does.

    A signal that is ignored stays so, as nohup means it. Python lets only the main thread handle signals;
    elsewhere this does nothing.
    """
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def first(number: int, _: FrameType | None) -> None:
        for known in before:
            signal.signal(known, signal.default_int_handler if known == signal.SIGINT else signal.SIG_DFL)
        _leave(terminals)
        heard.append(number)
        stop()

    for number in before:
        signal.signal(number, first)
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(terminals: list[int]) -> None:
    """Of the terminals, those that were closed since: what is still said there goes nowhere, and is no error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in terminals:
        if not os.isatty(stream):
            os.dup2(nowhere, stream)
    os.close(nowhere)
