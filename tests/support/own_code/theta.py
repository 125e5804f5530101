"""Theta with the biases as its first column, (out, in + 1): exercise 4 of the Machine Learning course.

Sigmoids, cross-entropy, J += lambda/(2m) sum of squares over all but the first columns, a loop over the samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.own_code.formulas import Array, sigmoid
from tests.support.own_code.plan import Functions, Plan

RATE = 0.5


def sigmoid_gradient(z: Array) -> Array:
    g = sigmoid(z)
    return g * (1 - g)


class Thetas:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.has, self.L = plan, plan.has, plan.layers
        self.X, self.Y = plan.data()
        self.kept = [
            np.zeros((out, fan_in + 1)) for fan_in, out in zip(plan.widths[:-1], plan.widths[1:], strict=True)
        ]

    def unpack(self, params: Any) -> list[Array]:
        return list(params) if self.plan.form == "list" else [params[f"Theta{i + 1}"] for i in range(self.L)]

    def pack(self, theta: list[Array]) -> Any:
        return theta if self.plan.form == "list" else {f"Theta{i + 1}": v for i, v in enumerate(theta)}

    def feedforward(self, x: Array, theta: list[Array]) -> tuple[list[Array], list[Array]]:
        a, z = [np.append(1, x)], []
        for i in range(self.L):
            z.append(theta[i] @ a[i])
            a.append(sigmoid(z[i]) if i == self.L - 1 else np.append(1, sigmoid(z[i])))
        return a, z

    def cost(self, params: Any) -> float:
        theta, m, J = self.unpack(params), self.plan.n, 0.0
        for x, y in zip(self.X, self.Y, strict=True):
            h = self.feedforward(x, theta)[0][-1]
            J += np.sum(-y * np.log(h) - (1 - y) * np.log(1 - h))
        return float(J / m + self.plan.l2 / (2 * m) * sum(np.sum(t[:, 1:] ** 2) for t in theta))

    def slope(self, i: int, a: list[Array], z: list[Array]) -> Array | float:
        if self.has("activation-derivative-missing", i):
            return 1.0
        if self.has("activation-derivative-at-a", i):
            return sigmoid_gradient(a[i + 1][1:])
        if self.has("wrong-activation-derivative/1-a^2", i):
            return 1 - a[i + 1][1:] ** 2
        if self.has("wrong-layer-derivative/before", i):
            return sigmoid_gradient(z[i - 1])
        return sigmoid_gradient(z[i])

    def sample(self, x: Array, y: Array, theta: list[Array], Delta: list[Array]) -> None:
        """Adds one sample's part to Delta."""
        a, z = self.feedforward(x, theta)
        delta = y - a[-1] if self.has("sign-flipped") else a[-1] - y
        for i in reversed(range(self.L)):
            D = np.outer(delta, a[i])
            if self.has("bias-not-summed/last sample", i):
                Delta[i][:, 0] = 0
            Delta[i] += D
            if i > 0:
                back = theta[i] - RATE * D if self.has("updated-too-early", i) else theta[i]
                delta = (back.T @ delta)[1:] * self.slope(i - 1, a, z)

    def regularise(self, i: int, theta: Array) -> Array:
        extra = self.plan.l2 * theta if self.has("l2-not-averaged", i) else self.plan.l2 / self.plan.n * theta
        if not self.has("l2-on-biases", i):
            extra[:, 0] = 0
        return 0 * extra if self.has("l2-missing", i) else extra

    def gradient(self, params: Any) -> Any:
        theta, m = self.unpack(params), self.plan.n
        Delta = self.kept if self.has("accumulated") else [np.zeros_like(t) for t in theta]
        for x, y in zip(self.X, self.Y, strict=True):
            self.sample(x, y, theta, Delta)
        divisor = {"missing-batch-mean": 1, "mean-twice": m * m}.get(self.plan.bug, m)
        return self.pack([D / divisor + self.regularise(i, theta[i]) for i, D in enumerate(Delta)])


def build(plan: Plan) -> Functions:
    net = Thetas(plan)
    return (
        net.cost,
        net.gradient,
        net.pack([np.column_stack([v, w.T]) for w, v in zip(*plan.weights(), strict=True)]),
    )
