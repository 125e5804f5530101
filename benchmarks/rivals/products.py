"""The floor: the matrix products of a step and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from backends import Array, Tree, select
from benchmarks.workloads import Problem
from nnbackprop.nn.layers import Conv2D
from nnbackprop.nn.layers.base import Params


class Product(NamedTuple):
    """a b, or the product with the transpose of one of them."""

    a: Any
    b: Any
    transposed: str | None = None


def products(problem: Problem) -> Iterator[Product]:
    """Forward x W, then backward x^T dz for each layer and dz W^T for all but the first, on random numbers.

    Of a convolution, x is its windows, and dx is the product of dz's windows with the turned kernel.
    """
    dtype, rng = problem.workload.dtype, np.random.default_rng(0)
    forward: list[Product] = []
    backward: list[Product] = []
    for summary in problem.summary:
        if "W" not in summary.params:
            continue
        inner, units = summary.params["W"].shape
        places = problem.batch * math.prod(summary.out_shape[:-1])
        x, W, dz = (
            rng.random(shape).astype(dtype) for shape in ((places, inner), (inner, units), (places, units))
        )
        forward.append(Product(x, W))
        if backward and isinstance(summary.layer, Conv2D):
            rows, columns, channels = summary.in_shape
            shape = (problem.batch * rows * columns, inner // channels * units)
            backward.append(
                Product(rng.random(shape).astype(dtype), rng.random((shape[1], channels)).astype(dtype))
            )
        elif backward:
            backward.append(Product(dz, W, "b"))
        backward.append(Product(x, dz, "a"))
    yield from (*forward, *reversed(backward))


class Products:
    """NumPy's, into allocated arrays."""

    def __init__(self, problem: Problem) -> None:
        self.factors = list(products(problem))
        views = [(a.T if t == "a" else a, b.T if t == "b" else b) for a, b, t in self.factors]
        self.products = [(a, b, np.empty((len(a), b.shape[1]), a.dtype)) for a, b in views]

    def prepare(self, rows: np.ndarray) -> Any:
        return len(rows)

    def run(self, batches: Any) -> None:
        for _ in range(batches):
            for a, b, out in self.products:
                multiply(a, b, out)

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
        moved = {id(array): self.backend.asarray(array) for a, b, _ in self.factors for array in (a, b)}
        self.data = {"factors": tuple((moved[id(a)], moved[id(b)]) for a, b, _ in self.factors)}
        # one object: graphs are kept by it
        self.step = partial(step, self.backend.xp, tuple(product.transposed for product in self.factors))
        self.state: Tree = {"y": self.backend.asarray(self.products[-1][2])}

    def prepare(self, rows: np.ndarray) -> list[Array]:
        steps = np.arange(len(rows), dtype=np.int32)
        return [self.backend.asarray(steps[k : k + self.length]) for k in range(0, len(rows), self.length)]

    def run(self, batches: list[Array]) -> None:
        for steps in batches:
            self.state = self.backend.scan(self.step, self.state, self.data, {"step": steps})
        self.backend.synchronize()


def step(xp: Any, transposed: tuple[str | None, ...], state: Tree, data: Tree, batch: Tree) -> Tree:
    """The products of one step; only the last is kept."""
    for (a, b), t in zip(data["factors"], transposed, strict=True):
        y = xp.matmul(xp.matrix_transpose(a) if t == "a" else a, xp.matrix_transpose(b) if t == "b" else b)
    return {"y": y}


def make(problem: Problem, backend: str | None = None) -> Products:
    """NumPy's, or a backend's."""
    return CapturedProducts(problem, backend) if backend else Products(problem)
