"""Samples in columns: A (width, m), W (out, in), b (out, 1), Z = W A + b, and 1/m in dW and in db.

The notation of the Deep Learning Specialization.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from own_code.formulas import ACTIVATION, Array
from own_code.plan import Functions, Plan

RATE = 0.5


def build(plan: Plan) -> Functions:
    x, t = plan.data()
    X, Y, m = x.T, t.T, plan.n
    W, b = plan.weights()
    params = plan.pack([w.T.copy() for w in W], [v if v is None else v[:, None] for v in b])
    D = [mask.T for mask in plan.masks(plan.generator(3))]

    def forward(W: list[Array], b: list[Any], axis: int) -> tuple[list[Array], list[Array]]:
        A, Z = [X], []
        for i in range(plan.layers):
            Z.append(np.dot(W[i], A[i]) + b[i])
            if i == plan.layers - 1:
                A.append(plan.outputs(Z[i], axis))
            else:
                A.append(ACTIVATION[plan.activation(i)](Z[i]))
                if plan.keep < 1:
                    A[-1] = A[-1] * D[i] / plan.keep
        return A, Z

    def loss(params: Any) -> float:
        W, b = plan.unpack(params)
        A, _ = forward(W, b, 1 if plan.has("softmax-axis/both") else 0)
        return plan.objective(A[-1], Y, W, b)

    def bias_gradient(i: int, dZ: Array) -> Array:
        if plan.has("bias-not-summed", i):
            return dZ / m
        if plan.has("bias-not-summed/mean", i):
            return np.mean(dZ, axis=1, keepdims=True) / m
        if plan.has("bias-not-summed/last sample", i):
            return dZ[:, -1:] / m
        if plan.has("missing-batch-mean/biases", i) or plan.has("missing-batch-mean", i):
            return np.sum(dZ, axis=1, keepdims=True)
        return np.sum(dZ, axis=1, keepdims=True) / m

    def weight_gradient(i: int, dZ: Array, A: list[Array], Z: list[Array]) -> Array:
        if plan.has("wrong-layer-input/z", i) and i > 0:
            return np.dot(dZ, Z[i - 1].T) / m
        if plan.has("wrong-layer-input/x", i):
            return np.dot(dZ, X.T) / m
        if plan.has("wrong-layer-input/own output", i):
            return np.dot(dZ, A[i + 1].T) / m
        if plan.has("missing-batch-mean/weights", i) or plan.has("missing-batch-mean", i):
            return np.dot(dZ, A[i].T)
        return np.dot(dZ, A[i].T) / m

    def grad(params: Any) -> Any:
        W, b = plan.unpack(params)
        A, Z = forward(W, b, 1 if plan.bug.startswith("softmax-axis") else 0)
        dZ = plan.output_delta(Z[-1], A[-1], Y, axis=0)
        if plan.has("sign-flipped"):
            dZ = -dZ
        if plan.has("mean-twice"):
            dZ = dZ / m
        dW, db = [0 * w for w in W], [0 * v for v in b]
        for i in reversed(range(plan.layers)):
            dW[i] = weight_gradient(i, dZ, A, Z) + plan.penalty(i, W[i])
            if plan.bias != "none":
                db[i] = bias_gradient(i, dZ) + plan.bias_penalty(i, b[i])
            if i == 0:
                break
            back = W[i] - RATE * dW[i] if plan.has("updated-too-early", i) else W[i]
            dA = np.dot(back if plan.has("weight-transposed", i) else back.T, dZ)
            if plan.keep < 1:
                dA = plan.through_dropout(i - 1, dA, D[i - 1])
            dZ = dA * plan.derivative(i - 1, A, Z)
            if plan.has("mean-twice/every layer"):
                dZ = dZ / m
        return plan.pack(dW, db)

    return loss, grad, params
