"""Another small network of images in plain NumPy, of layers that `network.py` does not have; see `mistakes.toml`.

x (n, 14, 14, 1): convolution of stride 2, leaky ReLU, dropout of channels; convolution of stride 2, leaky ReLU,
global average pooling; softmax. Parameters are a dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.layer_mistakes.network import Array, Params, conv_backward, conv_forward

Rng = np.random.Generator

SLOPE = 0.1  # of leaky ReLU, below 0
KEEP = 0.75  # of the channels


def channel_mask(x: Array, rng: Rng | None) -> Array:
    """(n, 1, 1, c), a number for each sample and channel of x; ones in evaluation, where `rng` is None."""
    shape = (x.shape[0], 1, 1, x.shape[3])
    return np.ones(shape) if rng is None else (rng.random(shape) < KEEP) / KEEP


def leaky_relu_backward(dy: Array, x: Array) -> Array:
    """dx."""
    return dy * np.where(x > 0, 1, SLOPE)


def global_pool_backward(dy: Array, shape: Any) -> Array:
    """dx of `shape`."""
    _, rows, columns, _ = shape
    dplace = dy / (rows * columns)
    return np.broadcast_to(dplace[:, None, None], shape)


def forward(p: Params, x: Array, rng: Rng | None) -> dict[str, Array]:
    """Every array on the way, by name."""
    z1, cols1 = conv_forward(x, p["W1"], stride=2, pad=2)
    z1 = z1 + p["b1"]
    a1 = np.maximum(z1, SLOPE * z1)
    mask = channel_mask(a1, rng)
    d1 = mask * a1
    z2, cols2 = conv_forward(d1, p["W2"], stride=2, pad=2)
    z2 = z2 + p["b2"]
    g = np.maximum(z2, SLOPE * z2).mean(axis=(1, 2))
    y = g @ p["V"] + p["c"]
    e = np.exp(y - y.max(axis=1, keepdims=True))
    names = ["z1", "cols1", "mask", "d1", "z2", "cols2", "g", "P"]
    values = (z1, cols1, mask, d1, z2, cols2, g, e / e.sum(axis=1, keepdims=True))
    return dict(zip(names, values, strict=True))


def gradients(p: Params, x: Array, T: Array, rng: Rng | None) -> Params:
    """Of the mean cross-entropy of one-hot targets T."""
    v = forward(p, x, rng)
    dy = (v["P"] - T) / len(x)
    da2 = global_pool_backward(dy @ p["V"].T, v["z2"].shape)
    dz2 = leaky_relu_backward(da2, v["z2"])
    dd1, dW2, db2 = conv_backward(dz2, v["cols2"], v["d1"].shape, p["W2"], stride=2, pad=2)
    da1 = v["mask"] * dd1
    dz1 = leaky_relu_backward(da1, v["z1"])
    _, dW1, db1 = conv_backward(dz1, v["cols1"], x.shape, p["W1"], stride=2, pad=2)
    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "V": v["g"].T @ dy, "c": dy.sum(axis=0)}


def state() -> Rng:
    """What masks are drawn from: the same ones after each call."""
    return np.random.default_rng(0)


def initial(seed: int) -> Params:
    """Weights of deviation sqrt(2 / inputs), biases of 0."""
    rng = np.random.default_rng(seed)
    shapes = {"W1": (5, 5, 1, 8), "W2": (5, 5, 8, 16), "V": (16, 10)}
    W1, W2, V = (rng.normal(size=s) * (2 / np.prod(s[:-1])) ** 0.5 for s in shapes.values())
    return {"W1": W1, "b1": np.zeros(8), "W2": W2, "b2": np.zeros(16), "V": V, "c": np.zeros(10)}
