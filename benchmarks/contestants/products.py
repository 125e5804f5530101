"""The floor: the matrix products of a step and nothing else, into arrays that are there already."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from benchmarks.works import Problem
from nnbackprop.nn.layers.base import Params


class Products:
    """Forward x W, backward x^T dz for each layer and dz W^T for all but the first."""

    def __init__(self, problem: Problem, chunk: int) -> None:
        self.W = [np.array(layer["W"]) for layer in problem.weights]
        n = problem.batch
        widths = [self.W[0].shape[0], *(W.shape[1] for W in self.W)]
        dtype = problem.config.params_dtype
        self.x = [np.random.default_rng(0).random((n, width)).astype(dtype) for width in widths]
        self.dz = [np.empty_like(x) for x in self.x]
        self.dW = [np.empty_like(W) for W in self.W]
        self.y = [np.empty((n, k), dtype) for _, k in pairwise(widths)]

    def run(self, at: int, steps: int) -> None:
        """As many times."""
        for _ in range(steps):
            for x, W, y in zip(self.x, self.W, self.y, strict=False):
                np.matmul(x, W, out=y)
            for i in reversed(range(len(self.W))):
                # a column by a row, of a single sample, is quicker without BLAS
                outer = np.multiply if len(self.x[i]) == 1 else np.matmul
                outer(self.x[i].T, self.x[i + 1], out=self.dW[i])
                if i:
                    np.matmul(self.x[i + 1], self.W[i].T, out=self.dz[i])

    def weights(self) -> Params:
        """The first ones: it does not train."""
        return tuple({"W": W} for W in self.W)


make = Products
