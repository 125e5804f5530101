"""CUDA's devices, streams and events as CuPy names them, on a device that executes late, in any order allowed.

Work in one stream is done in order; the order between streams is drawn at random, and so is how far the device is
behind the host. Arrays are read and written when the work is done, not when it is enqueued. The null stream does
its work at once. Current devices and streams are those of a thread; a new thread's device is 0.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.support.fake_graphs import Tape


class Machine:
    """Executes the streams' work in an order drawn by `seed`."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.lock = threading.RLock()
        self.streams: list[Stream] = []
        self.eagerness = self.random.choice([0, 1, 5])

    def run(self, until: Callable[[], bool]) -> None:
        with self.lock:
            while not until():
                assert self.step(), "the device waits for an event that nobody records"

    def finish(self) -> None:
        self.run(lambda: not any(stream.work for stream in self.streams))

    def drift(self) -> None:
        """Execute some of the work, or none."""
        with self.lock:
            for _ in range(self.random.randint(0, self.eagerness)):
                self.step()

    def step(self) -> bool:
        """Execute one piece of work; False if there is none that may be done."""
        ready = [stream for stream in self.streams if stream.work and stream.work[0][0]()]
        if ready:
            (stream,) = self.random.choices(ready, [stream.speed for stream in ready])
            stream.work.popleft()[1]()
        return bool(ready)


class Current(threading.local):
    """What is current to a thread, innermost last."""

    def __init__(self) -> None:
        self.devices: list[int] = [0]
        self.streams: list[Stream] = []


class Device:
    compute_capability = "90"

    def __init__(self, index: int) -> None:
        self.id = index

    def __enter__(self) -> Device:
        Stream.current.devices.append(self.id)
        return self

    def __exit__(self, *_: Any) -> None:
        Stream.current.devices.pop()

    def use(self) -> None:
        Stream.current.devices[-1] = self.id

    def synchronize(self) -> None: ...


class Stream:
    """The null stream, or one that can be captured."""

    machine: Machine
    current: Current
    null: Stream

    def __init__(self, non_blocking: bool = False, ptr: int = 7) -> None:
        self.ptr, self.non_blocking, self.created_on = ptr, non_blocking, Stream.current.devices[-1]
        self.work: deque[tuple[Callable[[], bool], Callable[[], Any]]] = deque()
        with self.machine.lock:
            self.speed = 10 ** self.machine.random.uniform(-2, 2)
            self.machine.streams.append(self)

    @property
    def device(self) -> int:
        """The null stream is each device's own."""
        return self.created_on if self.ptr else Stream.current.devices[-1]

    def __enter__(self) -> Stream:
        assert self.device == Stream.current.devices[-1]
        Stream.current.streams.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        Stream.current.streams.pop()

    def enqueue(self, do: Callable[[], Any], allowed: Callable[[], bool] = lambda: True) -> None:
        with self.machine.lock:
            self.work.append((allowed, do))
            if not self.ptr:
                self.machine.run(lambda: not self.work)
        self.machine.drift()

    def record(self, event: Event) -> Event:
        assert event.device == self.device, "CUDA refuses to record an event of another device"
        with self.machine.lock:
            event.records += 1
            mark = event.records
            self.enqueue(lambda: event.reach(mark))
        return event

    def wait_event(self, event: Event) -> None:
        mark = event.records  # a wait is for the last record so far
        self.enqueue(lambda: None, lambda: event.reached >= mark)

    def begin_capture(self) -> None:
        assert self.non_blocking
        Tape.now.tape = Tape()

    def is_capturing(self) -> bool:
        return Tape.now.tape is not None

    def end_capture(self) -> Any:
        tape, Tape.now.tape = Tape.now.tape, None
        return SimpleNamespace(graph=id(tape), launch=tape.replay, tape=tape)


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.records, self.reached, self.device = 0, 0, Stream.current.devices[-1]

    def reach(self, mark: int) -> None:
        self.reached = max(self.reached, mark)

    def synchronize(self) -> None:
        mark = self.records
        Stream.machine.run(lambda: self.reached >= mark)


def current() -> Stream:
    return Stream.current.streams[-1] if Stream.current.streams else Stream.null


def reset(seed: int = 0) -> None:
    """A machine without work."""
    Stream.machine, Stream.current = Machine(seed), Current()
    Stream.null = Stream(ptr=0)
