"""A network of layer objects, each with forward and backward, that keep what they saw and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.own_code.formulas import ACTIVATION, Array
from tests.support.own_code.plan import Functions, Plan

RATE = 0.5


class Dense:
    """y = x W + b; backward adds to dW and db, which zero() empties and which are handed out as they are."""

    def __init__(self, plan: Plan, layer: int, W: Array, b: Array | None) -> None:
        self.plan, self.layer, self.W, self.b = plan, layer, W, 0.0 if b is None else b
        self.dW, self.db = np.zeros_like(W), np.zeros_like(self.b)

    def zero(self) -> None:
        if not self.plan.has("accumulated", self.layer) and not self.plan.has("accumulated/weights", self.layer):
            self.dW[...] = 0
        if not self.plan.has("accumulated", self.layer) and not self.plan.has("accumulated/biases", self.layer):
            self.db[...] = 0

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy: Array) -> Array:
        has, layer = self.plan.has, self.layer
        if has("mean-twice/every layer"):
            dy = dy / len(dy)
        self.dW += self.x.T @ dy + self.plan.penalty(layer, self.W)
        if self.plan.bias != "none":
            db = dy.mean(axis=0) if has("bias-not-summed/mean", layer) else dy.sum(axis=0)
            self.db += db.reshape(self.db.shape) + self.plan.bias_penalty(layer, self.b)
        if has("updated-too-early", layer):
            self.W = self.W - RATE * self.dW
        dx = dy @ (self.W if has("weight-transposed", layer) else self.W.T)
        if has("params-changed", layer):
            self.W -= RATE * self.dW
        return dx


class Activation:
    def __init__(self, plan: Plan, layer: int) -> None:
        self.plan, self.layer = plan, layer

    def forward(self, x: Array) -> Array:
        self.x, self.y = x, ACTIVATION[self.plan.activation(self.layer)](x)
        return self.y

    def backward(self, dy: Array) -> Array:
        # derivative() wants f'(z[layer]) or a[layer + 1] out of lists of every layer's; only this one's are here
        z, a = {self.layer: self.x}, {self.layer + 1: self.y}
        return dy * self.plan.derivative(self.layer, a, z)  # type: ignore[arg-type]


class Dropout:
    def __init__(self, plan: Plan, layer: int) -> None:
        self.plan, self.layer, self.rng = plan, layer, plan.generator(4)
        self.mask = plan.masks(plan.generator(3))[layer]

    def forward(self, x: Array) -> Array:
        if self.plan.has("not-deterministic/mask", self.layer):
            self.mask = self.plan.masks(self.rng)[self.layer]
        return x * self.mask / self.plan.keep

    def backward(self, dy: Array) -> Array:
        return self.plan.through_dropout(self.layer, dy, self.mask)


def build(plan: Plan) -> Functions:
    x, t = plan.data()
    W, b = plan.weights()
    params = plan.pack(W, [v if v is None or plan.bias == "(k,)" else v[None, :] for v in b])
    dense = [Dense(plan, i, w, v) for i, (w, v) in enumerate(zip(*plan.unpack(params), strict=True))]
    chain: list[Any] = []
    for i in range(plan.layers):
        chain.append(dense[i])
        if i < plan.layers - 1:
            chain += [Activation(plan, i)] + [Dropout(plan, i)] * (plan.keep < 1)

    def forward(params: Any) -> Array:
        for layer, W, b in zip(dense, *plan.unpack(params), strict=True):
            layer.W, layer.b = W, b
        z = x
        for layer in chain:
            z = layer.forward(z)
        return z

    def loss(params: Any) -> float:
        W, b = plan.unpack(params)
        return plan.objective(plan.outputs(forward(params), 1), t, W, b)

    def grad(params: Any) -> Any:
        for layer in dense:
            layer.zero()
        z = forward(params)
        delta = plan.output_delta(z, plan.outputs(z, 1), t, axis=1)
        delta = -delta if plan.has("sign-flipped") else delta
        delta = delta if plan.has("missing-batch-mean") or not plan.mean else delta / plan.n
        for layer in reversed(chain):
            delta = layer.backward(delta)
        return plan.pack([layer.dW for layer in dense], [layer.db for layer in dense])

    return loss, grad, params
