"""A training loop of your own, the same lines on NumPy, PyTorch and JAX: six calls a step, no trainer."""

from __future__ import annotations

import numpy as np

import nnbackprop as nb
from backends import tree_map

rng = np.random.default_rng(0)
x_host = rng.normal(size=(256, 8))
t_host = (np.abs(x_host).sum(axis=1) > 6.4).astype(np.int32)
network, loss, adam = nb.Sequential(nb.Dense(32), nb.ReLU(), nb.Dense(2)), nb.SoftmaxCrossEntropy(), nb.Adam()


def train(backend: nb.Backend, steps: int = 60) -> tuple[float, np.ndarray]:
    """The last loss, and the first layer's weights on the host."""
    xp = backend.xp
    params = tree_map(backend.asarray, network.init((8,), seed=1, dtype="float64"))
    x, t = backend.asarray(x_host), backend.asarray(t_host)
    state = adam.init(xp, params)
    for step in range(1, steps + 1):
        y, caches = network.forward(xp, params, x)
        J, dy = loss(xp, y, t)
        _, grads = network.backward(xp, params, caches, dy)
        scalars = tree_map(lambda a: backend.asarray(np.asarray(a)), adam.step_scalars(step, 0.01))
        params, state = adam.step(xp, params, grads, state, scalars)
    return float(backend.to_numpy(J)), backend.to_numpy(params[0]["W"])


first = None
for name in ("numpy", "torch", "jax"):
    try:
        backend = nb.select(name)
    except nb.BackendError as error:
        print(f"{name}: {error}")
        continue
    J, W = train(backend)
    first = W if first is None else first
    print(f"{name:5}  loss {J:.12f}  furthest weight from NumPy's {np.abs(W - first).max():.1e}")
