"""Thinc: `begin_update`, the backward it returns, `finish_update`; as its tutorial shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from thinc import layers
from thinc.api import chain
from thinc.optimizers import Optimizer

from benchmarks.works import Problem
from nnbackprop.nn.layers.base import Params


class Thinc:
    """`Relu` layers, dropout of its own after them, and `Softmax_v2`."""

    def __init__(self, problem: Problem, chunk: int) -> None:
        self.problem = problem
        config, last = problem.config, len(problem.weights) - 1
        self.dense: list[Any] = []
        parts: list[Any] = []
        for k, layer in enumerate(problem.weights):
            nI, nO = layer["W"].shape
            if any(config.dropout):
                parts.append(layers.Dropout(config.dropout[k]))
            self.dense.append(layers.Softmax_v2(nO, nI) if k == last else layers.Relu(nO, nI))
            parts.append(self.dense[-1])
        self.net: Any = chain(*parts)
        self.net.initialize(X=problem.x[:2], Y=np.eye(10, dtype="float32")[:2])
        for node, layer in zip(self.dense, problem.weights, strict=True):
            node.set_param("W", np.ascontiguousarray(layer["W"].T))
            node.set_param("b", np.array(layer["b"]))
        adam = config.optimizer == "adam"
        self.optimizer = Optimizer(
            config.lr, L2=0.0, grad_clip=0.0, beta1=0.9 if adam else 0.0, beta2=0.999 if adam else 0.0, eps=1e-8
        )
        self.targets = np.eye(10, dtype="float32")[problem.t]

    def run(self, at: int, steps: int) -> None:
        """A batch after the other."""
        for rows in self.problem.batches(at, steps):
            y, backward = self.net.begin_update(self.problem.x[rows])
            backward((y - self.targets[rows]) / len(rows))
            self.net.finish_update(self.optimizer)

    def weights(self) -> Params:
        """Transposed, as Thinc keeps (out, in)."""
        return tuple({"W": node.get_param("W").T.copy(), "b": node.get_param("b").copy()} for node in self.dense)


make = Thinc
