"""What a step takes: W1, from every kernel by itself to a graph of many steps; W4, against its products alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from backends import Array, Backend, tree_map
from backends.cuda import captured_scan

from .clock import microseconds
from .results import MICROSECONDS, Figure, Skipped
from .setting import Asked, in_precision, on_gpu, size_for, unfused
from .training import Training, w1, w4

OURS = "nnbackprop"


@dataclass(frozen=True)
class Rung:
    """A way to run the same step: `length` steps in a graph, or none."""

    title: str
    fused: bool
    length: int | None


def ladder(asked: Asked, dtype: str) -> Iterator[Figure]:
    """W1's step, a rung after the other; batches lie on the device when the clock starts."""
    for rung in rungs(asked.open()):
        backend = in_precision(asked.open(), dtype)
        training = Training(
            backend if rung.fused else unfused(backend),
            w1(size_for(backend)),
            asked.read().train,
            eager=rung.length is None,
        )
        captured_scan.STEPS = rung.length or captured_scan.STEPS  # of this process, which does nothing else
        aim = "at most 60, stretch 35" if rung.length and dtype == "float32" else ""
        yield step_time(training, f"{OURS}, {rung.title}", size_for(backend).steps, aim=aim, dtype=dtype)
        del training
        backend.empty_cache()


def rungs(backend: Backend) -> Iterator[Rung]:
    """Those that the backend has."""
    yield Rung("eager", False, None)
    yield Rung("eager, rules fused", True, None)
    if backend.name == "jax":
        yield Rung("jit and scan", True, 1)
    elif on_gpu(backend):
        for length in size_for(backend).chunks:
            yield Rung(f"a graph of {length} steps" if length > 1 else "a graph of 1 step", True, length)


def step_time(training: Training, what: str, steps: int, **further: Any) -> Figure:
    """Microseconds a step of a training, `steps` of them at a time."""
    xs = training.xs(0, steps)
    size, wait = size_for(training.backend), training.backend.synchronize
    return Figure.of(what, microseconds(lambda: training.run(xs), wait, steps, size), MICROSECONDS, **further)


def large(asked: Asked, dtype: str) -> Iterator[Figure]:
    """W4's step, its products alone into arrays that are there already, and their share."""
    backend = in_precision(asked.open(), dtype)
    size = size_for(backend)
    training = Training(backend, w4(size), asked.read().train)
    ours = step_time(
        training, f"{OURS}, {training.net.title}, batch {training.net.batch:,}, Adam", size.wide_steps, dtype=dtype
    )
    yield ours
    run = products(training, multiplier(backend, dtype))
    times = microseconds(run, backend.synchronize, size.wide_steps, size)
    floor = Figure.of("its matrix products alone", times, MICROSECONDS, dtype=dtype)
    yield floor
    share = float(floor.value) / float(ours.value)
    yield Figure("share of the products in the step", share, aim="at least 0.9", dtype=dtype)


def products(training: Training, multiply: Callable[[Array, Array, Array], Any]) -> Callable[[], None]:
    """A run of the products of so many steps: x W, and backward x^T dz and, but for the first layer, dz W^T."""
    net, backend = training.net, training.backend
    W = [layer["W"] for layer in tree_map(backend.asarray, training.weights())]
    widths = [W[0].shape[0], *(w.shape[1] for w in W)]
    rng = np.random.default_rng(0)
    x = [backend.asarray(rng.standard_normal((net.batch, n)).astype(np.float32)) for n in widths]
    dz = [backend.asarray(np.zeros((net.batch, n), np.float32)) for n in widths]
    dW = [backend.asarray(np.zeros((n, k), np.float32)) for n, k in pairwise(widths)]

    def step() -> None:
        for i, w in enumerate(W):
            multiply(x[i], w, dz[i + 1])
        for i in reversed(range(len(W))):
            multiply(x[i].T, x[i + 1], dW[i])
            if i:
                multiply(x[i + 1], W[i].T, dz[i])

    def run() -> None:
        for _ in range(size_for(backend).wide_steps):
            step()

    return run


def multiplier(backend: Backend, dtype: str) -> Callable[[Array, Array, Array], Any]:
    """The library's own product of a and b into c."""
    if backend.name == "cupy":
        return cublas(dtype)
    if backend.name == "torch":
        import torch

        return lambda a, b, c: torch.matmul(a, b, out=c)
    if backend.name == "numpy":
        return lambda a, b, c: np.matmul(a, b, out=c)
    raise Skipped(f"the backend {backend.name} has no product into an array that is there already")


def cublas(dtype: str) -> Callable[[Array, Array, Array], Any]:
    """cuBLAS by CuPy's own handle, so that it is no call of ours that is the floor."""
    from cupy.cublas import gemm
    from cupy.cuda.device import get_cublas_handle
    from cupy_backends.cuda.libs.cublas import setMathMode

    setMathMode(get_cublas_handle(), 3 if dtype == "tf32" else 0)  # CUBLAS_TF32_TENSOR_OP_MATH, DEFAULT_MATH
    return lambda a, b, c: gemm("N", "N", a, b, out=c)
