"""What is checked on a GPU besides speed: NumPy's numbers, captured graphs, streaming, memory.

Each part is a generator of figures and runs in a process of its own: an error of CUDA's ends that process alone.
On a CPU the same parts run with small networks, as a rehearsal; on an emulated CUDA device too. None needs more
than NumPy, CuPy and array-api-compat.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from backends import Backend, select
from backends.cuda import captured_scan
from nnbackprop.data.catalog import load
from nnbackprop.diagnostics.gradcheck.gradcheck import TOLERANCE, gradcheck
from nnbackprop.nn.layers import ACTIVATIONS, Dense, Dropout, Sigmoid
from nnbackprop.nn.losses import LOSSES, SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential

from .results import Figure, Part, Status
from .rivals.nnbackprop_steps import Ours
from .suite import difference
from .worker import Worker, WorkerError, error_of
from .workloads import WORKLOADS, Problem

MASKS = (((120, 784), 0.4), ((120, 512), 0.2), ((7, 13), 0.5))
STEPS = (0, 1, 99, 2**31 - 1)
COMPARED = 3 * captured_scan.STEPS + 5  # steps: whole graphs, and single steps left over
REPLAYS, ROUNDS = 10_000, 10
MEBIBYTE = 2**20


class Skipped(Exception):  # noqa: N818 (it is no error)
    """A part that cannot run here; the message says why."""


@dataclass(frozen=True)
class Setting:
    """The command's words. Each part opens its own backend and reads the data."""

    backend: str
    device: str | None
    data: str

    @cached_property
    def open(self) -> Backend:
        return select(self.backend, self.device)

    @property
    def on_gpu(self) -> bool:
        """Not so on the emulated CUDA device of the tests, where the parts are rehearsed too."""
        return self.open.device.startswith("cuda") and not self.open.description.startswith("emulated")

    def problem(self, dtype: str, device: str) -> Problem:
        """W1; on a CPU a small network."""
        workload = replace(WORKLOADS["W1"], dtype=dtype)
        if not self.on_gpu:
            workload = replace(workload, hidden=(32, 16), batch=20)
        return Problem.of(workload, load(self.data).train, device)

    def ours(self, dtype: str = "float32", backend: Backend | None = None, **options: Any) -> Ours:
        """W1 on the backend asked for, or another."""
        backend = backend or self.open
        return Ours(self.problem(dtype, backend.device), backend, **options)

    def need_cupy(self) -> Any:
        """The backend, which is CuPy; Skipped otherwise."""
        if self.open.name != "cupy":
            raise Skipped(
                f"the backend {self.backend} does not report its graphs and takes no limit of its memory"
            )
        return self.open


def run(name: str, setting: Setting, seconds: float) -> Part:
    """A part in a process of its own, for so many seconds at most."""
    worker, figures, begin = Worker(serve, name, setting), list[Figure](), time.monotonic()
    try:
        while isinstance(answer := worker.receive(begin + seconds - time.monotonic()), Figure):
            figures.append(answer)
        status: Status = "skipped" if answer else "passed"
        reason = str(answer)
    except WorkerError as error:
        status, reason = "failed", str(error)
    worker.end()
    beyond = [
        f"{figure.what}: {figure.value}, the limit is {figure.limit:g}" for figure in figures if not figure.holds
    ]
    if beyond and status == "passed":
        status, reason = "failed", "; ".join(beyond)
    return Part(name, status, time.monotonic() - begin, tuple(figures), reason)


def serve(pipe: Connection, name: str, setting: Setting) -> None:
    """In the part's process: send each figure, and last why it was skipped, "" if it was not, or its error.

    A step that cannot be captured is an error: it would be timed as if it were.
    """
    warnings.filterwarnings("error", "A step cannot be captured", RuntimeWarning)
    try:
        for figure in PARTS[name](setting):
            pipe.send(figure)
        pipe.send("")
    except Skipped as reason:
        pipe.send(str(reason))
    except Exception as error:
        pipe.send(error_of(error))


def parity(setting: Setting) -> Iterator[Figure]:
    """Dropout masks, and W1 in float64 with dropout, here and on NumPy from the same weights."""
    judge, steps = select("numpy"), 100 if setting.on_gpu else 10
    different = sum(np.count_nonzero(a != b) for a, b in zip(masks(setting.open), masks(judge), strict=True))
    yield Figure(f"numbers that differ in {len(MASKS) * len(STEPS)} dropout masks", int(different), limit=0)
    here, there = (setting.ours("float64", backend) for backend in (setting.open, judge))
    for ours in (here, there):
        ours.train(0, steps)
    layers = zip(here.weights(), there.weights(), strict=True)
    worst = max(difference(({name: a[name]},), ({name: b[name]},)) or 0.0 for a, b in layers for name in b)
    yield Figure(f"float64 weights after {steps} steps, relative difference from NumPy's", worst, limit=1e-12)


def masks(backend: Backend) -> list[np.ndarray]:
    """Dropout masks on the host."""
    keys = [RngKey(0, backend.asarray(np.array(step, np.int32))).at(0) for step in STEPS]
    drawn = (
        key.dropout_mask(backend.xp, shape, rate, backend.xp.float32) for shape, rate in MASKS for key in keys
    )
    return [backend.to_numpy(mask) for mask in drawn]


def gradients(setting: Setting) -> Iterator[Figure]:
    """Every activation, loss and penalty, and W1's network, against central differences."""
    problem = setting.problem("float64", setting.open.device)
    cross, penalty = SoftmaxCrossEntropy(), WeightPenalty(l1=1e-3, l2=1e-2, biases=True)
    small = Sequential(Dense(12), Sigmoid(), Dense(10))
    activations = [Sequential(Dense(12), kind(), Dropout(0.2), Dense(10)) for kind in ACTIVATIONS.values()]
    cases: dict[str, list[tuple[Any, ...]]] = {
        "W1's network with dropout": [(problem.workload.network, cross, None)],
        f"{len(ACTIVATIONS)} activations": [(network, cross, None) for network in activations],
        f"{len(LOSSES)} losses": [(small, loss(), None) for loss in LOSSES.values()],
        "penalties": [(small, cross, penalty)],
    }
    x, t = problem.x[:20], problem.train.targets[:20]
    for what, several in cases.items():
        reports = [gradcheck(net, loss, x, t, backend=setting.open, penalty=p) for net, loss, p in several]
        worst = float(np.max([tensor.error for report in reports for tensor in report.tensors]))  # NaN stays
        yield Figure(f"gradients, relative error: {what}", worst, limit=TOLERANCE)


def captures(setting: Setting) -> Iterator[Figure]:
    """The graphs of W1: nodes, products, bytes; and the same bits as by eager steps."""
    backend = setting.need_cupy()
    captured, eager = setting.ours(), setting.ours(eager=True)
    for ours in (captured, eager):
        for at in range(0, 3 * COMPARED, COMPARED):
            ours.train(at, COMPARED)
    yield Figure("graphs captured", len(backend.graphs))
    for found in sorted(backend.graphs, key=lambda found: found.steps):
        what = f"a graph of {found.steps} steps"
        yield Figure(f"{what}, nodes a step", found.nodes / found.steps, goal="at most 30, stretch 20")
        yield Figure(f"{what}, products by cuBLAS a step", found.products / found.steps)
        yield Figure(f"{what}, memory of its own", found.pool_bytes / MEBIBYTE, "MiB")
    yield differing("tensors that differ from eager steps in a bit", captured, eager)


def endurance(setting: Setting) -> Iterator[Figure]:
    """Thousands of replays, and graphs captured again and again: memory is flat."""
    backend, share = setting.need_cupy(), REPLAYS // ROUNDS
    captured, eager = setting.ours(graph_steps=1), setting.ours(eager=True)
    taken = [taken_after(captured, k * share, share) for k in range(ROUNDS)]
    yield Figure(f"memory grown over {REPLAYS:,} replays", growth(taken), "MiB", limit=1.0)
    eager.train(0, REPLAYS)
    yield differing("tensors that differ from eager steps in a bit", captured, eager)
    taken = []
    for k in range(ROUNDS):
        backend.empty_cache()  # graphs too
        taken.append(taken_after(captured, REPLAYS + 5 * k, 5))
    yield Figure(f"memory grown over {ROUNDS} captures", growth(taken), "MiB", limit=1.0)


def taken_after(ours: Ours, at: int, steps: int) -> int:
    """Bytes that arrays take after further steps, once CuPy's pools have given back what they can."""
    import cupy

    ours.train(at, steps)
    cupy.get_default_memory_pool().free_all_blocks()
    return ours.backend.memory().used or 0


def growth(taken: list[int]) -> float:
    """From the second reading to the most, in MiB: the first may still have had something to set up."""
    return (max(taken[1:]) - taken[1]) / MEBIBYTE


def differing(what: str, a: Ours, b: Ours) -> Figure:
    """How many tensors of two trainings differ in a bit."""
    tensors = [(x[name], y[name]) for x, y in zip(a.weights(), b.weights(), strict=True) for name in y]
    return Figure(what, sum(not np.array_equal(x, y) for x, y in tensors), limit=0)


def memory(setting: Setting) -> Iterator[Figure]:
    """A batch far too large is a MemoryError that leaves the weights as they were and its memory free."""
    backend = setting.need_cupy()
    tried, spared = setting.ours(), setting.ours()
    spared.train(0, COMPARED)
    before = taken_after(tried, 0, COMPARED)
    samples, steps = tried.problem.train.inputs, tried.steps
    backend.limit_memory(before + samples.size)  # in float32 the whole set takes four times as much
    try:
        tried.run(tried.prepare(np.arange(len(samples))[None, :]))
        raise RuntimeError("a batch of the whole set fitted in a memory limited to a quarter of it")
    except MemoryError:
        yield Figure("batches of the whole set that were refused", 1)
    tried.steps = steps
    backend.limit_memory(0)
    backend.empty_cache()
    yield differing("tensors that it changed", tried, spared)
    spared.train(COMPARED, COMPARED)
    left = taken_after(tried, COMPARED, COMPARED) - before
    yield Figure("memory not given back", left / MEBIBYTE, "MiB", limit=1.0)
    yield differing("tensors that differ after further steps", tried, spared)


def streaming(setting: Setting) -> Iterator[Figure]:
    """W1 on samples on the device, and on the same that stream chunk by chunk: the same bits, and its time."""
    both = {where: setting.ours(resident=word) for where, word in (("resident", "yes"), ("streamed", "no"))}
    steps, repeats = (500, 9) if setting.on_gpu else (20, 3)
    times: dict[str, list[float]] = {where: [] for where in both}
    for k in range(repeats + 1):
        for where, ours in both.items():
            batches, begin = ours.prepare(ours.problem.rows(k * steps, steps)), time.perf_counter()
            ours.run(batches)
            times[where].append((time.perf_counter() - begin) / steps * 1e6)
    yield differing("tensors that differ from those of resident samples in a bit", *both.values())
    for where, found in times.items():
        yield Figure.of(f"W1, {where} samples", found[1:], "µs a step")  # the first compiled and captured


PARTS: dict[str, Callable[[Setting], Iterator[Figure]]] = {
    "parity": parity,
    "gradients": gradients,
    "captures": captures,
    "streaming": streaming,
    "memory": memory,
    "endurance": endurance,
}
