"""Two slots over a device as late and as unruly as events allow: every chunk whole, and each wait needed for it.

A kernel here reads its chunk when it is done, not when it is asked for. Memory comes from pools: who had it before
is still writing there, and who has it afterwards writes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from backends import NumpyBackend, leaves, tree_map
from backends.cuda.slots import ALIGNED, by_slots
from tests.support.lazy_streams import LazyEvent, LazyStream, LazyTransport

SEEDS = range(60)


class Unmarked(LazyStream):
    """Marks of what its pool's last owner had asked are forgotten: those that the thread asks for."""

    def record(self, event: LazyEvent) -> LazyEvent:
        return event if threading.current_thread() is not threading.main_thread() else super().record(event)


class Unwaiting(LazyStream):
    def wait_event(self, event: LazyEvent) -> None: ...


class Unwaited(LazyEvent):
    def synchronize(self) -> None: ...


class UnwaitedAtTheEnd(LazyEvent):
    def synchronize(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            super().synchronize()


def chunks(count: int = 7) -> Iterator[tuple[int, Any]]:
    """Of several dtypes and lengths: the second is larger than the first, the last is ragged."""
    for k in range(count):
        steps = 1 if k == count - 1 else (2, 5, 3)[k % 3]
        rng = np.random.default_rng(k)
        inputs = rng.integers(0, 255, (steps, 4, 33), dtype=np.uint8)
        scalars = {"lr": rng.standard_normal(steps), "flag": rng.integers(0, 2, steps).astype(bool)}
        yield k, {"inputs": inputs, "scalars": scalars, "pair": (rng.integers(0, 9, (4, steps)).T, np.float32(k))}


def read(transport: LazyTransport, xs: Any, seen: list) -> None:
    """A kernel that reads `xs`."""
    transport.uses.ask(lambda: seen.append(tree_map(np.copy, xs)))


def whole(transport: LazyTransport) -> bool:
    """Whether each chunk came as it was, and memory that was given back stays as its next owner leaves it."""
    seen: list = []
    for _, xs in by_slots(transport, chunks()):
        read(transport, xs, seen)
    given_back(transport)
    expected = [xs for _, xs in chunks()]
    return len(seen) == len(expected) and all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for mine, theirs in zip(seen, expected, strict=True)
        for a, b in zip(leaves(mine), leaves(theirs), strict=True)
    )


def given_back(transport: LazyTransport) -> None:
    for host in transport.hosts:
        host.fill(0x55)
    for room in transport.rooms:
        transport.uses.ask(lambda room=room: room.fill(0x55))
    transport.machine.finish()
    assert all((room == 0x55).all() for room in transport.rooms), "a copy came when the memory was another's"


def test_every_chunk_arrives_whole_however_the_streams_run() -> None:
    assert all(whole(LazyTransport(seed)) for seed in SEEDS)


@pytest.mark.parametrize(
    "without",
    [{"event": Unwaited}, {"copies": Unwaiting}, {"uses": Unwaiting}, {"uses": Unmarked}],
    ids=["the pinned memory", "the last use", "the copy", "the memory's last owner"],
)
def test_no_chunk_is_safe_without_each_of_the_waits(without: dict) -> None:
    def harmed(seed: int) -> bool:
        try:
            return not whole(LazyTransport(seed, **without))
        except AssertionError:
            return True

    assert any(harmed(seed) for seed in SEEDS)


def leave_early(seed: int, event: Any = LazyEvent) -> None:
    transport, seen = LazyTransport(seed, event=event), []
    for k, xs in by_slots(transport, chunks()):
        read(transport, xs, seen)
        if k == 2:
            break
    given_back(transport)
    np.testing.assert_array_equal(seen[-1]["inputs"], dict(chunks())[2]["inputs"])


def test_a_consumer_that_leaves_early_leaves_no_copy_and_no_thread_behind() -> None:
    before = threading.active_count()
    for seed in SEEDS:
        within_seconds(lambda: leave_early(seed))  # noqa: B023
    assert threading.active_count() == before


def test_a_copy_under_way_when_the_consumer_leaves_is_waited_for() -> None:
    def harmed(seed: int) -> bool:
        try:
            leave_early(seed, UnwaitedAtTheEnd)
        except AssertionError:
            return True
        return False

    assert any(harmed(seed) for seed in SEEDS)


def test_the_last_chunk_asked_for_stays_as_it_is() -> None:
    """A trainer looks at one when its run is over, or has left its stream."""
    for seed in SEEDS:
        transport = LazyTransport(seed)
        _, xs = next(by_slots(transport, chunks()))
        transport.machine.finish()
        np.testing.assert_array_equal(xs["inputs"], dict(chunks())[0]["inputs"])


def test_an_error_comes_out_where_it_would_have() -> None:
    def broken() -> Iterator[tuple[int, Any]]:
        yield from chunks(3)
        raise OSError("the disk went away")

    before = threading.active_count()
    for seed in SEEDS:
        transport, seen = LazyTransport(seed), []
        coming = by_slots(transport, broken())
        for _ in range(3):
            read(transport, next(coming)[1], seen)
        with pytest.raises(OSError, match="went away"):
            next(coming)
        given_back(transport)
        assert [len(x["inputs"]) for x in seen] == [2, 5, 1]
    assert threading.active_count() == before


def test_the_host_runs_ahead_of_the_kernels() -> None:
    """Three chunks are to be had before the first has been worked on: nobody waits for kernels without need."""
    transport, seen = LazyTransport(0), []
    transport.machine.eagerness, transport.uses.favour = 0, 1e-12
    coming = by_slots(transport, chunks())
    for _ in range(3):
        _, xs = next(coming)
        assert not seen
        read(transport, xs, seen)
    coming.close()


def test_addresses_are_aligned_as_if_each_array_had_its_own_memory() -> None:
    transport = LazyTransport(0)
    for _, xs in by_slots(transport, chunks()):
        room = next(r for r in reversed(transport.rooms) if np.may_share_memory(r, xs["inputs"]))
        assert {(a.ctypes.data - room.ctypes.data) % ALIGNED for a in leaves(xs)} == {0}
    assert len(transport.rooms) == 3  # the first of the slots grew once


def test_what_comes_is_what_asarray_gives() -> None:
    backend = NumpyBackend()
    transport = LazyTransport(1)
    for (label, mine), (same, theirs) in zip(by_slots(transport, chunks()), backend.stream(chunks()), strict=True):
        transport.machine.finish()
        assert label == same
        for a, b in zip(leaves(mine), leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)
            assert (a.dtype, a.shape) == (b.dtype, b.shape)


def within_seconds(work: Callable[[], None], seconds: float = 20) -> None:
    """Do it on a thread, so that one that never ends fails."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits for ever"
    for error in failed:
        raise error
