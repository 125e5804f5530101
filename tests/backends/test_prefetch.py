"""Chunks fetched ahead on a thread; on CUDA into two buffers: every chunk arrives whole, and each wait is needed.

The emulated device executes late and out of order: a kernel reads its chunk when it runs, not when it is launched.
Memory comes from pools: its last owner is still writing to it, and its next owner writes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backends import NumpyBackend, leaves, tree_map
from backends.prefetch import prefetch

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


def forgets_records_of_the_thread(cupy: Any) -> type:
    class Stream(cupy.cuda.Stream):
        def record(self, event: Any = None) -> Any:
            on_thread = threading.current_thread() is not threading.main_thread()
            return event if on_thread else super().record(event)

    return Stream


def never_waits(cupy: Any) -> type:
    class Stream(cupy.cuda.Stream):
        def wait_event(self, event: Any) -> None: ...

    return Stream


def never_waited_for(cupy: Any) -> type:
    class Event(cupy.cuda.Event):
        def synchronize(self) -> None: ...

    return Event


def not_waited_for_at_the_end(cupy: Any) -> type:
    class Event(cupy.cuda.Event):
        def synchronize(self) -> None:
            if threading.current_thread() is not threading.main_thread():
                super().synchronize()

    return Event


class Gpu:
    """Double buffering on device 1, in an order drawn by `seed`; streams and events may be of faulty kinds."""

    def __init__(self, library: Any, seed: int, uses: Any = None, copies: Any = None, event: Any = None) -> None:
        self.cupy, self.emulator = library.cupy, library.emulator
        self.emulator.run_in_random_order(seed)
        self.pinned: list[np.ndarray] = []
        self.memory: list[Any] = []
        self.read_arrays: list[Any] = []
        cuda = self.cupy.cuda
        kinds = {
            "Stream": copies(self.cupy) if copies else cuda.Stream,
            "Event": event(self.cupy) if event else cuda.Event,
        }
        self.module = import_module("backends.cuda.double_buffer")
        library.monkeypatch.setattr(
            self.module,
            "cupy",
            SimpleNamespace(
                cuda=SimpleNamespace(get_current_stream=cuda.get_current_stream, **kinds),
                empty=self.allocate,
                uint8=self.cupy.uint8,
            ),
        )
        library.monkeypatch.setattr(self.module, "cupyx", SimpleNamespace(empty_pinned=self.allocate_pinned))
        self.empty_pinned = library.empty_pinned
        self.device = cuda.Device(1)
        with self.device:
            self.uses = (uses(self.cupy) if uses else cuda.Stream)(non_blocking=True)

    def allocate(self, size: int, dtype: Any) -> Any:
        """Device memory whose last owner is not done with it."""
        assert self.cupy.cuda.get_current_stream().ptr == self.uses.ptr
        self.memory.append(self.cupy.empty(size, dtype))
        self.memory[-1].fill(0xAA)
        return self.memory[-1]

    def allocate_pinned(self, size: int, dtype: Any) -> Any:
        self.pinned.append(self.empty_pinned(size, dtype))
        return self.pinned[-1]

    def prefetch(self, items: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        with self.device, self.uses:
            yield from self.module.double_buffered(self.device, items)

    def read(self, arrays: Any) -> None:
        """Launch kernels that read `arrays`."""
        with self.device, self.uses:
            self.read_arrays.append(tree_map(lambda a: a.copy(), arrays))

    @property
    def seen(self) -> list[Any]:
        """What the kernels have read, once they have run."""
        return [self.host(arrays) for arrays in self.read_arrays]

    def host(self, arrays: Any) -> Any:
        self.finish()
        return tree_map(lambda a: a.get(), arrays)

    def finish(self) -> None:
        with self.device:
            self.device.synchronize()

    def free(self) -> None:
        """Give the memory to other owners, who write to it, and wait for the device."""
        for host in self.pinned:
            host.fill(0x55)
        with self.device, self.uses:
            for memory in self.memory:
                memory.fill(0x55)
            self.finish()
            assert all((memory.get() == 0x55).all() for memory in self.memory), "a copy came into another's memory"


@pytest.fixture
def library(emulated_device: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CuPy and the device that it is on."""
    import cupy
    import cupyx

    yield SimpleNamespace(
        cupy=cupy, emulator=emulated_device, monkeypatch=monkeypatch, empty_pinned=cupyx.empty_pinned
    )
    cupy.cuda.Device(0).use()


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
    for label, arrays in gpu.prefetch(chunks()):
        labels.append(label)
        gpu.read(arrays)
    gpu.free()
    expected = list(chunks())
    return labels == [k for k, _ in expected] and all(map(same, gpu.seen, [arrays for _, arrays in expected]))


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


def test_every_chunk_arrives_whole_in_any_order_of_streams(library: Any) -> None:
    assert all(whole(Gpu(library, seed)) for seed in SEEDS)


@pytest.mark.parametrize(
    "without",
    [
        {"event": never_waited_for},
        {"copies": never_waits},
        {"uses": never_waits},
        {"uses": forgets_records_of_the_thread},
    ],
    ids=["host for the last copy", "copy for the last use", "use for the copy", "copy for the last owner"],
)
def test_each_wait_is_needed(library: Any, without: dict) -> None:
    assert any(fails(lambda: whole(Gpu(library, seed, **without))) for seed in SEEDS)  # noqa: B023


def leave_early(gpu: Gpu) -> None:
    coming = gpu.prefetch(chunks())
    for k, arrays in coming:
        gpu.read(arrays)
        if k == 2:
            break
    coming.close()
    gpu.free()
    np.testing.assert_array_equal(gpu.seen[-1]["inputs"], dict(chunks())[2]["inputs"])


def test_leaving_early_waits_for_the_copies_and_ends_the_thread(library: Any) -> None:
    before = threading.active_count()
    for seed in SEEDS:
        without_deadlock(lambda: leave_early(Gpu(library, seed)))  # noqa: B023
    assert threading.active_count() == before
    assert any(fails(lambda: leave_early(Gpu(library, seed, event=not_waited_for_at_the_end))) for seed in SEEDS)  # noqa: B023


def test_the_last_chunk_asked_for_lasts(library: Any) -> None:
    for seed in SEEDS:
        gpu = Gpu(library, seed)
        _, arrays = next(gpu.prefetch(chunks()))
        assert same(gpu.host(arrays), dict(chunks())[0])


def test_an_error_of_the_source_is_raised_after_the_chunks_before_it(library: Any) -> None:
    def broken() -> Iterator[tuple[int, Any]]:
        yield from chunks(3)
        raise OSError("the disk is gone")

    before = threading.active_count()
    for seed in SEEDS:
        gpu = Gpu(library, seed)
        coming = gpu.prefetch(broken())
        for _ in range(3):
            gpu.read(next(coming)[1])
        with pytest.raises(OSError, match="disk is gone"):
            next(coming)
        gpu.free()
        assert [len(x["inputs"]) for x in gpu.seen] == [2, 5, 1]
    assert threading.active_count() == before


def test_the_host_runs_ahead_of_the_kernels(library: Any) -> None:
    """Three chunks are available before the first one has been read."""
    both_filled = threading.Event()

    def alike() -> Iterator[tuple[int, Any]]:
        for k in range(3):
            if k == 2:
                both_filled.set()
            yield k, {"inputs": np.full((4, 33), k, np.float32)}

    gpu = Gpu(library, 0)
    gpu.emulator.set_speed(gpu.uses, 1e-12)
    coming = gpu.prefetch(alike())
    with gpu.device:
        first_read = library.cupy.cuda.Event()
    for k in range(3):
        _, arrays = next(coming)
        assert both_filled.wait(60)
        gpu.read(arrays)
        if k == 0:
            gpu.uses.record(first_read)
        assert not first_read.done
    coming.close()


def test_arrays_are_aligned_and_buffers_grow_once(library: Any) -> None:
    gpu = Gpu(library, 0)
    for _, arrays in gpu.prefetch(chunks()):
        begin, inputs = [(m.data.ptr, m.size) for m in reversed(gpu.memory)], arrays["inputs"].data.ptr
        start = next(at for at, size in begin if at <= inputs < at + size)
        assert {(a.data.ptr - start) % 256 for a in leaves(arrays)} == {0}
    assert len(gpu.memory) == 3


def test_prefetch_gives_what_asarray_gives(library: Any) -> None:
    gpu = Gpu(library, 1)
    pairs = zip(gpu.prefetch(chunks()), NumpyBackend().prefetch(chunks()), strict=True)
    for (label, mine), (expected, theirs) in pairs:
        assert label == expected
        assert same(gpu.host(mine), theirs)
