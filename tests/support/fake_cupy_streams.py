"""Devices, streams and events as CuPy names them. What is current is so for a thread; a new one is on device 0.

The null stream does at once what it is asked, another one when it suits it.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from tests.support.lazy_streams import LazyEvent, LazyStream, Machine
from tests.support.taped import Tape


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


class Stream(LazyStream):
    """The device's own stream, or one that can be captured."""

    machine: Machine
    current: Current
    null: Stream

    def __init__(self, non_blocking: bool = False, ptr: int = 7) -> None:
        super().__init__(Stream.machine, eager=ptr == 0)
        self.ptr, self.non_blocking, self.tape = ptr, non_blocking, None
        self.created_on = Stream.current.devices[-1]

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

    def record(self, event: Any) -> Any:
        assert event.device == self.device, "CUDA refuses to mark a stream of one device with an event of another"
        return super().record(event)

    def begin_capture(self) -> None:
        assert self.non_blocking
        self.tape = Tape.now.tape = Tape()

    def is_capturing(self) -> bool:
        return Tape.now.tape is not None

    def end_capture(self) -> Any:
        tape, Tape.now.tape = Tape.now.tape, None
        return SimpleNamespace(graph=id(tape), launch=tape.replay, tape=tape)


class Event(LazyEvent):
    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        super().__init__(Stream.machine)
        self.device = Stream.current.devices[-1]


def current() -> Stream:
    return Stream.current.streams[-1] if Stream.current.streams else Stream.null


def begin(seed: int = 0) -> None:
    """A machine on which nothing has been asked yet."""
    Stream.machine, Stream.current = Machine(seed), Current()
    Stream.null = Stream(ptr=0)
