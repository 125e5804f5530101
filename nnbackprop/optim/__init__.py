"""How gradients become updates: each optimizer is a kernel for one number.

A training loop of one's own. `xp` is the namespace of a backend: the Array API and `foreach`, which plain `numpy`
has not. A step's scalars come from `step_scalars(t, lr)`, t counted from 1.

>>> import numpy as np
>>> import nnbackprop as nb
>>> xp, adam, loss = nb.select("numpy").xp, nb.Adam(), nb.SoftmaxCrossEntropy()
>>> network = nb.Sequential(nb.Dense(8), nb.Tanh(), nb.Dense(2))
>>> x, t = np.eye(4), np.array([0, 1, 1, 0])
>>> params = network.init((4,), dtype="float64")
>>> state = adam.init(xp, params)
>>> for step in range(1, 101):
...     y, caches = network.forward(xp, params, x)
...     J, dy = loss(xp, y, t)
...     _, grads = network.backward(xp, params, caches, dy)
...     params, state = adam.step(xp, params, grads, state, adam.step_scalars(step, 0.05))
>>> bool(J < 0.01)
True
"""

from .adaptive import Adagrad, Adam, AdamW, RMSprop
from .averaging import ExponentialMovingAverage
from .base import Optimizer
from .clipping import GradientClipping, clip_by_global_norm, clip_by_value
from .sgd import SGD, Momentum, Nesterov

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
}
"""Optimizers by their names in a configuration."""

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ExponentialMovingAverage",
    "GradientClipping",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "clip_by_global_norm",
    "clip_by_value",
]
