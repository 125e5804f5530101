"""A signal, once: finish the chunk and save. Twice: stop at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a polite kill, a terminal that was closed
SIGNALS = tuple(getattr(signal, name) for name in SIGNAL_NAMES if hasattr(signal, name))


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Within it the first signal calls `stop` and is put in the list; the second does what it does by default.

    A signal that is ignored stays so, as nohup means it. Python lets only the main thread handle signals;
    elsewhere this does nothing.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def first(number: int, _: FrameType | None) -> None:
        for known in before:
            signal.signal(known, signal.default_int_handler if known == signal.SIGINT else signal.SIG_DFL)
        _silence_closed(terminals)
        received.append(number)
        stop()

    for number in before:
        signal.signal(number, first)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _silence_closed(terminals: list[int]) -> None:
    """Send what is still printed to terminals that were closed since to the null device: it is no error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in terminals:
        if not os.isatty(stream):
            os.dup2(nowhere, stream)
    os.close(nowhere)
