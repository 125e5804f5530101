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

from .results import Figure, Part
from .rivals.nnbackprop_steps import Ours
from .session import differences
from .worker import Worker, WorkerError
from .workloads import WORKLOADS, Problem, dense_layers

STEPS = 3 * captured_scan.GRAPH_STEPS + 5
"""Of a comparison: whole graphs, and single steps left over."""

REPLAYS, MEBIBYTE = 10_000, 2**20


class Skipped(Exception):  # noqa: N818 (it is no error)
    """A part that cannot run here; the message says why."""


@dataclass(frozen=True)
class GpuCheck:
    """The command's options; each part opens its own backend and reads the data."""

    backend_name: str
    device: str | None
    data: str

    @cached_property
    def backend(self) -> Backend:
        return select(self.backend_name, self.device)

    @property
    def cupy(self) -> Any:
        """The backend, which is CuPy; Skipped otherwise."""
        if self.backend.name != "cupy":
            raise Skipped(f"{self.backend_name} does not report its graphs and takes no limit of its memory")
        return self.backend

    @property
    def on_gpu(self) -> bool:
        """Not so on the emulated CUDA device of the tests."""
        return self.backend.device.startswith("cuda") and not self.backend.description.startswith("emulated")

    def ours(self, dtype: str = "float32", backend: Backend | None = None, **options: Any) -> Ours:
        """784-512-256-10 with dropout on this backend, or another; on a CPU a small network."""
        workload, backend = replace(WORKLOADS["W1"], dtype=dtype), backend or self.backend
        if not self.on_gpu:
            workload = replace(workload, layers=dense_layers(32, 16, dropout=(0.4, 0.2, 0.1)), batch=20)
        return Ours(Problem.of(workload, load(self.data).train, backend.device), backend, **options)

    def run(self, name: str) -> Part:
        """A part; a step that cannot be captured is an error: it would be timed as if it were."""
        figures: list[Figure] = []
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "A step cannot be captured", RuntimeWarning)
                for figure in PARTS[name](self):
                    figures.append(figure)  # noqa: PERF402 (those before an error are kept)
        except Skipped as reason:
            return Part(name, "skipped", tuple(figures), str(reason))
        except Exception as error:
            return Part(name, "failed", tuple(figures), str(WorkerError.of(error)))
        beyond = [f"{f.what}: {f.value}, the limit is {f.limit:g}" for f in figures if not f.passed]
        return Part(name, "failed" if beyond else "passed", tuple(figures), "; ".join(beyond))

    def run_in_process(self, name: str, seconds: float) -> Part:
        """A part in a process of its own, for so many seconds at most."""
        worker = Worker(GpuCheck, self.backend_name, self.device, self.data)
        worker.send("run", name)
        try:
            part: Part = worker.receive(seconds)
        except WorkerError as error:
            part = Part(name, "failed", (), str(error))
        worker.end()
        return part


def parity(check: GpuCheck) -> Iterator[Figure]:
    """Dropout masks, and training in float64 with dropout, here and on NumPy from the same weights."""
    numpy, steps = select("numpy"), 100 if check.on_gpu else 10
    pairs = list(zip(dropout_masks(check.backend), dropout_masks(numpy), strict=True))
    different = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    yield Figure(f"numbers that differ in {len(pairs)} dropout masks", different, limit=0)
    here, there = (check.ours("float64", backend) for backend in (check.backend, numpy))
    for ours in (here, there):
        ours.train(0, steps)
    worst = max(d if d is not None else np.inf for d in differences(here.weights(), there.weights()).values())
    yield Figure(f"float64 weights after {steps} steps, relative difference from NumPy's", worst, limit=1e-12)


def dropout_masks(backend: Backend) -> Iterator[np.ndarray]:
    """On the host."""
    for step in (0, 1, 99, 2**31 - 1):
        key = RngKey(0, backend.asarray(np.array(step, np.int32))).child(0)
        for shape, rate in (((120, 784), 0.4), ((120, 512), 0.2), ((7, 13), 0.5)):
            yield backend.to_numpy(key.dropout_mask(backend.xp, shape, rate, backend.xp.float32))


def gradients(check: GpuCheck) -> Iterator[Figure]:
    """The network, every activation, loss and penalty, against central differences."""
    problem = check.ours("float64").problem
    cross, penalty = SoftmaxCrossEntropy(), WeightPenalty(l1=1e-3, l2=1e-2, biases=True)
    small = Sequential(Dense(12), Sigmoid(), Dense(10))
    activations = [Sequential(Dense(12), kind(), Dropout(0.2), Dense(10)) for kind in ACTIVATIONS.values()]
    cases: dict[str, list[tuple[Any, ...]]] = {
        "the network with dropout": [(problem.workload.network, cross, None)],
        f"{len(ACTIVATIONS)} activations": [(network, cross, None) for network in activations],
        f"{len(LOSSES)} losses": [(small, loss(), None) for loss in LOSSES.values()],
        "penalties": [(small, cross, penalty)],
    }
    x, t = problem.x[:20], problem.train.targets[:20]
    for what, nets in cases.items():
        reports = [gradcheck(net, loss, x, t, backend=check.backend, penalty=p) for net, loss, p in nets]
        worst = float(np.max([tensor.error for report in reports for tensor in report.tensors]))  # NaN stays
        yield Figure(f"gradients, relative error: {what}", worst, limit=TOLERANCE)


def captures(check: GpuCheck) -> Iterator[Figure]:
    """Captured graphs: nodes, products, bytes; and after thousands of replays the bits of eager steps."""
    backend = check.cupy
    captured, eager = check.ours(), check.ours(eager=True)
    for at in range(0, 3 * STEPS, STEPS):
        captured.train(at, STEPS)
    for graph, what in named_graphs(backend.graphs):
        yield Figure(f"{what}: nodes a step", graph.nodes / graph.steps)
        yield Figure(f"{what}: cuBLAS products a step", graph.products / graph.steps)
        yield Figure(f"{what}: memory of its own", graph.pool_bytes / MEBIBYTE, "MiB")
    before = used_after(captured, 3 * STEPS, STEPS)
    grown = used_after(captured, 4 * STEPS, REPLAYS) - before
    yield Figure(f"memory grown over {REPLAYS:,} steps", grown / MEBIBYTE, "MiB", limit=1.0)
    eager.train(0, 4 * STEPS + REPLAYS)
    yield differing("tensors that differ from eager steps in a bit", captured, eager)


def named_graphs(graphs: Any) -> Iterator[tuple[Any, str]]:
    """Each graph and its name; of two of one length, the larger takes gradient norms, for the end of a chunk."""
    seen = set()
    for graph in sorted(graphs, key=lambda graph: (graph.steps, graph.nodes)):
        norms = " with gradient norms" * (graph.steps in seen)
        seen.add(graph.steps)
        yield graph, f"a graph of {graph.steps} step{'s' * (graph.steps > 1)}{norms}"


def memory(check: GpuCheck) -> Iterator[Figure]:
    """A batch far too large is a MemoryError that leaves the weights as they were and its memory free."""
    backend, ours, other = check.cupy, check.ours(), check.ours()
    other.train(0, STEPS)
    before = used_after(ours, 0, STEPS)
    samples, step = ours.problem.train.inputs, ours.step_number
    backend.limit_memory(before + samples.size)  # in float32 the whole set takes four times as much
    try:
        ours.run(ours.prepare(np.arange(len(samples))[None, :]))
        raise RuntimeError("a batch of the whole set fitted in a memory limited to a quarter of it")
    except MemoryError:
        ours.step_number = step
    backend.limit_memory(0)
    backend.empty_cache()
    yield differing("tensors that a refused batch changed", ours, other)
    other.train(STEPS, STEPS)
    left = used_after(ours, STEPS, STEPS) - before
    yield Figure("memory that a refused batch did not give back", left / MEBIBYTE, "MiB", limit=1.0)
    yield differing("tensors that differ after further steps", ours, other)


def used_after(ours: Ours, at: int, steps: int) -> int:
    """Bytes that arrays take after further steps, once CuPy's pools have given back what they can."""
    import cupy

    ours.train(at, steps)
    cupy.get_default_memory_pool().free_all_blocks()
    return ours.backend.memory().used or 0


def differing(what: str, a: Ours, b: Ours) -> Figure:
    """How many tensors of two trainings differ in a bit."""
    tensors = [(x[name], y[name]) for x, y in zip(a.weights(), b.weights(), strict=True) for name in y]
    return Figure(what, sum(not np.array_equal(x, y) for x, y in tensors), limit=0)


def streaming(check: GpuCheck) -> Iterator[Figure]:
    """Samples on the device, and the same streamed chunk by chunk: the same bits, and their times."""
    both = {where: check.ours(resident=resident) for where, resident in (("resident", "yes"), ("streamed", "no"))}
    steps, repeats = (500, 9) if check.on_gpu else (20, 3)
    times: dict[str, list[float]] = {where: [] for where in both}
    for k in range(repeats + 1):
        for where, ours in both.items():
            batches, begin = ours.prepare(ours.problem.rows(k * steps, steps)), time.perf_counter()
            ours.run(batches)
            times[where].append((time.perf_counter() - begin) / steps * 1e6)
    yield differing("tensors that differ from those of resident samples in a bit", *both.values())
    for where, measured in times.items():
        yield Figure.median(f"{where} samples", measured[1:], "µs a step")  # the first compiled and captured


PARTS: dict[str, Callable[[GpuCheck], Iterator[Figure]]] = {
    "parity": parity,
    "gradients": gradients,
    "captures": captures,
    "streaming": streaming,
    "memory": memory,
}
