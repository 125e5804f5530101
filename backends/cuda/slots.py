"""Chunks on their way to a device while it computes: two slots of memory that take turns.

While the device works on the chunk in one slot, a thread writes the next into the other: into its pinned memory,
and a stream of copies takes it from there into its memory on the device. Three waits keep a chunk whole, and there
are no others: the host's for the last copy out of the pinned memory, the copies' for the last use of the slot, and
the uses' for the copy. The library's part, a `Transport`, is in cupy_slots.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import accumulate
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np

from backends.ahead import ahead
from backends.base import Array, T, Tree, leaves, tree_map

SLOTS = 2

ALIGNED = 256
"""Bytes that the address of an array on a device is a multiple of, as if it had been allocated by itself."""


class Event(Protocol):
    """A mark in a stream, which moves whenever it is recorded anew."""

    def synchronize(self) -> None:
        """Wait on the host until the device has come to the mark; not at all if there is none yet."""


class Stream(Protocol):
    """Work that a device does in order, and in no order with that of other streams."""

    def record(self, event: Any) -> Any:
        """Mark what has been asked of the stream so far."""

    def wait_event(self, event: Any) -> None:
        """Let what is asked from now on wait for the event's last mark; the host goes on."""


class Transport(Protocol):
    """What a library does of its own. `uses` is the stream of whoever asks for the chunks."""

    device: AbstractContextManager[Any]
    copies: Stream
    uses: Stream

    def event(self) -> Event:
        """A new event."""

    def pinned(self, size: int) -> np.ndarray:
        """Bytes on the host that the device can read by itself."""

    def room(self, size: int) -> Array:
        """Bytes on the device, from a pool in the order of `uses`: who had them may still be at work there."""

    def send(self, host: np.ndarray, room: Array) -> None:
        """Copy `host` to where `room` begins, in the stream `copies`."""

    def view(self, room: Array, at: int, like: np.ndarray) -> Array:
        """The bytes of `room` from `at` on as an array such as `like`."""


def by_slots(transport: Transport, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
    """`Backend.stream` over a `transport`."""
    with transport.device:
        slots = [_Slot(transport) for _ in range(SLOTS)]
    free: SimpleQueue[_Slot | None] = SimpleQueue()
    for slot in slots:
        free.put(slot)

    def filled() -> Iterator[tuple[T, _Slot, Tree]]:
        for label, xs in chunks:
            place = free.get()
            if place is None:
                return
            yield label, place, place.fill(xs)

    coming = ahead(filled(), SLOTS)
    try:
        for label, slot, xs in coming:
            slot.begin_use()
            yield label, xs
            slot.end_use()
            free.put(slot)
    finally:
        free.put(None)
        coming.close()
        # The pools that have the memory next know nothing of copies: there must be none under way any more.
        for slot in slots:
            slot.copied.synchronize()


class _Slot:
    """Memory of one size on the host and on the device, and how far each side is with it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._host, self._room = np.empty(0, np.uint8), None
        self.copied, self._used = transport.event(), transport.event()

    def fill(self, xs: Tree) -> Tree:
        """Views of the slot's memory on the device, where `xs` will be once `copied` is reached."""
        transport, arrays = self._transport, leaves(xs)
        begins = [0, *accumulate(-(-a.nbytes // ALIGNED) * ALIGNED for a in arrays)]
        with transport.device:
            self.copied.synchronize()
            if begins[-1] > self._host.size:
                self._grow(begins[-1])
            for at, a in zip(begins, arrays, strict=False):
                self._host[at : at + a.nbytes].view(a.dtype).reshape(a.shape)[...] = a
            transport.copies.wait_event(self._used)
            transport.send(self._host[: begins[-1]], self._room)
            transport.copies.record(self.copied)
            views = (transport.view(self._room, at, a) for at, a in zip(begins, arrays, strict=False))
            return tree_map(lambda _: next(views), xs)

    def begin_use(self) -> None:
        """Let what is asked of the device from now on find the chunk there."""
        with self._transport.device:
            self._transport.uses.wait_event(self.copied)

    def end_use(self) -> None:
        """Let the next chunk be copied there once all that was asked of the device so far is done."""
        with self._transport.device:
            self._transport.uses.record(self._used)

    def _grow(self, size: int) -> None:
        """Take other memory. What its last owner asked of the device is in the order of `uses`, before `used`."""
        self._host, self._room = self._transport.pinned(size), self._transport.room(size)
        self._transport.uses.record(self._used)
