"""The worked examples of docs/derivation-layers.md: small numbers through the package's own layers, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import select
from nnbackprop.nn.layers import (
    ELU,
    GELU,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    LayerNorm,
    LeakyReLU,
    Maxout,
    MaxPool2D,
    PReLU,
    ReLU,
    SiLU,
    Softplus,
    SpatialDropout2D,
)
from nnbackprop.nn.layers.windows import windows
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Residual

XP = select("numpy").xp
TRAINING = RngKey(0, np.array(0, np.int32))
Numbers = Mapping[str, Any]
"""Arrays and numbers by their letters, as they are printed."""


@dataclass(frozen=True)
class Pass:
    """y, the layer's cache, and the gradients dx and those of the parameters."""

    y: np.ndarray
    cache: Any
    dx: np.ndarray
    grads: Any


def through(layer: Any, params: Any, x: Any, dy: Any, key: RngKey = TRAINING) -> Pass:
    """A training step's pass forward and back."""
    x, dy = np.array(x, float), np.array(dy, float)
    y, cache = layer.forward(XP, params, x, key)
    dx, grads = layer.backward(XP, params, cache, dy, True)
    return Pass(y, cache, dx, grads)


def image(a: Any) -> np.ndarray:
    """One image of one channel, (1, rows, columns, 1)."""
    return np.array(a, float)[None, :, :, None]


def flat(a: np.ndarray) -> np.ndarray:
    """Rows and columns of an image of one channel."""
    return a[0, :, :, 0]


# Numbers in TeX.


def number(x: float) -> str:
    """Up to four places behind the point, no zeros at their end."""
    text = f"{x:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def tex(value: Any) -> str:
    """A number, a row, or a matrix."""
    a = np.asarray(value, float)
    if a.ndim == 0:
        return number(float(a))
    lines = " \\\\ ".join(" & ".join(number(x) for x in row) for row in np.atleast_2d(a).tolist())
    return f"\\begin{{pmatrix}} {lines} \\end{{pmatrix}}"


def fence(numbers: Numbers) -> str:
    """A line of mathematics: each letter with its numbers."""
    return "```math\n" + ", \\qquad ".join(f"{name} = {tex(a)}" for name, a in numbers.items()) + "\n```"


def product_sum(
    name: str, terms: list[tuple[str, str, float, float]], value: float, more: Numbers | None = None
) -> str:
    """name = a b + ... in letters, below in numbers, and its value; `more` is added, letter and number."""
    more = more or {}
    letters = [f"{a} \\, {b}" for a, b, *_ in terms] + list(more)
    numbers = [f"{signed(x)} \\cdot {signed(y)}" for *_, x, y in terms] + [signed(x) for x in more.values()]
    lines = [f"&= {line}" for part in (letters, numbers) for line in wrapped(part)]
    body = " \\\\\n".join(lines).replace("&= +", "&\\quad +")
    return f"```math\n\\begin{{aligned}}\n{name} {body} = {number(value)}\n\\end{{aligned}}\n```"


def wrapped(terms: list[str]) -> list[str]:
    """The terms of a sum in lines of five; all but the first line begin with a plus."""
    lines = [" + ".join(terms[i : i + 5]) for i in range(0, len(terms), 5)]
    return [lines[0], *(f"+ {line}" for line in lines[1:])]


def signed(x: float) -> str:
    """A number within a sum: a negative one in parentheses."""
    return f"({number(x)})" if x < 0 else number(x)


# Convolution.

X = np.array([[1, 2, 0, 1], [0, 1, 3, 1], [2, 0, 1, 0], [1, 1, 0, 2]], float)
KERNEL = np.array([[1, 0, -1], [2, 1, 0], [0, -1, 1]], float)
BIAS = 1.0
DZ = np.array([[1, 2], [3, -1]], float)


def convolution(layer: Conv2D) -> Pass:
    """Of the image X by KERNEL, with DZ arriving."""
    return through(layer, {"W": KERNEL.reshape(9, 1), "b": np.array([BIAS])}, image(X), image(DZ))


def conv() -> str:
    """No padding, stride 1: the windows, z, dw, db, and dx by the turned kernel."""
    found = convolution(Conv2D(1, 3))
    z, dw, dx = flat(found.y), found.grads["W"].reshape(3, 3), flat(found.dx)
    columns = np.stack([part.reshape(-1) for part in windows(image(X), (3, 3), (1, 1))], axis=1)
    of_z = [(f"x_{{{i}{j}}}", f"w_{{{i}{j}}}", X[i, j], KERNEL[i, j]) for i in range(3) for j in range(3)]
    of_dw = [(f"x_{{{r}{s + 1}}}", f"dz_{{{r}{s}}}", X[r, s + 1], DZ[r, s]) for r in (0, 1) for s in (0, 1)]
    return "\n\n".join(
        (
            fence({"x": X, "w": KERNEL, "b": BIAS}),
            fence({"C": columns, "z": z}),
            product_sum("z_{00}", of_z, z[0, 0], {"b": BIAS}),
            fence({"dz": DZ, "dw": dw, "db": found.grads["b"][0]}),
            product_sum("dw_{01}", of_dw, dw[0, 1]),
            fence({"e": np.pad(DZ, 2), "w'": KERNEL[::-1, ::-1]}),
            fence({"dx": dx}),
            product_sum("dx_{11}", terms_of_dx(1, 1, 1, 0), dx[1, 1]),
        )
    )


def conv_stride() -> str:
    """Stride 2, one line of zeros around: z, dw, dz spread and padded, dx."""
    found = convolution(Conv2D(1, 3, stride=2, padding=1))
    spread = np.zeros((6, 6))
    spread[1:4:2, 1:4:2] = DZ  # 3 - 1 - 1 lines of zeros before; after, as many as make 4 + 3 - 1
    return "\n\n".join(
        (
            fence({"z": flat(found.y), "dw": found.grads["W"].reshape(3, 3), "db": found.grads["b"][0]}),
            fence({"e": spread, "dx": flat(found.dx)}),
            product_sum("dx_{11}", terms_of_dx(1, 1, 2, 1), flat(found.dx)[1, 1]),
            product_sum("dx_{12}", terms_of_dx(1, 2, 2, 1), flat(found.dx)[1, 2]),
        )
    )


def terms_of_dx(u: int, v: int, stride: int, padding: int) -> list[tuple[str, str, float, float]]:
    """dz_rs w_ij of every window (r, s) in which the pixel (u, v) is at (i, j)."""
    places = [(r, s, u + padding - stride * r, v + padding - stride * s) for r in (0, 1) for s in (0, 1)]
    return [
        (f"dz_{{{r}{s}}}", f"w_{{{i}{j}}}", DZ[r, s], KERNEL[i, j])
        for r, s, i, j in places
        if 0 <= i < 3 and 0 <= j < 3
    ]


# Pooling.

POOLED = np.array([[1, 3, 2, 0], [3, 0, 1, 5], [4, 4, 0, 1], [2, 4, 6, 2]], float)


def max_pool() -> str:
    """Windows of 2 x 2 with two ties; then windows that overlap."""
    dy, small = [[1, 2], [3, 4]], [[1, 2, 0], [0, 5, 1], [3, 0, 2]]
    apart = through(MaxPool2D(2), {}, image(POOLED), image(dy))
    overlapping = through(MaxPool2D(2, stride=1), {}, image(small), image(dy))
    return "\n\n".join(
        (
            fence({"x": POOLED, "y": flat(apart.y)}),
            fence({"dy": dy, "dx": flat(apart.dx)}),
            fence({"x": small, "y": flat(overlapping.y), "dx": flat(overlapping.dx)}),
        )
    )


def average_pool() -> str:
    """The same image by means of 2 x 2, and of all of it."""
    dy, whole = [[4, 8], [12, -4]], 16.0
    found = through(AveragePool2D(2), {}, image(POOLED), image(dy))
    of_all = through(GlobalAveragePool2D(), {}, image(POOLED), [[whole]])
    return "\n\n".join(
        (
            fence({"y": flat(found.y), "dy": dy, "dx": flat(found.dx)}),
            fence({"y": of_all.y[0, 0], "dy": whole, "dx": flat(of_all.dx)}),
        )
    )


# Normalization.

EPS = 0.25


def batch_norm() -> str:
    """Three samples of two features; and the running statistics after the step."""
    x, dy = [[1, 2], [4, 5], [4, 2]], [[3, 0], [0, 3], [0, -3]]
    layer = BatchNorm(momentum=0.1, eps=EPS)
    params = normalization_params(gamma=[3, 1.5], beta=[1, 0])
    found = through(layer, params, x, dy)
    xh, inv, (mean, _) = found.cache
    running = layer.new_buffers(XP, params, found.cache)
    return "\n\n".join(
        (
            fence({"X": x, "\\gamma": params["gamma"], "\\beta": params["beta"], "\\varepsilon": EPS}),
            fence({"m": mean, "v": variance(inv), "\\hat{X}": xh}),
            fence({"Y": found.y, "dY": dy}),
            fence({"d\\gamma": found.grads["gamma"], "d\\beta": found.grads["beta"], "dX": found.dx}),
            fence({"\\bar{m}": running["mean"], "\\bar{v}": running["var"]}),
        )
    )


def batch_norm_channels() -> str:
    """Two images of one row, two columns and two channels: four places, a row each."""
    x, dy = [[0, 1], [2, 7], [2, 7], [4, 5]], [[4, 0], [0, 4], [0, 0], [0, 8]]
    params = normalization_params(gamma=[1.5, 2.5], beta=[0, 1])
    found = through(BatchNorm(eps=EPS), params, np.reshape(x, (2, 1, 2, 2)), np.reshape(dy, (2, 1, 2, 2)))
    xh, inv, (mean, _) = found.cache
    y, dx = (a.reshape(4, 2) for a in (found.y, found.dx))
    return "\n\n".join(
        (
            fence({"X": x, "\\gamma": params["gamma"], "\\beta": params["beta"], "\\varepsilon": EPS}),
            fence({"m": mean, "v": variance(inv), "\\hat{X}": xh}),
            fence({"Y": y, "dY": dy}),
            fence({"d\\gamma": found.grads["gamma"], "d\\beta": found.grads["beta"], "dX": dx}),
        )
    )


def layer_norm() -> str:
    """Two samples of three features."""
    x, dy = [[1, 4, 4], [2, 5, 2]], [[3, 0, 0], [0, 0, 6]]
    params = {"gamma": np.array([1.5, 3, 1.5]), "beta": np.array([0, 1, 0.0])}
    found = through(LayerNorm(EPS), params, x, dy)
    xh, inv = found.cache
    return "\n\n".join(
        (
            fence({"X": x, "\\gamma": params["gamma"], "\\beta": params["beta"], "\\varepsilon": EPS}),
            fence({"m": np.mean(x, axis=1)[:, None], "v": variance(inv), "\\hat{X}": xh}),
            fence({"Y": found.y, "dY": dy}),
            fence({"d\\gamma": found.grads["gamma"], "d\\beta": found.grads["beta"], "dX": found.dx}),
        )
    )


def normalization_params(gamma: list[float], beta: list[float]) -> dict[str, np.ndarray]:
    """With running statistics as they begin."""
    k = len(gamma)
    return {"gamma": np.array(gamma), "beta": np.array(beta, float), "mean": np.zeros(k), "var": np.ones(k)}


def variance(inv: np.ndarray) -> np.ndarray:
    """v of 1 / sqrt(v + eps)."""
    return 1 / inv**2 - EPS


# Layers that learn their shape, and the residual.


def maxout() -> str:
    """One sample, two units of two pieces, and a tie in the first."""
    x, dy = [[1, 2]], [[2, 5]]
    params = {"W": np.array([[1, 0, 2, 3], [1, -1, 0, 0]], float), "b": np.array([0, 1, 1, 0.0])}
    found = through(Maxout(2, 2), params, x, dy)
    _, z, y = found.cache
    return "\n\n".join(
        (
            fence({"x": x, "W": params["W"], "b": params["b"]}),
            fence({"z": z, "y": y}),
            fence({"dy": dy, "dz": found.grads["b"]}),
            fence({"dW": found.grads["W"], "dx": found.dx}),
        )
    )


def leaky_relu() -> str:
    """One sample, slope 0.1."""
    x, dy = [[-2, 0, 3]], [[1, 2, 3]]
    found = through(LeakyReLU(0.1), {}, x, dy)
    return fence({"x": x, "a": 0.1, "y": found.y}) + "\n\n" + fence({"dy": dy, "dx": found.dx})


def prelu() -> str:
    """Two samples of two features, each with its slope."""
    x, dy = [[-2, 1], [4, -3]], [[1, 2], [3, 4]]
    params = {"a": np.array([0.25, 0.5])}
    found = through(PReLU(), params, x, dy)
    return "\n\n".join(
        (
            fence({"X": x, "a": params["a"], "Y": found.y}),
            fence({"dY": dy, "da": found.grads["a"], "dX": found.dx}),
        )
    )


def residual() -> str:
    """x + relu(x W + b) of one sample, whose second unit is shut."""
    x, dy = np.array([[1, 2.0]]), [[3, 4]]
    block, dense = Residual(Dense(2), ReLU()), {"W": np.array([[1, -1], [0, 2.0]]), "b": np.array([0, -4.0])}
    found = through(block, (dense, {}), x, dy)
    return "\n\n".join(
        (
            fence({"x": x, "W": dense["W"], "b": dense["b"]}),
            fence({"f(x)": found.y - x, "y": found.y}),
            fence({"dy": dy, "dW": found.grads[0]["W"], "db": found.grads[0]["b"], "dx": found.dx}),
        )
    )


def smooth() -> str:
    """One sample through ELU, softplus, SiLU and GELU."""
    x, dy = [[-2, 0, 1]], [[1, 2, 3]]
    found = {name: through(layer, {}, x, dy) for name, layer in SMOOTH.items()}
    passes = [fence({f"y_\\text{{{name}}}": p.y, f"dx_\\text{{{name}}}": p.dx}) for name, p in found.items()]
    return "\n\n".join((fence({"x": x, "dy": dy}), *passes))


SMOOTH = {"ELU": ELU(), "softplus": Softplus(), "SiLU": SiLU(), "GELU": GELU()}


# Dropout of channels, and Flatten.


def channel_dropout() -> str:
    """Two images of one row, two columns and three channels: four places, a row each."""
    q, shape = 0.5, (2, 1, 2, 3)
    x, dy = [[1, 2, 3], [2, 1, 4], [5, 3, 1], [4, 3, 2]], [[3, 1, -1], [1, 2, 1], [2, -1, 4], [1, 3, 2]]
    key = RngKey(2, TRAINING.step)  # whose mask has three numbers of 0
    found = through(SpatialDropout2D(q), {}, np.reshape(x, shape), np.reshape(dy, shape), key)
    y, dx = (a.reshape(4, 3) for a in (found.y, found.dx))
    return "\n\n".join(
        (
            fence({"X": x, "q": q, "m": found.cache.reshape(2, 3)}),
            fence({"Y": y, "dY": dy, "dX": dx}),
        )
    )


def flatten() -> str:
    """One image of 2 x 2 pixels and two channels, and a unit behind it; then channels first."""
    x, w, dz = np.array([[[1, 5], [2, 6]], [[3, 7], [4, 8.0]]]), np.array([2, 0, 1, -1, 0, 1, -2, 1.0]), 2.0
    found = through(Flatten(), {}, x[None], dz * w[None])
    y, dx = found.y[0], found.dx[0]
    channels_first, w_first = (a.reshape(2, 2, 2).transpose(2, 0, 1).reshape(-1) for a in (y, w))
    return "\n\n".join(
        (
            fence({"x_{uv0}": x[..., 0], "x_{uv1}": x[..., 1], "y": y}),
            fence({"w": w, "z": y @ w}),
            fence({"dz": dz, "dy": dz * w, "dx_{uv0}": dx[..., 0], "dx_{uv1}": dx[..., 1]}),
            fence({"y'": channels_first, "w'": w_first}),
            fence({"\\sum_j y'_j w'_j": channels_first @ w_first, "\\sum_j y_j w'_j": y @ w_first}),
        )
    )


def blocks() -> dict[str, str]:
    """Every example by the name of its block."""
    examples = {
        "conv": conv,
        "conv-stride": conv_stride,
        "max-pool": max_pool,
        "average-pool": average_pool,
        "batch-norm": batch_norm,
        "batch-norm-channels": batch_norm_channels,
        "layer-norm": layer_norm,
        "maxout": maxout,
        "leaky-relu": leaky_relu,
        "prelu": prelu,
        "residual": residual,
        "smooth": smooth,
        "channel-dropout": channel_dropout,
        "flatten": flatten,
    }
    return {f"derivation-{name}": make() for name, make in examples.items()}
