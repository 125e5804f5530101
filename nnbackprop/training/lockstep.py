"""Functions that stop at the same places and go on when all are there: passes over the shards of a batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")

Exchange = Callable[..., Any]
"""`exchange(*values)` waits for the others, and returns what is made of the values of all."""


def in_lockstep(
    functions: Sequence[Callable[[Exchange], T]], combine: Callable[[list[tuple[Any, ...]]], Any]
) -> list[T]:
    """The results of functions that call their `exchange` equally often, each time with `combine` of all values.

    Each has a thread, as a place to wait in: one runs at a time, so that nothing below needs to be thread-safe.
    """
    if len(functions) == 1:
        return [functions[0](lambda *values: combine([values]))]
    values: list[tuple[Any, ...]] = [()] * len(functions)
    combined: list[Any] = [None]
    turn = threading.Lock()

    def meet() -> None:
        combined[0] = combine(values)

    barrier = threading.Barrier(len(functions), meet)

    def run(i: int) -> T:
        def exchange(*own: Any) -> Any:
            values[i] = own
            turn.release()
            try:
                barrier.wait()
            finally:
                turn.acquire()
            return combined[0]

        with turn:
            try:
                return functions[i](exchange)
            except BaseException:
                barrier.abort()  # nobody waits for this one
                raise

    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(copy_context().run, run, i) for i in range(len(functions))]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error  # the cause, before those who waited in vain
    return [future.result() for future in futures]
