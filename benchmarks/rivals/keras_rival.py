"""Keras 3 on JAX: `compile` and `fit`, as its documentation shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "jax"
import jax
import keras

from benchmarks.workloads import Problem
from nnbackprop.nn.layers.base import Params


class Keras:
    """`fit` over the batches of a call, in their order, without progress bar or metrics."""

    def __init__(self, problem: Problem) -> None:
        self.problem, workload = problem, problem.workload
        jax.config.update("jax_enable_x64", workload.dtype == "float64")  # type: ignore[no-untyped-call]
        keras.config.set_floatx(workload.dtype)
        keras.config.set_dtype_policy(workload.dtype)
        self.net = keras.Sequential([keras.Input(problem.x.shape[1:]), *layers(problem)])
        dense = [layer for layer in self.net.layers if isinstance(layer, keras.layers.Dense)]
        for layer, first in zip(dense, problem.weights, strict=True):
            layer.set_weights([first["W"], first["b"]])
        adam: Any = keras.optimizers.Adam
        optimizer = (
            adam(workload.lr, epsilon=workload.epsilon) if workload.adam else keras.optimizers.SGD(workload.lr)
        )
        self.net.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def prepare(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(-1)

    def run(self, batches: np.ndarray) -> None:
        """One `fit`."""
        x, t = self.problem.x[batches], self.problem.t[batches]
        self.net.fit(x, t, batch_size=self.problem.batch, epochs=1, shuffle=False, verbose=0)

    def weights(self) -> Params:
        arrays = [np.array(w.value) for w in self.net.weights]
        W, b = ([a for a in arrays if a.ndim == n and a.dtype.kind == "f"] for n in (2, 1))
        return tuple({"W": each, "b": bias} for each, bias in zip(W, b, strict=True))


def layers(problem: Problem) -> Iterator[Any]:
    """The layers before the loss."""
    for k, layer in enumerate(problem.weights):
        if rate := problem.workload.dropout[k]:
            yield keras.layers.Dropout(rate)
        last = k == len(problem.weights) - 1
        yield keras.layers.Dense(layer["W"].shape[1], activation=None if last else "relu")


make = Keras
