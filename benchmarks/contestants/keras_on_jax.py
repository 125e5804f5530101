"""Keras 3 on JAX: `compile` and `fit`, as its documentation shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "jax"
import keras

from benchmarks.works import Problem
from nnbackprop.nn.layers.base import Params


class Keras:
    """`fit` over the batches of a call, in their order, without progress bar or metrics."""

    def __init__(self, problem: Problem, chunk: int) -> None:
        self.problem = problem
        sizes = problem.weights[0]["W"].shape[0]
        self.net = keras.Sequential([keras.Input((sizes,)), *_layers(problem)])
        dense = [layer for layer in self.net.layers if isinstance(layer, keras.layers.Dense)]
        for layer, first in zip(dense, problem.weights, strict=True):
            layer.set_weights([first["W"], first["b"]])
        kind: Any = keras.optimizers.SGD if problem.config.optimizer == "sgd" else keras.optimizers.Adam
        options = {} if problem.config.optimizer == "sgd" else {"epsilon": 1e-8}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.net.compile(optimizer=kind(learning_rate=problem.config.lr, **options), loss=loss)

    def run(self, at: int, steps: int) -> None:
        """One `fit`."""
        rows = self.problem.batches(at, steps).reshape(-1)
        x, t = self.problem.x[rows], self.problem.t[rows]
        self.net.fit(x, t, batch_size=self.problem.batch, epochs=1, shuffle=False, verbose=0)

    def weights(self) -> Params:
        """On the host."""
        flat = [np.array(w) for w in self.net.get_weights() if np.ndim(w)]
        flat = [w for w in flat if w.dtype.kind == "f"]
        return tuple({"W": W, "b": b} for W, b in zip(flat[::2], flat[1::2], strict=True))


def _layers(problem: Problem) -> Iterator[Any]:
    for k, layer in enumerate(problem.weights):
        if any(problem.config.dropout):
            yield keras.layers.Dropout(problem.config.dropout[k])
        last = k == len(problem.weights) - 1
        yield keras.layers.Dense(layer["W"].shape[1], activation=None if last else "relu")


make = Keras
