"""JAX by its own autodiff: `value_and_grad` in a `lax.scan` under `jit`, its state donated."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.works import Problem
from nnbackprop.nn.layers.base import Params


class Jax:
    """Data on the device, a chunk of steps a call."""

    def __init__(self, problem: Problem, chunk: int) -> None:
        jax.config.update("jax_enable_x64", problem.config.dtype == "float64")  # type: ignore[no-untyped-call]
        self.problem, self.chunk = problem, chunk
        self.x, self.t = jnp.asarray(problem.x), jnp.asarray(problem.t)
        params = tuple({name: jnp.array(w) for name, w in layer.items()} for layer in problem.weights)
        zeros = jax.tree.map(jnp.zeros_like, params)
        self.state = (params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.int32(0))
        self.scan = jax.jit(partial(_chunk, problem), donate_argnums=0)

    def run(self, at: int, steps: int) -> None:
        """Chunk by chunk."""
        for begin in range(at, at + steps, self.chunk):
            rows = self.problem.batches(begin, min(self.chunk, at + steps - begin))
            self.state = self.scan(self.state, self.x, self.t, jnp.asarray(rows))
        jax.block_until_ready(self.state)  # type: ignore[no-untyped-call]

    def weights(self) -> Params:
        """On the host."""
        return jax.tree.map(np.array, self.state[0])


def _forward(problem: Problem, params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    for k, layer in enumerate(params):
        if any(problem.config.dropout):
            kept = jax.random.bernoulli(jax.random.fold_in(key, k), 1 - problem.config.dropout[k], x.shape)
            x = jnp.where(kept, x / (1 - problem.config.dropout[k]), 0)
        x = x @ layer["W"] + layer.get("b", 0)
        if problem.squared:
            x = jax.nn.sigmoid(x)
        elif k < len(params) - 1:
            x = jax.nn.relu(x)
    return x


def _loss(problem: Problem, params: Any, x: jax.Array, t: jax.Array, key: jax.Array) -> jax.Array:
    y = _forward(problem, params, x, key)
    if not problem.squared:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(y), t[:, None], axis=1))
    penalty = problem.config.l2 / 2 * sum(jnp.sum(layer["W"] ** 2) for layer in params)
    return jnp.sum((y - t) ** 2) / (2 * len(t)) + penalty


def _chunk(problem: Problem, state: Any, x: jax.Array, t: jax.Array, batches: jax.Array) -> Any:
    adam, lr = problem.config.optimizer == "adam", problem.config.lr

    def step(state: Any, rows: jax.Array) -> Any:
        params, m, v, count = state
        key = jax.random.fold_in(jax.random.key(0), count)
        _, grads = jax.value_and_grad(partial(_loss, problem))(params, x[rows], t[rows], key)
        count = count + 1
        if not adam:
            return (jax.tree.map(lambda w, dw: w - lr * dw, params, grads), m, v, count), None
        m = jax.tree.map(lambda m, dw: 0.9 * m + 0.1 * dw, m, grads)
        v = jax.tree.map(lambda v, dw: 0.999 * v + 0.001 * dw * dw, v, grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(lambda w, m, v: w - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), params, m, v)
        return (params, m, v, count), None

    return jax.lax.scan(step, state, batches)[0]


make = Jax
