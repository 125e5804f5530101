"""Samples in rows: x (n, d), W (in, out), b (out,) or (1, out), z = x W + b.

The mean over the batch is taken in the first delta.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from own_code.formulas import ACTIVATION, Array
from own_code.plan import Functions, Plan

RATE = 0.5


def build(plan: Plan) -> Functions:
    every_x, every_t = plan.data()
    W, b = plan.weights()
    params = plan.pack(W, [v if v is None or plan.bias == "(k,)" else v[None, :] for v in b])
    fixed, rng = plan.masks(plan.generator(3)), plan.generator(4)
    kept: list[Array] = []

    def draw(again: bool) -> tuple[Array, Array, list[Array]]:
        """The call's samples, targets and masks: the same in every call, but for the mistake."""
        if plan.has("not-deterministic/batch"):
            chosen = rng.permutation(plan.n)[: plan.n // 2]
            return every_x[chosen], every_t[chosen], fixed
        again = plan.has("not-deterministic/mask") or (again and plan.has("not-deterministic/gradient's mask"))
        return every_x, every_t, plan.masks(rng) if again else fixed

    def forward(x: Array, W: list[Array], b: list[Any], masks: list[Array], axis: int) -> tuple[list[Array], ...]:
        a, z = [x], []  # layer i makes a[i + 1] of z[i], and z[i] of a[i]
        for i in range(plan.layers):
            z.append(a[i] @ W[i] + b[i])
            if i == plan.layers - 1:
                a.append(plan.outputs(z[i], axis))
            else:
                a.append(ACTIVATION[plan.activation(i)](z[i]))
                if plan.keep < 1:
                    a[-1] = a[-1] * masks[i] / plan.keep
        return a, z

    def loss(params: Any) -> float:
        W, b = plan.unpack(params)
        x, t, masks = draw(again=False)
        a, _ = forward(x, W, b, masks, 0 if plan.has("softmax-axis/both") else 1)
        return plan.objective(a[-1], t, W, b)

    def layer_input(i: int, a: list[Array], z: list[Array]) -> Array:
        if plan.has("wrong-layer-input/x", i):
            return a[0]
        if plan.has("wrong-layer-input/z", i) and i > 0:
            return z[i - 1]
        if plan.has("wrong-layer-input/own output", i):
            return a[i + 1]
        if plan.has("wrong-layer-input/one before", i):
            return a[i - 1]
        return a[i]

    def bias_gradient(i: int, delta: Array, b: Array) -> Array:
        if plan.has("bias-not-summed", i):
            return delta
        if plan.has("bias-not-summed/mean", i):
            return delta.mean(axis=0).reshape(b.shape)
        if plan.has("bias-not-summed/last sample", i):
            return delta[-1].reshape(b.shape)
        if plan.has("bias-not-summed/first sample", i):
            return delta[0].reshape(b.shape)
        return delta.sum(axis=0).reshape(b.shape)

    def grad(params: Any) -> Any:
        W, b = plan.unpack(params)
        x, t, masks = draw(again=True)
        a, z = forward(x, W, b, masks, 0 if plan.bug.startswith("softmax-axis") else 1)
        delta = plan.output_delta(z[-1], a[-1], t, axis=1)
        if plan.mean and not plan.has("missing-batch-mean"):
            delta = delta / len(x)
        if plan.has("mean-twice"):
            delta = delta / len(x)
        dW, db = [0 * w for w in W], [0 * v for v in b]
        for i in reversed(range(plan.layers)):
            dW[i] = layer_input(i, a, z).T @ delta + plan.penalty(i, W[i])
            if plan.bias != "none":
                db[i] = bias_gradient(i, delta, b[i]) + plan.bias_penalty(i, b[i])
            if plan.has("sign-flipped", i):
                dW[i], db[i] = -dW[i], -db[i]
            if plan.has("sign-flipped/weights", i):
                dW[i] = -dW[i]
            if i == 0:
                break
            back = W[i] - RATE * dW[i] if plan.has("updated-too-early", i) else W[i]
            da = delta @ (back if plan.has("weight-transposed", i) else back.T)
            if plan.has("sign-flipped/going back", i):
                da = -da
            if plan.keep < 1:
                da = plan.through_dropout(i - 1, da, masks[i - 1])
            delta = da * plan.derivative(i - 1, a, z)
        if plan.bug.startswith("params-changed"):
            change(plan, W, b, dW, db)
        if plan.bug.startswith("accumulated"):
            return plan.pack(*accumulate(plan, kept, dW, db))
        return plan.pack(dW, db)

    if plan.has("accumulated/one step made before"):
        grad(params)
    return loss, grad, params


def change(plan: Plan, W: list[Array], b: list[Any], dW: list[Array], db: list[Any]) -> None:
    """The step of training, made on the caller's own arrays."""
    for i in range(plan.layers):
        if plan.has("params-changed", i):
            W[i] -= 0.1 * dW[i]
            b[i] -= 0.1 * db[i]
        if plan.has("params-changed/decay", i):
            W[i] *= 0.98


def accumulate(plan: Plan, kept: list[Array], dW: list[Array], db: list[Any]) -> tuple[list[Array], list[Any]]:
    """Adds to the arrays that the first call left in `kept`."""
    if not kept:
        kept.extend(np.zeros_like(g) for g in dW + db)
    for total, g in zip(kept, dW + db, strict=True):
        total += g
    if plan.has("accumulated/copies"):
        return [g.copy() for g in kept[: plan.layers]], [g.copy() for g in kept[plan.layers :]]
    if plan.has("accumulated/biases"):
        return dW, kept[plan.layers :]
    return kept[: plan.layers], kept[plan.layers :]
