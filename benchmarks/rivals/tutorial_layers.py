"""Convolutional networks as tutorials write them: a class a layer, channels first, windows copied by loops.

`im2col`, `col2im` and pooling are those that most tutorials in plain NumPy share (such as "Deep learning from
scratch", Saito 2016, chapter 7): a copy for each place in the kernel, and not a Python loop over pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.rivals import channels_first
from benchmarks.rivals.tutorial import Tutorial
from benchmarks.workloads import Problem
from nnbackprop.nn import layers
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.layers.windows import pair


def im2col(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """The windows of x (n, channels, rows, columns) as rows, (n rows' columns', channels size size)."""
    n, channels, rows, columns = x.shape
    out_rows, out_columns = (rows - size) // stride + 1, (columns - size) // stride + 1
    col = np.zeros((n, channels, size, size, out_rows, out_columns), x.dtype)
    for i in range(size):
        for j in range(size):
            col[:, :, i, j] = x[:, :, i : i + stride * out_rows : stride, j : j + stride * out_columns : stride]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(n * out_rows * out_columns, -1)


def col2im(col: np.ndarray, shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """The transpose of `im2col`: every number added where it came from, x's `shape`."""
    n, channels, rows, columns = shape
    out_rows, out_columns = (rows - size) // stride + 1, (columns - size) // stride + 1
    col = col.reshape(n, out_rows, out_columns, channels, size, size).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros(shape, col.dtype)
    for i in range(size):
        for j in range(size):
            x[:, :, i : i + stride * out_rows : stride, j : j + stride * out_columns : stride] += col[:, :, i, j]
    return x


class Dense:
    def __init__(self, params: dict[str, np.ndarray]) -> None:
        self.params = params

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x @ self.params["W"] + self.params.get("b", 0)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        self.grads = {"W": self.x.T @ dy}
        if "b" in self.params:
            self.grads["b"] = dy.sum(axis=0)
        return dy @ self.params["W"].T


class Conv2D:
    def __init__(self, params: dict[str, np.ndarray], size: int) -> None:
        self.params, self.size = params, size

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = n, _, rows, columns = x.shape
        self.col = im2col(x, self.size, 1)
        y = self.col @ self.params["W"]
        return y.reshape(n, rows - self.size + 1, columns - self.size + 1, -1).transpose(0, 3, 1, 2)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dy = dy.transpose(0, 2, 3, 1).reshape(-1, dy.shape[1])
        self.grads = {"W": self.col.T @ dy}
        return col2im(dy @ self.params["W"].T, self.shape, self.size, 1)


class BatchNorm:
    def __init__(self, params: dict[str, np.ndarray], eps: float) -> None:
        self.params, self.eps = params, eps
        self.mean, self.var = np.zeros_like(params["gamma"]), np.ones_like(params["gamma"])

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Of images, over (n rows columns, channels)."""
        if x.ndim == 4:
            n, channels, rows, columns = x.shape
            y = self.forward(x.transpose(0, 2, 3, 1).reshape(-1, channels))
            return y.reshape(n, rows, columns, channels).transpose(0, 3, 1, 2)
        mean, var, n = x.mean(axis=0), x.var(axis=0), len(x)
        self.std = np.sqrt(var + self.eps)
        self.xh = (x - mean) / self.std
        self.mean = 0.9 * self.mean + 0.1 * mean
        self.var = 0.9 * self.var + 0.1 * var * n / (n - 1)
        return self.params["gamma"] * self.xh + self.params["beta"]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        if dy.ndim == 4:
            n, channels, rows, columns = dy.shape
            dx = self.backward(dy.transpose(0, 2, 3, 1).reshape(-1, channels))
            return dx.reshape(n, rows, columns, channels).transpose(0, 3, 1, 2)
        self.grads = {"gamma": (dy * self.xh).sum(axis=0), "beta": dy.sum(axis=0)}
        mean_dy, mean_dy_xh = self.grads["beta"] / len(dy), self.grads["gamma"] / len(dy)
        return self.params["gamma"] / self.std * (dy - mean_dy - self.xh * mean_dy_xh)


class MaxPool2D:
    def __init__(self, size: int) -> None:
        self.size = size

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = n, channels, rows, columns = x.shape
        col = im2col(x, self.size, self.size).reshape(-1, self.size**2)
        self.argmax = col.argmax(axis=1)
        y = col.max(axis=1).reshape(n, rows // self.size, columns // self.size, channels)
        return y.transpose(0, 3, 1, 2)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dy = dy.transpose(0, 2, 3, 1)
        col = np.zeros((dy.size, self.size**2), dy.dtype)
        col[np.arange(dy.size), self.argmax] = dy.reshape(-1)
        return col2im(col.reshape(dy.size // dy.shape[3], -1), self.shape, self.size, self.size)


class Flatten:
    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy.reshape(self.shape)


class ReLU:
    def forward(self, x: np.ndarray) -> np.ndarray:
        self.mask = x > 0
        return np.maximum(0, x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy * self.mask


class Dropout:
    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        self.rate, self.rng = rate, rng

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.mask = (self.rng.random(x.shape, dtype=x.dtype) >= self.rate) / x.dtype.type(1 - self.rate)
        return x * self.mask

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy * self.mask


class LayeredTutorial(Tutorial):
    """Layers in order and softmax, with the updates of `Tutorial`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.layers = [{**layer} for layer in channels_first.from_ours(problem, self.layers)]
        self.x = problem.x.transpose(0, 3, 1, 2).copy() if problem.x.ndim == 4 else problem.x
        params = iter(self.layers)
        self.network: list[Any] = []
        for layer in problem.workload.layers:
            match layer:
                case layers.Dense():
                    self.network.append(Dense(next(params)))
                case layers.Conv2D():
                    self.network.append(Conv2D(next(params), pair(layer.kernel_size, "kernel_size")[0]))
                case layers.BatchNorm():
                    self.network.append(BatchNorm(next(params), layer.eps))
                case layers.MaxPool2D():
                    self.network.append(MaxPool2D(pair(layer.pool_size, "pool_size")[0]))
                case layers.Flatten():
                    self.network.append(Flatten())
                case layers.Dropout():
                    self.network.append(Dropout(layer.rate, self.rng))
                case layers.ReLU():
                    self.network.append(ReLU())

    def gradients(self, x: np.ndarray, t: np.ndarray) -> list[dict[str, Any]]:
        """Forward, then backward."""
        for layer in self.network:
            x = layer.forward(x)
        e = np.exp(x - x.max(axis=1, keepdims=True))
        dy = e / e.sum(axis=1, keepdims=True)
        dy[np.arange(len(t)), t] -= 1
        dy /= len(t)
        for layer in reversed(self.network):
            dy = layer.backward(dy)
        return [layer.grads for layer in self.network if hasattr(layer, "grads")]

    def weights(self) -> Params:
        return tuple(channels_first.to_ours(self.problem, super().weights()))
