"""Samples in columns: A (width, m), W (out, in), b (out, 1), Z = W A + b, and 1/m in dW and in db.

The notation of the Deep Learning Specialization.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.own_code.formulas import ACTIVATION, Array
from tests.support.own_code.plan import Functions, Plan

RATE = 0.5


class Columns:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.has, self.m = plan, plan.has, plan.n
        self.X, self.Y = (v.T for v in plan.data())
        self.D = [mask.T for mask in plan.masks(plan.generator(3))]

    def forward(self, W: list[Array], b: list[Any], axis: int) -> tuple[list[Array], list[Array]]:
        plan, A, Z = self.plan, [self.X], []
        for i in range(plan.layers):
            Z.append(np.dot(W[i], A[i]) + b[i])
            if i == plan.layers - 1:
                A.append(plan.outputs(Z[i], axis))
            else:
                A.append(ACTIVATION[plan.activation(i)](Z[i]))
                if plan.keep < 1:
                    A[-1] = A[-1] * self.D[i] / plan.keep
        return A, Z

    def loss(self, params: Any) -> float:
        W, b = self.plan.unpack(params)
        A, _ = self.forward(W, b, 1 if self.has("softmax-axis/both") else 0)
        return self.plan.objective(A[-1], self.Y, W, b)

    def bias_gradient(self, i: int, dZ: Array) -> Array:
        if self.has("bias-not-summed", i):
            return dZ / self.m
        if self.has("bias-not-summed/mean", i):
            return np.mean(dZ, axis=1, keepdims=True) / self.m
        if self.has("bias-not-summed/last sample", i):
            return dZ[:, -1:] / self.m
        if self.has("missing-batch-mean", i) or self.has("missing-batch-mean/biases", i):
            return np.sum(dZ, axis=1, keepdims=True)
        return np.sum(dZ, axis=1, keepdims=True) / self.m

    def weight_gradient(self, i: int, dZ: Array, A: list[Array], Z: list[Array]) -> Array:
        if self.has("wrong-layer-input/z", i) and i > 0:
            return np.dot(dZ, Z[i - 1].T) / self.m
        if self.has("wrong-layer-input/x", i):
            return np.dot(dZ, self.X.T) / self.m
        if self.has("wrong-layer-input/own output", i):
            return np.dot(dZ, A[i + 1].T) / self.m
        if self.has("missing-batch-mean", i) or self.has("missing-batch-mean/weights", i):
            return np.dot(dZ, A[i].T)
        return np.dot(dZ, A[i].T) / self.m

    def first_dz(self, A: list[Array], Z: list[Array]) -> Array:
        dZ = self.plan.output_delta(Z[-1], A[-1], self.Y, axis=0)
        dZ = -dZ if self.has("sign-flipped") else dZ
        return dZ / self.m if self.has("mean-twice") else dZ

    def back(self, i: int, dZ: Array, W: Array, dW: Array) -> Array:
        """Through layer i's weights, to what it reads."""
        W = W - RATE * dW if self.has("updated-too-early", i) else W
        dA = np.dot(W if self.has("weight-transposed", i) else W.T, dZ)
        return dA / self.m if self.has("mean-twice/every layer") else dA

    def grad(self, params: Any) -> Any:
        plan = self.plan
        W, b = plan.unpack(params)
        A, Z = self.forward(W, b, 1 if plan.bug.startswith("softmax-axis") else 0)
        dZ = self.first_dz(A, Z)
        dW, db = [0 * w for w in W], [0 * v for v in b]
        for i in reversed(range(plan.layers)):
            dW[i] = self.weight_gradient(i, dZ, A, Z) + plan.penalty(i, W[i])
            if plan.bias != "none":
                db[i] = self.bias_gradient(i, dZ) + plan.bias_penalty(i, b[i])
            if i > 0:
                dA = self.back(i, dZ, W[i], dW[i])
                if plan.keep < 1:
                    dA = plan.through_dropout(i - 1, dA, self.D[i - 1])
                dZ = dA * plan.derivative(i - 1, A, Z)
        return plan.pack(dW, db)


def build(plan: Plan) -> Functions:
    W, b = plan.weights()
    net = Columns(plan)
    return net.loss, net.grad, plan.pack([w.T.copy() for w in W], [v if v is None else v[:, None] for v in b])
