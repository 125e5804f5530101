"""Samples in rows: x (n, d), W (in, out), b (out,) or (1, out), z = x W + b.

The mean over the batch is taken in the first delta.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.own_code.formulas import ACTIVATION, Array
from tests.support.own_code.plan import Functions, Plan

RATE = 0.5


class Rows:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.has = plan, plan.has
        self.x, self.t = plan.data()
        self.masks, self.rng = plan.masks(plan.generator(3)), plan.generator(4)
        self.kept: list[Array] = []

    def draw(self, gradient: bool) -> tuple[Array, Array, list[Array]]:
        """The call's samples, targets and masks: the same at every call, but for the mistake."""
        if self.has("not-deterministic/batch"):
            chosen = self.rng.permutation(self.plan.n)[: self.plan.n // 2]
            return self.x[chosen], self.t[chosen], self.masks
        anew = self.has("not-deterministic/mask") or (gradient and self.has("not-deterministic/gradient's mask"))
        return self.x, self.t, self.plan.masks(self.rng) if anew else self.masks

    def forward(
        self, x: Array, W: list[Array], b: list[Any], masks: list[Array], axis: int
    ) -> tuple[list[Array], list[Array]]:
        plan, a, z = self.plan, [x], []  # layer i makes a[i + 1] of z[i], and z[i] of a[i]
        for i in range(plan.layers):
            z.append(a[i] @ W[i] + b[i])
            if i == plan.layers - 1:
                a.append(plan.outputs(z[i], axis))
            else:
                a.append(ACTIVATION[plan.activation(i)](z[i]))
                if plan.keep < 1:
                    a[-1] = a[-1] * masks[i] / plan.keep
        return a, z

    def loss(self, params: Any) -> float:
        W, b = self.plan.unpack(params)
        x, t, masks = self.draw(gradient=False)
        a, _ = self.forward(x, W, b, masks, 0 if self.has("softmax-axis/both") else 1)
        return self.plan.objective(a[-1], t, W, b)

    def layer_input(self, i: int, a: list[Array], z: list[Array]) -> Array:
        if self.has("wrong-layer-input/x", i):
            return a[0]
        if self.has("wrong-layer-input/z", i) and i > 0:
            return z[i - 1]
        if self.has("wrong-layer-input/own output", i):
            return a[i + 1]
        if self.has("wrong-layer-input/one before", i):
            return a[i - 1]
        return a[i]

    def bias_gradient(self, i: int, delta: Array, b: Array) -> Array:
        if self.has("bias-not-summed", i):
            return delta
        if self.has("bias-not-summed/mean", i):
            return delta.mean(axis=0).reshape(b.shape)
        if self.has("bias-not-summed/last sample", i):
            return delta[-1].reshape(b.shape)
        if self.has("bias-not-summed/first sample", i):
            return delta[0].reshape(b.shape)
        return delta.sum(axis=0).reshape(b.shape)

    def first_delta(self, a: list[Array], z: list[Array], t: Array) -> Array:
        """dJ/dz of the last layer, (n, k)."""
        delta = self.plan.output_delta(z[-1], a[-1], t, axis=1)
        if self.plan.mean and not self.has("missing-batch-mean"):
            delta = delta / len(t)
        return delta / len(t) if self.has("mean-twice") else delta

    def back(self, i: int, delta: Array, W: Array, dW: Array) -> Array:
        """Through layer i's weights, to what it reads."""
        W = W - RATE * dW if self.has("updated-too-early", i) else W
        da = delta @ (W if self.has("weight-transposed", i) else W.T)
        return -da if self.has("sign-flipped/going back", i) else da

    def grad(self, params: Any) -> Any:
        plan = self.plan
        W, b = plan.unpack(params)
        x, t, masks = self.draw(gradient=True)
        a, z = self.forward(x, W, b, masks, 0 if plan.bug.startswith("softmax-axis") else 1)
        delta = self.first_delta(a, z, t)
        dW, db = [0 * w for w in W], [0 * v for v in b]
        for i in reversed(range(plan.layers)):
            dW[i] = self.layer_input(i, a, z).T @ delta + plan.penalty(i, W[i])
            if plan.bias != "none":
                db[i] = self.bias_gradient(i, delta, b[i]) + plan.bias_penalty(i, b[i])
            if i > 0:
                da = self.back(i, delta, W[i], dW[i])
                if plan.keep < 1:
                    da = plan.through_dropout(i - 1, da, masks[i - 1])
                delta = da * plan.derivative(i - 1, a, z)
        return self.finish(W, b, dW, db)

    def finish(self, W: list[Array], b: list[Any], dW: list[Array], db: list[Any]) -> Any:
        """Hands the gradient out, unless something is done to it or to the parameters first."""
        for i in range(self.plan.layers):
            if self.has("sign-flipped", i) or self.has("sign-flipped/weights", i):
                dW[i] = -dW[i]
            if self.has("sign-flipped", i):
                db[i] = -db[i]
            if self.has("params-changed", i):
                W[i] -= 0.1 * dW[i]
                b[i] -= 0.1 * db[i]
            if self.has("params-changed/decay", i):
                W[i] *= 0.98
        if self.plan.bug.startswith("accumulated"):
            dW, db = self.accumulate(dW, db)
        return self.plan.pack(dW, db)

    def accumulate(self, dW: list[Array], db: list[Any]) -> tuple[list[Array], list[Any]]:
        """Adds to the arrays that the first call left."""
        if not self.kept:
            self.kept = [np.zeros_like(g) for g in dW + db]
        for total, g in zip(self.kept, dW + db, strict=True):
            total += g
        L = self.plan.layers
        kept = [g.copy() for g in self.kept] if self.has("accumulated/copies") else self.kept
        return (dW if self.has("accumulated/biases") else kept[:L]), kept[L:]


def build(plan: Plan) -> Functions:
    W, b = plan.weights()
    params = plan.pack(W, [v if v is None or plan.bias == "(k,)" else v[None, :] for v in b])
    net = Rows(plan)
    if plan.has("accumulated/one step made before"):
        net.grad(params)
    return net.loss, net.grad, params
