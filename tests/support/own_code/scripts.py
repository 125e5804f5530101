"""Scripts as they go round, each a network of its own: of a course's notes, of a book, of a blog, and XOR."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.own_code.formulas import Array, sigmoid
from tests.support.own_code.plan import Functions, Plan


def notes(plan: Plan) -> Functions:
    """Two layers with ReLU and integer labels, in the manner of CS231n: the loss has reg * sum(W * W)."""
    X, one_hot = plan.data()
    y, N, reg = one_hot.argmax(axis=1), plan.n, plan.l2
    (W1, W2), (b1, b2) = plan.weights()
    has = plan.has

    def scores(p: Any, axis: int = 1) -> tuple[Array, Array]:
        hidden = np.maximum(0, X @ p["W1"] + p["b1"])
        out = hidden @ p["W2"] + p["b2"]
        exp = np.exp(out - out.max(axis=axis, keepdims=True))
        return hidden, exp / exp.sum(axis=axis, keepdims=True)

    def loss(p: Any) -> float:
        _, probs = scores(p)
        return float(-np.log(probs[range(N), y]).mean() + reg * (np.sum(p["W1"] ** 2) + np.sum(p["W2"] ** 2)))

    def grad(p: Any) -> Any:
        hidden, probs = scores(p, axis=0 if has("softmax-axis/gradient") else 1)
        dscores = probs.copy()
        dscores[range(N), y] -= 1
        if has("softmax-diagonal"):
            dscores[one_hot == 0] = 0
        if not has("missing-batch-mean"):
            dscores /= N
        g = {"W2": hidden.T @ dscores, "b2": dscores.sum(axis=0)}
        if has("bias-not-summed", 1):
            g["b2"] = dscores
        W2 = p["W2"] - 0.5 * g["W2"] if has("updated-too-early") else p["W2"]
        dhidden = dscores @ (W2 if has("weight-transposed", 1) else W2.T)
        if not has("activation-derivative-missing"):
            dhidden[hidden <= 0] = 0
        g |= {
            "W1": (hidden if has("wrong-layer-input/own output", 0) else X).T @ dhidden,
            "b1": dhidden.sum(axis=0),
        }
        if has("bias-not-summed", 0):
            g["b1"] = dhidden
        for i, name in enumerate(("W1", "W2")):
            g[name] += 0 if has("l2-missing", i) else 2 * reg * p[name]
        if has("l2-on-biases"):
            g["b1"] += 2 * reg * p["b1"]
            g["b2"] += 2 * reg * p["b2"]
        if has("sign-flipped"):
            return {name: -v for name, v in g.items()}
        return {name: g[name] for name in p}

    return loss, grad, {"W1": W1, "b1": b1, "W2": W2, "b2": b2}


class NielsenNetwork:
    """Sigmoids and the quadratic cost, sample by sample, as in Nielsen's book: [weights..., biases...], (k, 1)."""

    def __init__(self, plan: Plan) -> None:
        inputs, targets = plan.data()
        self.plan, self.has, self.L = plan, plan.has, plan.layers
        self.pairs = [(x[:, None], y[:, None]) for x, y in zip(inputs, targets, strict=True)]
        self.kept: list[Array] = []

    def prime(self, z: Array) -> Array:
        return sigmoid(z) * (1 - sigmoid(z))

    def feedforward(self, params: Any, x: Array) -> tuple[list[Array], list[Array]]:
        activations, zs = [x], []
        for w, b in zip(params[: self.L], params[self.L :], strict=True):
            zs.append(w @ activations[-1] + b)
            activations.append(sigmoid(zs[-1]))
        return activations, zs

    def loss(self, params: Any) -> float:
        total = sum(np.sum((self.feedforward(params, x)[0][-1] - y) ** 2) for x, y in self.pairs)
        return float(0.5 * total / (len(self.pairs) if self.plan.mean else 1))

    def backprop(self, params: Any, x: Array, y: Array) -> list[Array]:
        activations, zs = self.feedforward(params, x)
        delta = activations[-1] - y
        delta = -delta if self.has("sign-flipped") else delta
        at = activations if self.has("activation-derivative-at-a") else zs
        delta = delta if self.has("output-derivative-missing") else delta * self.prime(at[-1])
        nabla_w, nabla_b = [delta @ activations[-2].T], [delta]
        for i in range(2, self.L + 1):
            z = at[-i + 1] if self.has("wrong-layer-derivative/after") else at[-i]
            slope = 1 if self.has("activation-derivative-missing") else self.prime(z)
            delta = (params[self.L - i + 1].T @ delta) * slope
            below = activations[-i] if self.has("wrong-layer-input/own output") else activations[-i - 1]
            nabla_w, nabla_b = [delta @ below.T, *nabla_w], [delta, *nabla_b]
        return nabla_w + nabla_b

    def grad(self, params: Any) -> Any:
        nabla = [np.zeros_like(p) for p in params]
        if self.has("accumulated") and self.kept:
            nabla = self.kept
        for x, y in self.pairs:
            for i, g in enumerate(self.backprop(params, x, y)):
                last_only = self.has("bias-not-summed/last sample") and i >= self.L
                nabla[i] = g if last_only else nabla[i] + g
        self.kept = nabla
        divisor = len(self.pairs) if self.plan.mean and not self.has("missing-batch-mean") else 1
        return [g / divisor for g in nabla]


def book(plan: Plan) -> Functions:
    W, b = plan.weights()
    net = NielsenNetwork(plan)
    return net.loss, net.grad, [w.T.copy() for w in W] + [v[:, None] for v in b if v is not None]


def blog(plan: Plan) -> Functions:
    """A truth table, weights without biases and a sum of squares, as in the networks of eleven lines."""
    X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 0]]) * 1.0
    y = np.array([[0, 1, 1, 0, 1]]).T * 1.0
    syn0, syn1 = plan.weights()[0]
    has = plan.has

    def forward(params: Any) -> tuple[Array, Array]:
        l1 = sigmoid(X @ params[0])
        return l1, sigmoid(l1 @ params[1])

    def loss(params: Any) -> float:
        return float(0.5 * np.sum((y - forward(params)[1]) ** 2))

    def deriv(out: Array) -> Array:
        """Of the sigmoid, from its output."""
        if has("wrong-activation-derivative/1-a^2"):
            return 1 - out**2
        return sigmoid(out) * (1 - sigmoid(out)) if has("activation-derivative-at-a") else out * (1 - out)

    def grad(params: Any) -> Any:
        l1, l2 = forward(params)
        l2_error = y - l2 if has("sign-flipped") else l2 - y
        l2_delta = l2_error if has("output-derivative-missing") else l2_error * deriv(l2)
        l1_error = l2_delta @ params[1].T
        l1_delta = l1_error if has("activation-derivative-missing") else l1_error * deriv(l1)
        if has("params-changed"):
            g = [X.T @ l1_delta, l1.T @ l2_delta]
            params[0] -= g[0]
            params[1] -= g[1]
            return g
        return [X.T @ l1_delta, l1.T @ l2_delta]

    return loss, grad, [syn0, syn1]


def xor(plan: Plan) -> Functions:
    """XOR with ReLU at a first step: the biases are zero, so the input (0, 0) puts every z on ReLU's kink."""
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * 1.0, np.array([[0, 1, 1, 0]]).T * 1.0
    (W1, W2), (b1, b2) = plan.weights()

    def loss(p: Any) -> float:
        out = sigmoid(np.maximum(X @ p["W1"] + p["b1"], 0) @ p["W2"] + p["b2"])
        return float(-np.mean(y * np.log(out) + (1 - y) * np.log(1 - out)))

    def grad(p: Any) -> Any:
        z = X @ p["W1"] + p["b1"]
        h = np.maximum(z, 0)
        dz2 = (sigmoid(h @ p["W2"] + p["b2"]) - y) / len(X)
        dz1 = dz2 @ p["W2"].T * (z > 0)
        return {"W1": X.T @ dz1, "b1": dz1.sum(axis=0), "W2": h.T @ dz2, "b2": dz2.sum(axis=0)}

    return loss, grad, {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
