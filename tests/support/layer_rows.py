"""The table of layers that tests go through, one row each, and how a row is run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from backends import Backend, NumpyBackend, tree_map
from nnbackprop.nn.initializers import InitRng, Uniform
from nnbackprop.nn.layers import (
    ELU,
    GELU,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Maxout,
    MaxPool2D,
    PReLU,
    ReLU,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SpatialDropout2D,
    Tanh,
)
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Residual
from tests.support.gradients import kinkless

N, K = 5, 4
STEP = np.array(3, np.int32)
MASK = RngKey(0, STEP).dropout_mask(NumpyBackend().xp, (N, K), 0.4, np.float64)
CHANNEL_MASK = RngKey(0, STEP).dropout_mask(NumpyBackend().xp, (N, 2), 0.4, np.float64).reshape(N, 1, 1, 2)
ln = math.log


class Row(NamedTuple):
    layer: Any
    torch: Callable[..., Any]
    """y of (torch, x, params), in PyTorch's own words."""
    jax: Callable[..., Any]
    facts: tuple[tuple[float, float], ...] = ()
    """x and f(x), worked out on paper."""
    ends: tuple[tuple[float, float], tuple[float, float]] | None = None
    """y and dy/dx at x = -10,000 and at 10,000."""
    in_shape: tuple[int, ...] = (K,)
    """A sample's."""


def standardized(jax: Any, x: Any, axis: int | tuple[int, ...], eps: float = 1e-5) -> Any:
    v = jax.numpy.var(x, axis=axis, keepdims=True)
    return (x - jax.numpy.mean(x, axis=axis, keepdims=True)) * jax.lax.rsqrt(v + eps)


def channels_first(function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> Any:
    """A function of PyTorch's on images, of images with channels last."""
    return function(x.permute(0, 3, 1, 2), *args, **options).permute(0, 2, 3, 1)


def torch_conv(
    torch: Any, x: Any, p: Any, size: tuple[int, int], edges: tuple[int, ...] = (), **options: Any
) -> Any:
    """`edges` are lines of zeros at left, right, top and bottom."""
    x = torch.nn.functional.pad(x, (0, 0, *edges)) if edges else x
    kernel = p["W"].reshape(*size, x.shape[3], -1).permute(3, 2, 0, 1)
    return channels_first(torch.nn.functional.conv2d, x, kernel, p.get("b"), **options)


def jax_conv(jax: Any, x: Any, p: Any, size: tuple[int, int], stride: tuple[int, int], padding: Any) -> Any:
    kernel = p["W"].reshape(*size, x.shape[3], -1)
    words = ("NHWC", "HWIO", "NHWC")
    z = jax.lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=words)
    return z + p.get("b", 0)


def jax_pool(jax: Any, x: Any, start: float, function: Any, size: tuple[int, int], stride: tuple[int, int]) -> Any:
    return jax.lax.reduce_window(x, start, function, (1, *size, 1), (1, *stride, 1), "VALID")


def torch_residual(torch: Any, x: Any, p: Any) -> Any:
    """A Residual whose second layer is Dense, its third a Residual of one Dense, its fourth Dense, after tanh."""
    h = torch.nn.functional.linear(torch.tanh(x), p[1]["W"].T, p[1]["b"])
    h = h + torch.nn.functional.linear(h, p[2][0]["W"].T, p[2][0]["b"])
    return x + torch.nn.functional.linear(h, p[3]["W"].T, p[3]["b"])


def jax_residual(jax: Any, x: Any, p: Any) -> Any:
    """The same."""
    h = jax.numpy.dot(jax.numpy.tanh(x), p[1]["W"]) + p[1]["b"]
    h = h + jax.numpy.dot(h, p[2][0]["W"]) + p[2][0]["b"]
    return x + jax.numpy.dot(h, p[3]["W"]) + p[3]["b"]


IMAGE = (6, 5, 2)

ROWS = [
    Row(
        Dense(3, bias_init=Uniform(1.0)),
        lambda torch, x, p: torch.nn.functional.linear(x, p["W"].T, p["b"]),
        lambda jax, x, p: jax.numpy.dot(x, p["W"]) + p["b"],
    ),
    Row(
        Dense(6, bias=False),
        lambda torch, x, p: torch.nn.functional.linear(x, p["W"].T),
        lambda jax, x, p: jax.numpy.dot(x, p["W"]),
    ),
    Row(
        Flatten(),
        lambda torch, x, p: torch.flatten(x, 1),
        lambda jax, x, p: jax.numpy.reshape(x, (x.shape[0], -1)),
        in_shape=IMAGE,
    ),
    Row(
        Identity(),
        lambda torch, x, p: torch.nn.Identity()(x),
        lambda jax, x, p: jax.nn.identity(x),
        ((-2, -2), (3, 3)),
        ((-1e4, 1), (1e4, 1)),
    ),
    Row(
        ReLU(),
        lambda torch, x, p: torch.relu(x),
        lambda jax, x, p: jax.nn.relu(x),
        ((-2, 0), (0, 0), (3, 3)),
        ((0, 0), (1e4, 1)),
    ),
    Row(
        LeakyReLU(0.2),
        lambda torch, x, p: torch.nn.functional.leaky_relu(x, 0.2),
        lambda jax, x, p: jax.nn.leaky_relu(x, 0.2),
        ((-2, -0.4), (0, 0), (3, 3)),
        ((-2e3, 0.2), (1e4, 1)),
    ),
    Row(
        ELU(0.7),
        lambda torch, x, p: torch.nn.functional.elu(x, 0.7),
        lambda jax, x, p: jax.nn.elu(x, 0.7),
        ((-ln(2), -0.35), (0, 0), (3, 3)),
        ((-0.7, 0), (1e4, 1)),
    ),
    Row(
        GELU(),
        lambda torch, x, p: torch.nn.functional.gelu(x, approximate="tanh"),
        lambda jax, x, p: jax.nn.gelu(x, approximate=True),
        ((0, 0), (1, (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715)) / 2)),
        ((0, 0), (1e4, 1)),
    ),
    Row(
        SiLU(),
        lambda torch, x, p: torch.nn.functional.silu(x),
        lambda jax, x, p: jax.nn.silu(x),
        ((ln(3), 0.75 * ln(3)), (-ln(3), -0.25 * ln(3)), (0, 0)),
        ((0, 0), (1e4, 1)),
    ),
    Row(
        Softplus(),
        lambda torch, x, p: torch.nn.functional.softplus(x),
        lambda jax, x, p: jax.nn.softplus(x),
        ((0, ln(2)), (ln(3), ln(4)), (-ln(3), ln(4 / 3))),
        ((0, 0), (1e4, 1)),
    ),
    Row(
        Tanh(),
        lambda torch, x, p: torch.tanh(x),
        lambda jax, x, p: jax.numpy.tanh(x),
        ((ln(2), 0.6), (-ln(2), -0.6), (0, 0)),
        ((-1, 0), (1, 0)),
    ),
    Row(
        Sigmoid(),
        lambda torch, x, p: torch.sigmoid(x),
        lambda jax, x, p: jax.nn.sigmoid(x),
        ((0, 0.5), (ln(3), 0.75), (-ln(9), 0.1)),
        ((0, 0), (1, 0)),
    ),
    Row(
        Softmax(),
        lambda torch, x, p: torch.softmax(x, dim=1),
        lambda jax, x, p: jax.nn.softmax(x, axis=1),
    ),
    Row(
        BatchNorm(),
        lambda torch, x, p: torch.nn.functional.batch_norm(x, None, None, p["gamma"], p["beta"], training=True),
        lambda jax, x, p: p["gamma"] * standardized(jax, x, 0) + p["beta"],
    ),
    Row(
        LayerNorm(1e-3),
        lambda torch, x, p: torch.nn.functional.layer_norm(x, (K,), p["gamma"], p["beta"], 1e-3),
        lambda jax, x, p: p["gamma"] * standardized(jax, x, 1, 1e-3) + p["beta"],
    ),
    Row(
        Conv2D(3, bias_init=Uniform(1.0)),
        lambda torch, x, p: torch_conv(torch, x, p, (3, 3)),
        lambda jax, x, p: jax_conv(jax, x, p, (3, 3), (1, 1), "VALID"),
        in_shape=IMAGE,
    ),
    Row(
        Conv2D(2, (2, 3), padding="same", bias=False),
        lambda torch, x, p: torch_conv(torch, x, p, (2, 3), (1, 1, 0, 1)),
        lambda jax, x, p: jax_conv(jax, x, p, (2, 3), (1, 1), "SAME"),
        in_shape=IMAGE,
    ),
    Row(
        Conv2D(2, 3, stride=2, padding="same"),
        lambda torch, x, p: torch_conv(torch, x, p, (3, 3), (1, 1, 0, 1), stride=2),
        lambda jax, x, p: jax_conv(jax, x, p, (3, 3), (2, 2), "SAME"),
        in_shape=IMAGE,
    ),
    Row(
        Conv2D(2, (3, 2), stride=(3, 2), padding=1),
        lambda torch, x, p: torch_conv(torch, x, p, (3, 2), stride=(3, 2), padding=1),
        lambda jax, x, p: jax_conv(jax, x, p, (3, 2), (3, 2), [(1, 1), (1, 1)]),
        in_shape=IMAGE,
    ),
    Row(
        Conv2D(3, 1, stride=2),
        lambda torch, x, p: torch_conv(torch, x, p, (1, 1), stride=2),
        lambda jax, x, p: jax_conv(jax, x, p, (1, 1), (2, 2), "VALID"),
        in_shape=IMAGE,
    ),
    Row(
        MaxPool2D(),
        lambda torch, x, p: channels_first(torch.nn.functional.max_pool2d, x, 2),
        lambda jax, x, p: jax_pool(jax, x, -math.inf, jax.lax.max, (2, 2), (2, 2)),
        in_shape=IMAGE,
    ),
    Row(
        MaxPool2D((3, 2), stride=(2, 1)),
        lambda torch, x, p: channels_first(torch.nn.functional.max_pool2d, x, (3, 2), (2, 1)),
        lambda jax, x, p: jax_pool(jax, x, -math.inf, jax.lax.max, (3, 2), (2, 1)),
        in_shape=IMAGE,
    ),
    Row(
        AveragePool2D((2, 3), stride=1),
        lambda torch, x, p: channels_first(torch.nn.functional.avg_pool2d, x, (2, 3), 1),
        lambda jax, x, p: jax_pool(jax, x, 0.0, jax.lax.add, (2, 3), (1, 1)) / 6,
        in_shape=IMAGE,
    ),
    Row(
        AveragePool2D(2, stride=3),
        lambda torch, x, p: channels_first(torch.nn.functional.avg_pool2d, x, 2, 3),
        lambda jax, x, p: jax_pool(jax, x, 0.0, jax.lax.add, (2, 2), (3, 3)) / 4,
        in_shape=IMAGE,
    ),
    Row(
        GlobalAveragePool2D(),
        lambda torch, x, p: torch.nn.functional.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1)[:, :, 0, 0],
        lambda jax, x, p: jax.numpy.mean(x, axis=(1, 2)),
        in_shape=IMAGE,
    ),
    Row(
        BatchNorm(0.3, 1e-3),
        lambda torch, x, p: channels_first(
            torch.nn.functional.batch_norm, x, None, None, p["gamma"], p["beta"], training=True, eps=1e-3
        ),
        lambda jax, x, p: p["gamma"] * standardized(jax, x, (0, 1, 2), 1e-3) + p["beta"],
        in_shape=IMAGE,
    ),
    Row(
        PReLU(),
        lambda torch, x, p: channels_first(torch.nn.functional.prelu, x, p["a"]),
        lambda jax, x, p: jax.numpy.where(x > 0, x, p["a"] * x),
        in_shape=IMAGE,
    ),
    Row(
        PReLU(0.1, shared=True),
        lambda torch, x, p: torch.nn.functional.prelu(x, p["a"]),
        lambda jax, x, p: jax.numpy.where(x > 0, x, p["a"] * x),
    ),
    Row(
        Maxout(3, 4, bias_init=Uniform(1.0)),
        lambda torch, x, p: torch.nn.functional.linear(x, p["W"].T, p["b"]).reshape(-1, 4, 3).amax(1),
        lambda jax, x, p: jax.numpy.max(jax.numpy.reshape(x @ p["W"] + p["b"], (-1, 4, 3)), axis=1),
    ),
    Row(
        Reshape((5, 4, 3)),
        lambda torch, x, p: torch.unflatten(torch.flatten(x, 1), 1, (5, 4, 3)),
        lambda jax, x, p: jax.numpy.reshape(x, (-1, 5, 4, 3)),
        in_shape=IMAGE,
    ),
    Row(
        Residual(Tanh(), Dense(3), Residual(Dense(3)), Dense(K)),
        torch_residual,
        jax_residual,
    ),
    Row(
        SpatialDropout2D(0.4),
        lambda torch, x, p: torch.tensor(CHANNEL_MASK) * x,
        lambda jax, x, p: CHANNEL_MASK * x,
        in_shape=IMAGE,
    ),
    Row(
        Dropout(0.4),
        lambda torch, x, p: torch.tensor(MASK) * x,
        lambda jax, x, p: MASK * x,
    ),
]
POINTWISE = [row for row in ROWS if row.ends]

every_row = pytest.mark.parametrize("row", ROWS, ids=[str(row.layer) for row in ROWS])
every_pointwise = pytest.mark.parametrize("row", POINTWISE, ids=[str(row.layer) for row in POINTWISE])


def example(
    layer: Layer, dtype: str = "float64", in_shape: tuple[int, ...] = (K,)
) -> tuple[np.ndarray, np.ndarray, Any]:
    """x (N, *in_shape) off the corners, dy of the output's shape, and parameters none of which is 0 or 1."""
    rng = np.random.default_rng(11)
    params, out_shape = layer.build(InitRng(11), in_shape, "float64")
    x, dy = kinkless(rng, (N, *in_shape)), rng.standard_normal((N, *out_shape))
    return x.astype(dtype), dy.astype(dtype), tree_map(lambda w: moved(rng, w).astype(dtype), params)


def moved(rng: np.random.Generator, w: np.ndarray) -> np.ndarray:
    return w + rng.uniform(0.1, 0.4, w.shape)


def trained(layer: Any, params: Any) -> Any:
    """The parameters that have gradients."""
    if isinstance(params, tuple):
        return tuple(map(trained, layer.children, params))
    return {name: w for name, w in params.items() if name not in getattr(layer, "buffers", ())}


def run(
    backend: Backend, layer: Layer, x: np.ndarray, dy: np.ndarray, params: Any, need_dx: bool = True
) -> tuple[np.ndarray, Any, Any]:
    """y, dx and the parameters' gradients in training mode, as NumPy arrays."""
    xp, key = backend.xp, RngKey(0, backend.asarray(STEP))
    p = tree_map(backend.asarray, params)
    y, cache = layer.forward(xp, p, backend.asarray(x), key)
    dx, grads = layer.backward(xp, p, cache, backend.asarray(dy), need_dx)
    return backend.to_numpy(y), dx if dx is None else backend.to_numpy(dx), tree_map(backend.to_numpy, grads)
