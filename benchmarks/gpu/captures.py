"""What is special to captured graphs: their size, the same bits as by eager steps, memory that stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backends import Backend, tree_map
from backends.cuda import captured_scan
from nnbackprop.data.dataset import Dataset
from nnbackprop.training.batch_schedule import scalars_of

from .results import Figure
from .setting import Asked, need_graphs, size_for
from .training import Training, same_bits, w1

MEBIBYTE = 2**20
ROUNDS = 10
STEPS = 3 * captured_scan.STEPS + 5
"""Of a comparison: some whole graphs, and single steps left over."""


def capture(asked: Asked) -> Iterator[Figure]:
    """The graphs of W1: nodes, bytes, products; and the same bits as by eager steps."""
    backend: Any = asked.open()
    need_graphs(backend)
    data = asked.read().train
    captured, eager = (Training(backend, w1(size_for(backend)), data, eager=plain) for plain in (False, True))
    for training in (captured, eager):
        for at in range(0, 3 * STEPS, STEPS):
            training.run(training.xs(at, STEPS))
    yield Figure("graphs captured", len(backend.graphs))
    for found in sorted(backend.graphs, key=lambda found: found.steps):
        what = f"a graph of {found.steps} steps"
        yield Figure(f"{what}, nodes a step", found.nodes / found.steps, aim="at most 30, stretch 20")
        yield Figure(f"{what}, products by cuBLAS a step", found.products / found.steps)
        yield Figure(f"{what}, memory of its own", found.pool_bytes / MEBIBYTE, "MiB")
    yield differing("tensors that differ from eager steps in a bit", captured, eager)


def endurance(asked: Asked) -> Iterator[Figure]:
    """Thousands of replays, the pools freed between them, and graphs captured again and again: memory is flat."""
    backend: Any = asked.open()
    need_graphs(backend)
    captured_scan.STEPS = 1  # so that a step is a replay; of this process, which does nothing else
    size, data = size_for(backend), asked.read().train
    captured, eager = (Training(backend, w1(size), data, eager=plain) for plain in (False, True))
    used = []
    for at in range(0, size.replays, size.replays // ROUNDS):
        captured.run(captured.xs(at, size.replays // ROUNDS))
        used.append(freed(backend))
    yield Figure(f"memory grown over {size.replays:,} replays", growth(used), "MiB", limit=1.0)
    for at in range(0, size.replays, size.replays // ROUNDS):
        eager.run(eager.xs(at, size.replays // ROUNDS))
    yield differing("tensors that differ from eager steps in a bit", captured, eager)
    used = []
    for k in range(ROUNDS):
        captured.run(captured.xs(size.replays + 5 * k, 5))
        backend.empty_cache()
        used.append(freed(backend))
    yield Figure(f"memory grown over {ROUNDS} captures", growth(used), "MiB", limit=1.0)


def freed(backend: Backend) -> int:
    """Bytes that arrays take once CuPy's pools have given back whatever they can; graphs stay."""
    import cupy

    backend.synchronize()
    cupy.get_default_memory_pool().free_all_blocks()
    return backend.memory().used or 0


def growth(used: list[int]) -> float:
    """From the second look to the most, in MiB: the first may still have had something to set up."""
    return (max(used[1:]) - used[1]) / MEBIBYTE


def differing(what: str, a: Training, b: Training) -> Figure:
    """How many tensors of two trainings are not the same, in any number, to the bit."""
    pairs = [(x[name], y[name]) for x, y in zip(a.weights(), b.weights(), strict=True) for name in y]
    return Figure(what, sum(not same_bits(x, y) for x, y in pairs), limit=0)


def memory(asked: Asked) -> Iterator[Figure]:
    """A batch far too large: a MemoryError, the weights as they were, the memory free again, and on it goes."""
    backend: Any = asked.open()
    need_graphs(backend)
    data = asked.read().train
    drilled, spared = (Training(backend, w1(size_for(backend)), data) for _ in range(2))
    for training in (drilled, spared):
        training.run(training.xs(0, STEPS))
    before = drilled.weights()
    backend.empty_cache()
    used = freed(backend)
    backend.limit_memory(used + data.inputs.size)  # in float32 the whole set takes four times as much
    yield Figure("batches of the whole set that were refused", refused(drilled, data), aim="1")
    backend.limit_memory(0)
    backend.empty_cache()
    yield Figure("memory not given back", (freed(backend) - used) / MEBIBYTE, "MiB", limit=1.0)
    yield Figure("weights changed by it", int(not same_bits(drilled.weights(), before)), limit=0)
    for training in (drilled, spared):
        training.run(training.xs(STEPS, STEPS))
    yield differing("tensors that differ after further steps", drilled, spared)


def refused(training: Training, data: Dataset) -> int:
    """1 if a step on the whole set at once is a MemoryError; RuntimeError if it went through."""
    numbers = np.zeros(1, np.int32)
    scalars = scalars_of(training.net.optimizer, training.net.rate, numbers, training.dtype)
    host = {**training.loader.xs(np.arange(len(data))[None, :]), "step": numbers, "scalars": scalars}
    xs = tree_map(training.backend.asarray, host)
    try:
        training.run(xs)
        training.backend.synchronize()
    except MemoryError:
        return 1
    raise RuntimeError("a batch of the whole set fitted in a memory limited to a quarter of it")
