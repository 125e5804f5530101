"""A device that does what it is asked late, and in the worst order it may: streams and events by CUDA's manual.

What is asked of one stream is done in order. Between streams any order may come that events allow, and it is drawn
at random: how far the device is behind the host, and which stream it favours, too. An array is read and written
when the work is done, not when it is asked for.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np


class Machine:
    """A device; `seed` draws how it behaves."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.lock = threading.RLock()
        self.streams: list[LazyStream] = []
        self.eagerness = self.random.choice([0, 1, 5])

    def run(self, until: Callable[[], bool]) -> None:
        """Go on `until` something is so."""
        with self.lock:
            while not until():
                assert self.step(), "the device waits for what nobody asked of it"

    def finish(self) -> None:
        """Do all that was asked."""
        self.run(lambda: not any(stream.work for stream in self.streams))

    def drift(self) -> None:
        """Do some of what was asked, or nothing."""
        with self.lock:
            for _ in range(self.random.randint(0, self.eagerness)):
                self.step()

    def step(self) -> bool:
        """One piece of work; False if there is none that may be done."""
        ready = [stream for stream in self.streams if stream.ready()]
        if ready:
            (stream,) = self.random.choices(ready, [stream.favour for stream in ready])
            stream.work.popleft()[1]()
        return bool(ready)


class LazyStream:
    """`eager` makes it do at once what it is asked, and first what that waits for."""

    def __init__(self, machine: Machine, eager: bool = False) -> None:
        self.machine, self.eager = machine, eager
        self.work: deque[tuple[Callable[[], bool], Callable[[], Any]]] = deque()
        self.favour = 10 ** machine.random.uniform(-2, 2)
        with machine.lock:
            machine.streams.append(self)

    def ready(self) -> bool:
        return bool(self.work) and self.work[0][0]()

    def ask(self, do: Callable[[], Any], allowed: Callable[[], bool] = lambda: True) -> None:
        with self.machine.lock:
            self.work.append((allowed, do))
            if self.eager:
                self.machine.run(lambda: not self.work)
        self.machine.drift()

    def record(self, event: LazyEvent) -> LazyEvent:
        with self.machine.lock:
            event.asked += 1
            mark = event.asked
            self.ask(lambda: event.reach(mark))
        return event

    def wait_event(self, event: LazyEvent) -> None:
        mark = event.asked  # a wait is for the last mark there is when it is asked for
        self.ask(lambda: None, lambda: event.reached >= mark)


class LazyEvent:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.asked, self.reached = machine, 0, 0

    def reach(self, mark: int) -> None:
        self.reached = max(self.reached, mark)

    def synchronize(self) -> None:
        mark = self.asked
        self.machine.run(lambda: self.reached >= mark)


class LazyTransport:
    """What `slots.by_slots` needs; streams and events may be of kinds that do less than they should."""

    device = nullcontext()

    def __init__(
        self, seed: int, uses: Any = LazyStream, copies: Any = LazyStream, event: Any = LazyEvent
    ) -> None:
        self.machine, self.make_event = Machine(seed), event
        self.uses, self.copies = uses(self.machine), copies(self.machine)
        self.hosts: list[np.ndarray] = []
        self.rooms: list[np.ndarray] = []

    def event(self) -> LazyEvent:
        return self.make_event(self.machine)

    def pinned(self, size: int) -> np.ndarray:
        self.hosts.append(np.empty(size, np.uint8))
        return self.hosts[-1]

    def room(self, size: int) -> np.ndarray:
        self.rooms.append(np.zeros(size, np.uint8))
        self.uses.ask(lambda room=self.rooms[-1]: room.fill(0xAA))
        return self.rooms[-1]

    def send(self, host: np.ndarray, room: np.ndarray) -> None:
        self.copies.ask(lambda: np.copyto(room[: host.size], host))

    def view(self, room: np.ndarray, at: int, like: np.ndarray) -> np.ndarray:
        return room[at : at + like.nbytes].view(like.dtype).reshape(like.shape)
