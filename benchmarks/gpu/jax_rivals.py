"""JAX on a GPU as its guides write it: autodiff under jit, a step a call, or a scan over many."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnbackprop.nn.layers.base import Params

from .rivals import Task


class Jit:
    """One compiled step a call, its state given away."""

    def __init__(self, task: Task) -> None:
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if task.tf32 else "highest")  # type: ignore[no-untyped-call]
        kind, _, index = task.device.partition(":")
        self.device = jax.devices(kind)[int(index or 0)]
        self.x, self.t = jax.device_put((task.x, task.t), self.device)
        self.state = jax.device_put((task.weights, np.int32(0)), self.device, may_alias=False)
        self.step = jax.jit(partial(_step, task), donate_argnums=0)

    def prepare(self, rows: np.ndarray) -> Any:
        """One array a batch."""
        return [jax.device_put(batch, self.device) for batch in rows.astype(np.int32)]

    def run(self, rows: Any) -> None:
        """A call a batch."""
        for batch in rows:
            self.state = self.step(self.state, batch, self.x, self.t)

    def wait(self) -> None:
        """Until the state is there."""
        jax.block_until_ready(self.state)  # type: ignore[no-untyped-call]

    def weights(self) -> Params:
        """On the host."""
        return jax.tree.map(np.array, self.state[0])


class Scan(Jit):
    """All steps in one call."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.scan = jax.jit(partial(_scan, task), donate_argnums=0)

    def prepare(self, rows: np.ndarray) -> Any:
        """All batches in one array."""
        return jax.device_put(rows.astype(np.int32), self.device)

    def run(self, rows: Any) -> None:
        """One call."""
        self.state = self.scan(self.state, rows, self.x, self.t)


def _loss(task: Task, params: Any, x: jax.Array, t: jax.Array, key: jax.Array) -> jax.Array:
    for k, (layer, rate) in enumerate(zip(params, task.dropout, strict=True)):
        if rate:
            kept = jax.random.bernoulli(jax.random.fold_in(key, k), 1 - rate, x.shape)
            x = jnp.where(kept, x / (1 - rate), 0)
        x = x @ layer["W"] + layer["b"]
        if k < len(params) - 1:
            x = jax.nn.relu(x)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1))


def _step(task: Task, state: Any, rows: jax.Array, x: jax.Array, t: jax.Array) -> Any:
    params, count = state
    key = jax.random.fold_in(jax.random.key(0), count)
    grads = jax.grad(partial(_loss, task))(params, x[rows], t[rows], key)
    return jax.tree.map(lambda w, dw: w - task.lr * dw, params, grads), count + 1


def _scan(task: Task, state: Any, batches: jax.Array, x: jax.Array, t: jax.Array) -> Any:
    return jax.lax.scan(lambda state, rows: (_step(task, state, rows, x, t), None), state, batches)[0]
