"""JAX by its own autodiff: `grad` under `jit`, a step a call or a chunk of them in a `lax.scan`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workloads import Problem
from nnbackprop.nn.layers.base import Params


class Jax:
    """Data on the device, a chunk of steps a call, or a step where `scan` is off."""

    def __init__(self, problem: Problem, scan: bool = True) -> None:
        jax.config.update("jax_enable_x64", problem.workload.dtype == "float64")  # type: ignore[no-untyped-call]
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if problem.tf32 else "highest")  # type: ignore[no-untyped-call]
        kind, _, index = problem.device.partition(":")
        self.device = jax.devices(kind)[int(index or 0)]
        self.length = problem.workload.chunk_on(problem.device) if scan else 1
        self.x, self.t = self.to_device((problem.x, problem.t))
        params = tuple(problem.weights)
        zeros = jax.tree.map(np.zeros_like, params)
        self.state = self.to_device((params, zeros, zeros, np.int32(0)))
        self.call = jax.jit(partial(steps, problem), donate_argnums=0)

    def to_device(self, tree: Any) -> Any:
        """Copies on the device."""
        return jax.tree.map(lambda a: jax.device_put(a, self.device, may_alias=False), tree)

    def prepare(self, rows: np.ndarray) -> list[jax.Array]:
        """An array a call."""
        return [self.to_device(rows[k : k + self.length]) for k in range(0, len(rows), self.length)]

    def run(self, batches: list[jax.Array]) -> None:
        for rows in batches:
            self.state = self.call(self.state, self.x, self.t, rows)
        jax.block_until_ready(self.state)  # type: ignore[no-untyped-call]

    def weights(self) -> Params:
        return jax.tree.map(np.array, self.state[0])


def loss(problem: Problem, params: Any, x: jax.Array, t: jax.Array, key: jax.Array) -> jax.Array:
    """J of a batch."""
    workload = problem.workload
    for k, (layer, rate) in enumerate(zip(params, workload.dropout, strict=True)):
        if rate:
            kept = jax.random.bernoulli(jax.random.fold_in(key, k), 1 - rate, x.shape)
            x = jnp.where(kept, x / (1 - rate), 0)
        x = x @ layer["W"] + layer.get("b", 0)
        if workload.sigmoid:
            x = jax.nn.sigmoid(x)
        elif k < len(params) - 1:
            x = jax.nn.relu(x)
    if not workload.sigmoid:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1))
    return jnp.sum((x - t) ** 2) / (2 * len(t)) + workload.l2 / 2 * sum(jnp.sum(p["W"] ** 2) for p in params)


def steps(problem: Problem, state: Any, x: jax.Array, t: jax.Array, batches: jax.Array) -> Any:
    """A step for each of `batches` (steps, batch)."""
    adam, lr, eps = problem.workload.adam, problem.workload.lr, problem.workload.epsilon

    def step(state: Any, rows: jax.Array) -> Any:
        params, m, v, count = state
        key = jax.random.fold_in(jax.random.key(0), count)
        grads = jax.grad(partial(loss, problem))(params, x[rows], t[rows], key)
        count = count + 1
        if not adam:
            return (jax.tree.map(lambda w, dw: w - lr * dw, params, grads), m, v, count), None
        m = jax.tree.map(lambda m, dw: 0.9 * m + 0.1 * dw, m, grads)
        v = jax.tree.map(lambda v, dw: 0.999 * v + 0.001 * dw * dw, v, grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(lambda w, m, v: w - lr * (m / c1) / (jnp.sqrt(v / c2) + eps), params, m, v)
        return (params, m, v, count), None

    return jax.lax.scan(step, state, batches)[0]


make = Jax
