"""The pages that listen, each with a queue of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from .messages import encode

MAX_WAITING = 1000  # events that a page may be behind, before its connection is closed: it then asks anew


class Watcher:
    """A page that listens: its events as they are sent, None where its connection is to be closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, event: bytes | None) -> None:
        """Hand over an event, from any thread."""

        def add() -> None:
            if self.queue.qsize() < MAX_WAITING:
                self.queue.put_nowait(event)
            elif self.queue.qsize() == MAX_WAITING:
                self.queue.put_nowait(None)

        with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends
            self._loop.call_soon_threadsafe(add)


class Watchers:
    """All who listen. The caller sees to it that one thread at a time is here."""

    def __init__(self) -> None:
        self._all: set[Watcher] = set()

    def add(self, watcher: Watcher, kind: str, data: Any) -> None:
        """Tell one who begins to listen an event, and all that come from here on."""
        watcher.put(_event(kind, data))
        self._all.add(watcher)

    def remove(self, watcher: Watcher) -> None:
        """The page is gone."""
        self._all.discard(watcher)

    def tell(self, kind: str, data: Any) -> None:
        """Tell everybody an event."""
        event = _event(kind, data)
        for watcher in self._all:
            watcher.put(event)

    def close(self) -> None:
        """End every page's connection."""
        for watcher in self._all:
            watcher.put(None)


def _event(kind: str, data: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode(data) + b"\n\n"
