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
from nnbackprop.nn import layers
from nnbackprop.nn.layers.base import Params

FLOAT32_TOLERANCE = 1e-4
"""Keras's BatchNormalization computes in float32, whatever its dtype (Keras 3.15).

Only the first step is checked then: in float32, trainings part at the first ReLU's kink.
"""


class Keras:
    """`fit` over the batches of a call, in their order, without progress bar or metrics."""

    def __init__(self, problem: Problem) -> None:
        self.problem, workload = problem, problem.workload
        if any(isinstance(layer, layers.BatchNorm) for layer in workload.layers):
            self.tolerance, self.check_steps = FLOAT32_TOLERANCE, 1
        jax.config.update("jax_enable_x64", workload.dtype == "float64")  # type: ignore[no-untyped-call]
        keras.config.set_floatx(workload.dtype)
        keras.config.set_dtype_policy(workload.dtype)
        self.net = keras.Sequential([keras.Input(problem.x.shape[1:]), *their_layers(problem)])
        self.trained = [layer for layer in self.net.layers if layer.trainable_weights]
        for layer, first in zip(self.trained, problem.weights, strict=True):
            for variable, a in zip(layer.trainable_weights, first.values(), strict=True):
                variable.assign(a.reshape(variable.shape))
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
        found = []
        for layer, first in zip(self.trained, self.problem.weights, strict=True):
            pairs = zip(first.items(), layer.trainable_weights, strict=True)
            found.append({name: np.array(v.value).reshape(a.shape) for (name, a), v in pairs})
        return found


def their_layers(problem: Problem) -> Iterator[Any]:
    """Keras's layers for those of the network before the loss."""
    for layer in problem.workload.layers:
        match layer:
            case layers.Dense():
                yield keras.layers.Dense(layer.units, use_bias=layer.bias)
            case layers.Conv2D():
                yield keras.layers.Conv2D(layer.filters, layer.kernel_size, use_bias=layer.bias)
            case layers.BatchNorm():
                yield keras.layers.BatchNormalization(momentum=1 - layer.momentum, epsilon=layer.eps)
            case layers.MaxPool2D():
                yield keras.layers.MaxPooling2D(layer.pool_size)
            case layers.Flatten():
                yield keras.layers.Flatten()
            case layers.Dropout():
                yield keras.layers.Dropout(layer.rate)
            case layers.ReLU():
                yield keras.layers.ReLU()


make = Keras
