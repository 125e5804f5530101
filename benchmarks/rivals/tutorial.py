"""The network as a good tutorial writes it: plain NumPy, readable, nothing preallocated, nothing fused."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads import Problem
from nnbackprop.nn.layers import BatchNorm, Conv2D, Dense
from nnbackprop.nn.layers.base import Params


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z)."""
    return 1 / (1 + np.exp(-z))


class Tutorial:
    """Dense layers with ReLU and softmax, or with sigmoids and half the squared error."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.workload = problem, problem.workload
        self.dropout = rates(problem)
        self.x = problem.x
        self.layers = [{name: np.array(w) for name, w in layer.items()} for layer in problem.weights]
        self.m = [{name: np.zeros_like(w) for name, w in layer.items()} for layer in self.layers]
        self.v = [{name: np.zeros_like(w) for name, w in layer.items()} for layer in self.layers]
        self.rng = np.random.default_rng(0)
        self.steps = 0

    def prepare(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def run(self, batches: np.ndarray) -> None:
        for rows in batches:
            grads = self.gradients(self.x[rows], self.problem.t[rows])
            self.steps += 1
            for k, layer in enumerate(self.layers):
                for name in layer:
                    self.update(k, name, grads[k][name])

    def gradients(self, x: np.ndarray, t: np.ndarray) -> list[dict[str, Any]]:
        """Forward, then backward."""
        squared, last = self.workload.targets is not None, len(self.layers) - 1
        inputs, masks, outputs = [], [], []
        for k, layer in enumerate(self.layers):
            p = self.dropout[k]
            mask = (self.rng.random(x.shape, dtype=x.dtype) >= p) / x.dtype.type(1 - p) if p else None
            x = x if mask is None else x * mask
            masks.append(mask)
            inputs.append(x)
            z = x @ layer["W"] + layer.get("b", 0)
            if k < last or squared:
                z = sigmoid(z) if squared else np.maximum(0, z)
            outputs.append(z)
            x = z
        n = len(x)
        if squared:
            dz = (x - t) * x * (1 - x) / x.dtype.type(n)
        else:
            e = np.exp(x - x.max(axis=1, keepdims=True))
            dz = e / e.sum(axis=1, keepdims=True)
            dz[np.arange(n), t] -= 1
            dz /= n
        grads: list[dict[str, Any]] = [{} for _ in self.layers]
        for k in range(last, -1, -1):
            W, l2 = self.layers[k]["W"], self.workload.l2
            grads[k] = {"W": inputs[k].T @ dz + (l2 * W if l2 else 0)}
            if "b" in self.layers[k]:
                grads[k]["b"] = dz.sum(axis=0)
            if k:
                dx = dz @ W.T
                if masks[k] is not None:
                    dx = dx * masks[k]
                y = outputs[k - 1]
                dz = dx * y * (1 - y) if squared else dx * (y > 0)
        return grads

    def update(self, k: int, name: str, dw: np.ndarray) -> None:
        """SGD or Adam."""
        lr = self.workload.lr
        if not self.workload.adam:
            self.layers[k][name] -= lr * dw
            return
        m = self.m[k][name] = 0.9 * self.m[k][name] + 0.1 * dw
        v = self.v[k][name] = 0.999 * self.v[k][name] + 0.001 * dw**2
        m_hat = m / (1 - 0.9**self.steps)
        v_hat = v / (1 - 0.999**self.steps)
        self.layers[k][name] -= lr * m_hat / (np.sqrt(v_hat) + self.workload.epsilon)

    def weights(self) -> Params:
        return tuple({name: np.array(w) for name, w in layer.items()} for layer in self.layers)


def rates(problem: Problem) -> list[float]:
    """The dropout rate before each dense layer."""
    layers = problem.workload.layers
    pairs = zip((None, *layers), layers, strict=False)
    return [getattr(before, "rate", 0.0) for before, layer in pairs if isinstance(layer, Dense)]


def make(problem: Problem) -> Tutorial:
    """Of a network of other layers than these too, by a class for each kind."""
    if any(isinstance(layer, BatchNorm | Conv2D) for layer in problem.workload.layers):
        from benchmarks.rivals.tutorial_layers import LayeredTutorial

        return LayeredTutorial(problem)
    return Tutorial(problem)
