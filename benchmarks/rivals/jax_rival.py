"""JAX by its own autodiff: `grad` under `jit`, a step a call or a chunk of them in a `lax.scan`.

Within a loop, XLA's convolutions on a CPU take ten times as long: there a convolutional network is trained by a
step a call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.workloads import Problem
from nnbackprop.nn import layers
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.layers.windows import pair

IMAGES = ("NHWC", "HWIO", "NHWC")


class Jax:
    """Data on the device, a chunk of steps a call, or a step where `scan` is off."""

    def __init__(self, problem: Problem, scan: bool = True) -> None:
        jax.config.update("jax_enable_x64", problem.workload.dtype == "float64")  # type: ignore[no-untyped-call]
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if problem.tf32 else "highest")  # type: ignore[no-untyped-call]
        kind, _, index = problem.device.partition(":")
        self.device = jax.devices(kind)[int(index or 0)]
        self.length = problem.workload.chunk_on(problem.device) if scan else 0
        self.x, self.t = self.to_device((problem.x, problem.t))
        params = tuple(problem.weights)
        zeros = jax.tree.map(np.zeros_like, params)
        running = [(np.zeros_like(p["gamma"]), np.ones_like(p["gamma"])) for p in params if "gamma" in p]
        self.state = self.to_device((params, zeros, zeros, running, np.int32(0)))
        self.call = jax.jit(partial(steps if scan else step, problem), donate_argnums=0)

    def to_device(self, tree: Any) -> Any:
        """Copies on the device."""
        return jax.tree.map(lambda a: jax.device_put(a, self.device, may_alias=False), tree)

    def prepare(self, rows: np.ndarray) -> list[jax.Array]:
        """An array a call: of a chunk's rows, or of a step's."""
        if not self.length:
            return [self.to_device(batch) for batch in rows]
        return [self.to_device(rows[k : k + self.length]) for k in range(0, len(rows), self.length)]

    def run(self, batches: list[jax.Array]) -> None:
        for rows in batches:
            self.state = self.call(self.state, self.x, self.t, rows)
        jax.block_until_ready(self.state)  # type: ignore[no-untyped-call]

    def weights(self) -> Params:
        return jax.tree.map(np.array, self.state[0])


def forward(problem: Problem, params: Any, running: Any, x: jax.Array, key: jax.Array) -> Any:
    """The network's outputs in training, and the running means and variances that follow."""
    weights, statistics, new = iter(params), iter(running), []
    for k, layer in enumerate(problem.workload.layers):
        match layer:
            case layers.Dense():
                p = next(weights)
                x = x @ p["W"] + p.get("b", 0)
            case layers.Conv2D():
                p = next(weights)
                W = p["W"].reshape(*pair(layer.kernel_size, "kernel_size"), -1, layer.filters)
                x = lax.conv_general_dilated(x, W, (1, 1), "VALID", dimension_numbers=IMAGES) + p.get("b", 0)
            case layers.BatchNorm():
                p, (mean, var), axes = next(weights), next(statistics), tuple(range(x.ndim - 1))
                m, v, n = jnp.mean(x, axes), jnp.var(x, axes), x.size // x.shape[-1]
                new.append((0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v * n / (n - 1)))
                x = p["gamma"] * (x - m) * lax.rsqrt(v + layer.eps) + p["beta"]
            case layers.MaxPool2D():
                window = (1, *pair(layer.pool_size, "pool_size"), 1)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            case layers.Flatten():
                x = x.reshape(len(x), -1)
            case layers.Dropout():
                kept = jax.random.bernoulli(jax.random.fold_in(key, k), 1 - layer.rate, x.shape)
                x = jnp.where(kept, x / (1 - layer.rate), 0)
            case layers.ReLU():
                x = jax.nn.relu(x)
            case layers.Sigmoid():
                x = jax.nn.sigmoid(x)
    return x, new


def loss(problem: Problem, params: Any, running: Any, x: jax.Array, t: jax.Array, key: jax.Array) -> Any:
    """J of a batch, and the running means and variances."""
    workload = problem.workload
    y, running = forward(problem, params, running, x, key)
    if workload.targets is None:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(y), t[:, None], axis=1)), running
    penalty = workload.l2 / 2 * sum(jnp.sum(p["W"] ** 2) for p in params)
    return jnp.sum((y - t) ** 2) / (2 * len(t)) + penalty, running


def step(problem: Problem, state: Any, x: jax.Array, t: jax.Array, rows: jax.Array) -> Any:
    """An update by the samples `rows`."""
    adam, lr, eps = problem.workload.adam, problem.workload.lr, problem.workload.epsilon
    params, m, v, running, count = state
    key = jax.random.fold_in(jax.random.key(0), count)
    differentiated = jax.grad(partial(loss, problem), has_aux=True)
    grads, running = differentiated(params, running, x[rows], t[rows], key)
    count = count + 1
    if not adam:
        return jax.tree.map(lambda w, dw: w - lr * dw, params, grads), m, v, running, count
    m = jax.tree.map(lambda m, dw: 0.9 * m + 0.1 * dw, m, grads)
    v = jax.tree.map(lambda v, dw: 0.999 * v + 0.001 * dw * dw, v, grads)
    c1, c2 = 1 - 0.9**count, 1 - 0.999**count
    params = jax.tree.map(lambda w, m, v: w - lr * (m / c1) / (jnp.sqrt(v / c2) + eps), params, m, v)
    return params, m, v, running, count


def steps(problem: Problem, state: Any, x: jax.Array, t: jax.Array, batches: jax.Array) -> Any:
    """A step for each of `batches` (steps, batch)."""
    return lax.scan(lambda state, rows: (step(problem, state, x, t, rows), None), state, batches)[0]


make = Jax
