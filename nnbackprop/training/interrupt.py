"""A signal, once: finish the chunk and save. Twice: stop at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a polite kill, a terminal that was closed
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Within it the first signal calls `stop` and is told in the list; the second does what it always does.

    Python lets only the main thread handle signals; elsewhere this does nothing.
    """
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def first(number: int, _: FrameType | None) -> None:
        for known in SIGNALS:
            signal.signal(known, signal.default_int_handler if known == signal.SIGINT else signal.SIG_DFL)
        heard.append(number)
        stop()

    for number in SIGNALS:
        signal.signal(number, first)
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
