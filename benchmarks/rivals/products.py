"""The floor: the matrix products of a step and nothing else."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from backends import Array, Tree, select
from benchmarks.workloads import Problem
from nnbackprop.nn.layers.base import Params


class Products:
    """Forward x W, backward x^T dz for each layer and dz W^T for all but the first, into allocated arrays."""

    def __init__(self, problem: Problem) -> None:
        dtype, rng, n = problem.workload.dtype, np.random.default_rng(0), problem.batch
        self.W = [np.array(layer["W"]) for layer in problem.weights]
        widths = [self.W[0].shape[0], *(W.shape[1] for W in self.W)]
        self.x = [rng.random((n, width)).astype(dtype) for width in widths]
        self.dz = [np.empty((n, width), dtype) for width in widths]
        self.dW = [np.empty_like(W) for W in self.W]
        self.y = [np.empty((n, k), dtype) for _, k in pairwise(widths)]

    def prepare(self, rows: np.ndarray) -> Any:
        return len(rows)

    def run(self, batches: Any) -> None:
        for _ in range(batches):
            for x, W, y in zip(self.x, self.W, self.y, strict=False):
                multiply(x, W, y)
            for i in reversed(range(len(self.W))):
                multiply(self.x[i].T, self.x[i + 1], self.dW[i])
                if i:
                    multiply(self.x[i + 1], self.W[i].T, self.dz[i])

    def weights(self) -> Params:
        raise NotImplementedError("matrix products only: nothing is trained")


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out = a b; a column by a row, of a single sample, is faster without BLAS."""
    (np.multiply if a.shape[1] == 1 else np.matmul)(a, b, out=out)


class CapturedProducts(Products):
    """The same by a backend's products and `Backend.scan`: on CUDA a captured graph, as our own step is."""

    def __init__(self, problem: Problem, backend: str) -> None:
        super().__init__(problem)
        self.backend, self.length = select(backend, problem.device), problem.workload.chunk_on(problem.device)
        if problem.tf32:
            self.backend.use_tf32()
        self.data = {name: tuple(map(self.backend.asarray, getattr(self, name))) for name in ("x", "W")}
        self.step = partial(step, self.backend.xp)  # one object: graphs are kept by it
        self.state: Tree = {"y": self.backend.asarray(self.y[-1])}

    def prepare(self, rows: np.ndarray) -> list[Array]:
        steps = np.arange(len(rows), dtype=np.int32)
        return [self.backend.asarray(steps[k : k + self.length]) for k in range(0, len(rows), self.length)]

    def run(self, batches: list[Array]) -> None:
        for steps in batches:
            self.state = self.backend.scan(self.step, self.state, self.data, {"step": steps})
        self.backend.synchronize()


def step(xp: Any, state: Tree, data: Tree, batch: Tree) -> Tree:
    """The products of one step; only the network's outputs are kept."""
    x, W = data["x"], data["W"]
    y = [xp.matmul(a, b) for a, b in zip(x, W, strict=False)]
    for i in reversed(range(len(W))):
        xp.matmul(xp.matrix_transpose(x[i]), x[i + 1])
        if i:
            xp.matmul(x[i + 1], xp.matrix_transpose(W[i]))
    return {"y": y[-1]}


def make(problem: Problem, backend: str | None = None) -> Products:
    """NumPy's, or a backend's."""
    return CapturedProducts(problem, backend) if backend else Products(problem)
