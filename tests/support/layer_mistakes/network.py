"""A small network of images in plain NumPy, as people write it; `mistakes.toml` has other lines for some of these.

x (n, 14, 14, 1): convolution, batch normalization, ReLU, maximum pooling; convolution of stride 2, PReLU, average
pooling; maxout, a residual, softmax. Parameters are a dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray
Params = dict[str, Array]
EPS = 1e-5
ALL = (0, 1, 2)  # samples, rows, columns


def windows(x: Array, k: int, stride: int) -> Array:
    """The windows of k x k of x (n, rows, columns, c): (n, rows', columns', k, k, c)."""
    views = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
    return views[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def conv_forward(x: Array, W: Array, stride: int, pad: int) -> tuple[Array, Array]:
    """z (n, rows', columns', f) of W (k, k, c, f), and the windows as rows."""
    patches = windows(np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))), len(W), stride)
    cols = patches.reshape(-1, W[..., 0].size)
    z = cols @ W.reshape(-1, W.shape[3])
    return z.reshape(*patches.shape[:3], -1), cols


def conv_backward(
    dz: Array, cols: Array, shape: Any, W: Array, stride: int, pad: int
) -> tuple[Array, Array, Array]:
    """dx of `shape`, dW and db."""
    (n, H, S, c), (k, _, _, f), (_, R, C, _) = shape, W.shape, dz.shape
    dW = (cols.T @ dz.reshape(-1, f)).reshape(W.shape)
    db = dz.sum(axis=(0, 1, 2))
    H, S = H + 2 * pad, S + 2 * pad
    e = np.zeros((n, H + k - 1, S + k - 1, f))
    e[:, k - 1 : k - 1 + stride * R : stride, k - 1 : k - 1 + stride * C : stride] = dz
    turned = W[::-1, ::-1].transpose(0, 1, 3, 2)
    dx = (windows(e, k, 1).reshape(-1, k * k * f) @ turned.reshape(-1, c)).reshape(n, H, S, c)
    dx = dx[:, pad : H - pad, pad : S - pad]
    return dx, dW, db


def batchnorm_forward(x: Array, p: Params, running: Params) -> tuple[Array, Array, Array]:
    """y, h and the standard deviation of each channel; `running` is moved towards the batch's statistics."""
    mean, var = x.mean(axis=ALL), x.var(axis=ALL)
    running["mean"], running["var"] = 0.9 * running["mean"] + 0.1 * mean, 0.9 * running["var"] + 0.1 * var
    std = np.sqrt(var + EPS)
    h = (x - mean) / std
    return p["gamma"] * h + p["beta"], h, std


def batchnorm_backward(dy: Array, x: Array, h: Array, std: Array, p: Params) -> tuple[Array, Array, Array]:
    """dx, dgamma and dbeta."""
    dgamma = (dy * h).sum(axis=ALL)
    dbeta = dy.sum(axis=ALL)
    dh = dy * p["gamma"]
    dx = (dh - dh.mean(axis=ALL) - h * (dh * h).mean(axis=ALL)) / std
    return dx, dgamma, dbeta


def as_image(parts: Array, k: int) -> Array:
    """Parts (n, rows', columns', k k, c) of windows that do not overlap, as an image."""
    n, R, C, _, c = parts.shape
    return parts.reshape(n, R, C, k, k, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, R * k, C * k, c)


def maxpool_backward(dy: Array, x: Array, k: int) -> Array:
    """dx."""
    n, R, C, c = dy.shape
    patches = windows(x, k, k).reshape(n, R, C, k * k, c)
    chosen = np.arange(k * k)[:, None] == patches.argmax(axis=3)[:, :, :, None]
    return as_image(chosen * dy[:, :, :, None], k)


def averagepool_backward(dy: Array, k: int) -> Array:
    """dx."""
    parts = np.repeat(dy[:, :, :, None], k * k, axis=3)
    dparts = parts / (k * k)
    return as_image(dparts, k)


def forward(p: Params, x: Array, running: Params) -> dict[str, Array]:
    """Every array on the way, by name."""
    z1, cols1 = conv_forward(x, p["W1"], stride=1, pad=1)
    y1, h, std = batchnorm_forward(z1, p, running)
    a1 = np.maximum(y1, 0)
    m1 = windows(a1, 2, 2).max(axis=(3, 4))
    z2, cols2 = conv_forward(m1, p["W2"], stride=2, pad=1)
    z2 = z2 + p["b2"]
    a2 = np.maximum(z2, 0) + p["a"] * np.minimum(z2, 0)
    m2 = windows(a2, 2, 2).mean(axis=(3, 4)).reshape(len(x), -1)
    pieces = (m2 @ p["M"]).reshape(len(x), 2, -1)
    o = pieces.max(axis=1)
    zr = o @ p["A"]
    r = o + np.maximum(zr, 0)
    y = r @ p["V"] + p["c"]
    e = np.exp(y - y.max(axis=1, keepdims=True))
    names = ["z1", "cols1", "y1", "h", "std", "a1", "m1", "z2", "cols2", "a2", "m2", "pieces", "o", "zr", "r", "P"]
    values = (z1, cols1, y1, h, std, a1, m1, z2, cols2, a2, m2, pieces, o, zr, r, e / e.sum(axis=1, keepdims=True))
    return dict(zip(names, values, strict=True))


def gradients(p: Params, x: Array, T: Array, running: Params) -> Params:
    """Of the mean cross-entropy of one-hot targets T."""
    v = forward(p, x, running)
    dy = (v["P"] - T) / len(x)
    dr = dy @ p["V"].T
    dzr = dr * (v["zr"] > 0)
    do = dr + dzr @ p["A"].T
    winner = np.arange(2)[:, None] == v["pieces"].argmax(axis=1)[:, None]
    dpieces = (winner * do[:, None]).reshape(len(x), -1)
    dm2 = (dpieces @ p["M"].T).reshape(len(x), 2, 2, -1)
    da2 = averagepool_backward(dm2, 2)
    da = (da2 * np.minimum(v["z2"], 0)).sum(axis=ALL)
    dz2 = da2 * np.where(v["z2"] > 0, 1, p["a"])
    dm1, dW2, db2 = conv_backward(dz2, v["cols2"], v["m1"].shape, p["W2"], stride=2, pad=1)
    dy1 = maxpool_backward(dm1, v["a1"], 2) * (v["y1"] > 0)
    dz1, dgamma, dbeta = batchnorm_backward(dy1, v["z1"], v["h"], v["std"], p)
    _, dW1, _ = conv_backward(dz1, v["cols1"], x.shape, p["W1"], stride=1, pad=1)
    grads = {"W1": dW1, "gamma": dgamma, "beta": dbeta, "W2": dW2, "b2": db2, "a": da}
    return {**grads, "M": v["m2"].T @ dpieces, "A": v["o"].T @ dzr, "V": v["r"].T @ dy, "c": dy.sum(axis=0)}


def state() -> Params:
    """Running statistics as they begin."""
    return {"mean": np.zeros(4), "var": np.ones(4)}


def initial(seed: int) -> Params:
    """Weights of deviation sqrt(2 / inputs), and values of the other parameters as training finds them."""
    rng = np.random.default_rng(seed)
    shapes = {"W1": (3, 3, 1, 4), "W2": (3, 3, 4, 6), "M": (24, 16), "A": (8, 8), "V": (8, 10)}
    weights = {name: rng.normal(size=s) * (2 / np.prod(s[:-1])) ** 0.5 for name, s in shapes.items()}
    others = {
        "gamma": np.ones(4),
        "beta": np.full(4, 0.1),
        "b2": np.zeros(6),
        "a": np.full(6, 0.25),
        "c": np.zeros(10),
    }
    order = ("W1", "gamma", "beta", "W2", "b2", "a", "M", "A", "V", "c")
    return {name: {**weights, **others}[name] for name in order}
