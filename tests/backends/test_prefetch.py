"""Items fetched a step ahead on a thread: the same items, the same errors, no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from backends.prefetch import prefetch


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
