"""The formulas that every network here shares, in plain NumPy: activations, their derivatives, and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray

SLOPE = 0.1
"""Of leaky ReLU below zero."""
C = math.sqrt(2 / math.pi)


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def gelu_gate(z: Array) -> Array:
    return np.tanh(C * (z + 0.044715 * z**3))


def gelu_derivative(z: Array) -> Array:
    g = gelu_gate(z)
    return 0.5 * (1 + g) + 0.5 * z * (1 - g**2) * C * (1 + 3 * 0.044715 * z**2)


def silu_derivative(z: Array) -> Array:
    s = sigmoid(z)
    return s + z * s * (1 - s)


ACTIVATION: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky": lambda z: np.where(z > 0, z, SLOPE * z),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
    "gelu": lambda z: 0.5 * z * (1 + gelu_gate(z)),
    "silu": lambda z: z * sigmoid(z),
    "softplus": lambda z: np.log1p(np.exp(z)),
}
DERIVATIVE: dict[str, Callable[[Array], Array]] = {
    "identity": np.ones_like,
    "sigmoid": lambda z: sigmoid(z) * (1 - sigmoid(z)),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0) * 1.0,
    "leaky": lambda z: np.where(z > 0, 1.0, SLOPE),
    "elu": lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    "gelu": gelu_derivative,
    "silu": silu_derivative,
    "softplus": sigmoid,
}
"""f'(z), of z."""
FROM_OUTPUT: dict[str, Callable[[Array], Array]] = {
    "a(1-a)": lambda a: a * (1 - a),
    "1-a^2": lambda a: 1 - a**2,
}
"""f' by way of a = f(z): the first is sigmoid's, the second tanh's."""


def softmax(z: Array, axis: int) -> Array:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
