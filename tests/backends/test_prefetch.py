"""Chunks fetched ahead on a thread; on CUDA into two buffers: every chunk arrives whole, and each wait is needed.

The device here executes late and out of order: a kernel reads its chunk when it runs, not when it is launched.
Memory comes from pools: its last owner is still writing to it, and its next owner writes at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from backends import NumpyBackend, leaves, tree_map
from backends.prefetch import prefetch
from tests.support import fake_streams
from tests.support.fake_graphs import Taped
from tests.support.fake_streams import Device, Event, Stream

SEEDS = range(60)


def test_prefetch_gives_the_same_items_and_runs_on_a_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        for i in range(20):
            threads.add(threading.current_thread())
            yield i

    assert list(prefetch(items())) == list(range(20))
    assert threading.current_thread() not in threads


def test_prefetch_raises_where_the_items_did() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk went away")

    got = prefetch(items())
    assert next(got) == 1
    with pytest.raises(OSError, match="went away"):
        next(got)


def test_prefetch_ends_its_thread_when_it_is_left_early() -> None:
    before = threading.active_count()
    got = prefetch(iter(range(10**9)))
    assert next(got) == 0
    got.close()
    assert threading.active_count() == before


# Two buffers on CUDA


class IgnoresRecordsOfTheThread(Stream):
    def record(self, event: Event) -> Event:
        return event if threading.current_thread() is not threading.main_thread() else super().record(event)


class NeverWaits(Stream):
    def wait_event(self, event: Event) -> None: ...


class NeverWaitedFor(Event):
    def synchronize(self) -> None: ...


class NotWaitedForAtTheEnd(Event):
    def synchronize(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            super().synchronize()


class Gpu:
    """Double buffering on device 1 of a machine; streams and events may be faulty kinds."""

    def __init__(self, cupy: Any, seed: int, uses: Any = Stream, copies: Any = Stream, event: Any = Event) -> None:
        fake_streams.reset(seed)
        self.pinned: list[np.ndarray] = []
        self.memory: list[np.ndarray] = []
        self.seen: list[Any] = []
        cupy.cuda.Stream, cupy.cuda.Event, cupy.empty = copies, event, self.allocate
        sys.modules["cupyx"].empty_pinned = self.allocate_pinned
        with Device(1):
            self.uses = uses(non_blocking=True)

    def allocate(self, size: int, dtype: Any) -> Any:
        assert fake_streams.current() is self.uses
        self.memory.append(np.zeros(size, dtype))
        self.uses.enqueue(lambda memory=self.memory[-1]: memory.fill(0xAA))
        return self.memory[-1].view(Taped)

    def allocate_pinned(self, size: int, dtype: Any) -> Any:
        self.pinned.append(np.empty(size, dtype))
        return self.pinned[-1]

    def prefetch(self, items: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        double_buffered = import_module("backends.cuda.double_buffer").double_buffered
        with Device(1), self.uses:
            yield from double_buffered(Device(1), items)

    def read(self, xs: Any) -> None:
        """Launch a kernel that reads `xs`."""
        self.uses.enqueue(lambda: self.seen.append(tree_map(lambda a: np.array(a), xs)))

    def free(self) -> None:
        """Give the memory to other owners, who write to it, and wait for the device."""
        for host in self.pinned:
            host.fill(0x55)
        for memory in self.memory:
            self.uses.enqueue(lambda memory=memory: memory.fill(0x55))
        Stream.machine.finish()
        assert all((memory == 0x55).all() for memory in self.memory), "a copy came when the memory was another's"


def chunks(count: int = 7) -> Iterator[tuple[int, Any]]:
    """Of several dtypes and lengths: the second is larger than the first, the last is ragged."""
    for k in range(count):
        steps = 1 if k == count - 1 else (2, 5, 3)[k % 3]
        rng = np.random.default_rng(k)
        inputs = rng.integers(0, 255, (steps, 4, 33), dtype=np.uint8)
        scalars = {"lr": rng.standard_normal(steps), "flag": rng.integers(0, 2, steps).astype(bool)}
        yield k, {"inputs": inputs, "scalars": scalars, "pair": (rng.integers(0, 9, (4, steps)).T, np.float32(k))}


def same(a: Any, b: Any) -> bool:
    return all(
        np.array_equal(x, y) and (x.dtype, x.shape) == (y.dtype, y.shape)
        for x, y in zip(leaves(a), leaves(b), strict=True)
    )


def whole(gpu: Gpu) -> bool:
    """Whether each chunk arrives as it was, and freed memory stays as its next owner leaves it."""
    labels = []
    for label, xs in gpu.prefetch(chunks()):
        labels.append(label)
        gpu.read(xs)
    gpu.free()
    expected = list(chunks())
    return labels == [k for k, _ in expected] and all(map(same, gpu.seen, [xs for _, xs in expected]))


def without_deadlock(work: Callable[[], None]) -> None:
    """Run it on a thread, so that one that never ends fails."""
    failed: list[bool] = []
    thread = threading.Thread(target=lambda: failed.append(fails(work)), daemon=True)
    thread.start()
    thread.join(60)
    assert failed == [False], "it fails, or waits for ever"


def fails(work: Callable[[], Any]) -> bool:
    try:
        return work() is False
    except AssertionError:
        return True


def test_every_chunk_arrives_whole_in_any_order_of_streams(cupy: Any) -> None:
    assert all(whole(Gpu(cupy, seed)) for seed in SEEDS)


@pytest.mark.parametrize(
    "without",
    [
        {"event": NeverWaitedFor},
        {"copies": NeverWaits},
        {"uses": NeverWaits},
        {"uses": IgnoresRecordsOfTheThread},
    ],
    ids=["host for the last copy", "copy for the last use", "use for the copy", "copy for the last owner"],
)
def test_each_wait_is_needed(cupy: Any, without: dict) -> None:
    assert any(fails(lambda: whole(Gpu(cupy, seed, **without))) for seed in SEEDS)  # noqa: B023


def leave_early(gpu: Gpu) -> None:
    coming = gpu.prefetch(chunks())
    for k, xs in coming:
        gpu.read(xs)
        if k == 2:
            break
    coming.close()
    gpu.free()
    np.testing.assert_array_equal(gpu.seen[-1]["inputs"], dict(chunks())[2]["inputs"])


def test_leaving_early_waits_for_the_copies_and_ends_the_thread(cupy: Any) -> None:
    before = threading.active_count()
    for seed in SEEDS:
        without_deadlock(lambda: leave_early(Gpu(cupy, seed)))  # noqa: B023
    assert threading.active_count() == before
    assert any(fails(lambda: leave_early(Gpu(cupy, seed, event=NotWaitedForAtTheEnd))) for seed in SEEDS)  # noqa: B023


def test_the_last_chunk_asked_for_lasts(cupy: Any) -> None:
    for seed in SEEDS:
        _, xs = next(Gpu(cupy, seed).prefetch(chunks()))
        Stream.machine.finish()
        assert same(xs, dict(chunks())[0])


def test_an_error_of_the_source_is_raised_after_the_chunks_before_it(cupy: Any) -> None:
    def broken() -> Iterator[tuple[int, Any]]:
        yield from chunks(3)
        raise OSError("the disk is gone")

    before = threading.active_count()
    for seed in SEEDS:
        gpu = Gpu(cupy, seed)
        coming = gpu.prefetch(broken())
        for _ in range(3):
            gpu.read(next(coming)[1])
        with pytest.raises(OSError, match="disk is gone"):
            next(coming)
        gpu.free()
        assert [len(x["inputs"]) for x in gpu.seen] == [2, 5, 1]
    assert threading.active_count() == before


def test_the_host_runs_ahead_of_the_kernels(cupy: Any) -> None:
    """Three chunks are available before the first one has been read."""
    gpu = Gpu(cupy, 0)
    Stream.machine.eagerness, gpu.uses.speed = 0, 1e-12
    coming = gpu.prefetch(chunks())
    for _ in range(3):
        _, xs = next(coming)
        assert not gpu.seen
        gpu.read(xs)
    coming.close()


def test_arrays_are_aligned_and_buffers_grow_once(cupy: Any) -> None:
    gpu = Gpu(cupy, 0)
    for _, xs in gpu.prefetch(chunks()):
        memory = next(m for m in reversed(gpu.memory) if np.may_share_memory(m, xs["inputs"]))
        assert {(a.ctypes.data - memory.ctypes.data) % 256 for a in leaves(xs)} == {0}
    assert len(gpu.memory) == 3


def test_prefetch_gives_what_asarray_gives(cupy: Any) -> None:
    pairs = zip(Gpu(cupy, 1).prefetch(chunks()), NumpyBackend().prefetch(chunks()), strict=True)
    for (label, mine), (expected, theirs) in pairs:
        Stream.machine.finish()
        assert label == expected
        assert same(mine, theirs)
