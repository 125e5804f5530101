"""Theta with the biases as its first column, (out, in + 1): exercise 4 of the Machine Learning course.

Sigmoids, cross-entropy, J += lambda/(2m) sum of squares over all but the first columns, a loop over the samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from own_code.formulas import Array, sigmoid
from own_code.plan import Functions, Plan

RATE = 0.5


def sigmoid_gradient(z: Array) -> Array:
    g = sigmoid(z)
    return g * (1 - g)


def build(plan: Plan) -> Functions:
    X, Y = plan.data()
    m, lam, L = plan.n, plan.l2, plan.layers
    W, b = plan.weights()
    first = [np.column_stack([v, w.T]) for w, v in zip(W, b, strict=True)]
    names = [f"Theta{i + 1}" for i in range(L)]
    params: Any = first if plan.form == "list" else dict(zip(names, first, strict=True))
    kept = [np.zeros_like(theta) for theta in first]

    def thetas(params: Any) -> list[Array]:
        return list(params) if plan.form == "list" else [params[name] for name in names]

    def feedforward(x: Array, theta: list[Array]) -> tuple[list[Array], list[Array]]:
        a, z = [np.append(1, x)], []
        for i in range(L):
            z.append(theta[i] @ a[i])
            a.append(sigmoid(z[i]) if i == L - 1 else np.append(1, sigmoid(z[i])))
        return a, z

    def cost(params: Any) -> float:
        theta, J = thetas(params), 0.0
        for x, y in zip(X, Y, strict=True):
            h = feedforward(x, theta)[0][-1]
            J += np.sum(-y * np.log(h) - (1 - y) * np.log(1 - h))
        return float(J / m + lam / (2 * m) * sum(np.sum(t[:, 1:] ** 2) for t in theta))

    def slope(i: int, a: list[Array], z: list[Array]) -> Array | float:
        if plan.has("activation-derivative-missing", i):
            return 1.0
        if plan.has("activation-derivative-at-a", i):
            return sigmoid_gradient(a[i + 1][1:])
        if plan.has("wrong-activation-derivative/1-a^2", i):
            return 1 - a[i + 1][1:] ** 2
        if plan.has("wrong-layer-derivative/before", i):
            return sigmoid_gradient(z[i - 1])
        return sigmoid_gradient(z[i])

    def sample(x: Array, y: Array, theta: list[Array], Delta: list[Array]) -> None:
        """Adds one sample's part to Delta."""
        a, z = feedforward(x, theta)
        delta = y - a[-1] if plan.has("sign-flipped") else a[-1] - y
        for i in reversed(range(L)):
            D = np.outer(delta, a[i])
            if plan.has("bias-not-summed/last sample", i):
                Delta[i][:, 0] = 0
            Delta[i] += D
            if i > 0:
                back = theta[i] - RATE * D if plan.has("updated-too-early", i) else theta[i]
                delta = (back.T @ delta)[1:] * slope(i - 1, a, z)

    def regularise(i: int, theta: Array) -> Array:
        extra = lam / m * theta
        if plan.has("l2-not-averaged", i):
            extra = lam * theta
        if not plan.has("l2-on-biases", i):
            extra[:, 0] = 0
        return 0 * extra if plan.has("l2-missing", i) else extra

    def gradient(params: Any) -> Any:
        theta = thetas(params)
        Delta = kept if plan.has("accumulated") else [np.zeros_like(t) for t in theta]
        for x, y in zip(X, Y, strict=True):
            sample(x, y, theta, Delta)
        divisor = {"missing-batch-mean": 1, "mean-twice": m * m}.get(plan.bug, m)
        found = [D / divisor + regularise(i, t) for i, (D, t) in enumerate(zip(Delta, theta, strict=True))]
        return found if plan.form == "list" else dict(zip(names, found, strict=True))

    return cost, gradient, params
