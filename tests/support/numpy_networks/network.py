"""A spec's network in plain NumPy, x (n, d), z = x W + b: its loss, and its gradient with the mistake.

The batch's mean is taken in dW and db, as in the notation of the Deep Learning Specialization.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.numpy_networks.formulas import ACTIVATION, DERIVATIVE, FROM_OUTPUT, Array, softmax
from tests.support.numpy_networks.spec import Spec

RATE = 0.5


class Network:
    def __init__(self, spec: Spec) -> None:
        self.spec, self.has = spec, spec.has
        self.x, self.t = spec.data()
        self.masks, self.rng = spec.masks(spec.generator(3)), spec.generator(4)
        self.reused: dict[tuple[str, int], Array] = {}
        self.params = spec.pack(*spec.weights())
        if self.has("accumulated/one step made before"):
            self.grad(self.params)

    def batch(self, gradient: bool) -> tuple[Array, Array, list[Array]]:
        """The call's samples, targets and masks: the same at every call, but for the mistake."""
        if self.has("not-deterministic/batch"):
            chosen = self.rng.permutation(self.spec.n)[: self.spec.n // 2]
            return self.x[chosen], self.t[chosen], self.masks
        new_masks = self.has("not-deterministic/mask") or (
            gradient and self.has("not-deterministic/gradient's mask")
        )
        return self.x, self.t, self.spec.masks(self.rng) if new_masks else self.masks

    def forward(
        self, x: Array, W: list[Array], b: list[Any], masks: list[Array], axis: int
    ) -> tuple[list[Array], list[Array]]:
        spec, a, z = self.spec, [x], []  # layer i makes a[i + 1] of z[i], and z[i] of a[i]
        for i in range(spec.layers):
            z.append(a[i] @ W[i] + b[i])
            if i == spec.layers - 1:
                a.append(softmax(z[i], axis) if spec.output == "softmax" else ACTIVATION[spec.output](z[i]))
            else:
                a.append(ACTIVATION[spec.activation(i)](z[i]))
                if spec.keep_prob < 1:
                    a[-1] = a[-1] * masks[i] / spec.keep_prob
        return a, z

    def loss(self, params: Any) -> float:
        spec, (W, b) = self.spec, self.spec.unpack(params)
        x, t, masks = self.batch(gradient=False)
        a = self.forward(x, W, b, masks, 0 if self.has("softmax-axis/both") else 1)[0][-1]
        if spec.loss == "cross-entropy":
            J = -np.sum(t * np.log(a)) / spec.n
        elif spec.loss == "binary":
            J = -np.sum(t * np.log(a) + (1 - t) * np.log(1 - a)) / spec.n
        else:
            J = np.mean((a - t) ** 2) if spec.loss == "mse" else np.sum((a - t) ** 2) / (2 * spec.n)
        J = J if spec.mean else J * spec.n
        regularized = W + b if spec.l2_biases else W
        return float(J + self.decay() / 2 * sum(np.sum(w**2) for w in regularized))

    def decay(self, wrong: bool = False) -> float:
        """What the penalty adds to the gradient of a weight w is this, times w."""
        return self.spec.l2 / self.spec.n if self.spec.l2_averaged and not wrong else self.spec.l2

    def grad(self, params: Any) -> Any:
        spec, (W, b) = self.spec, self.spec.unpack(params)
        x, t, masks = self.batch(gradient=True)
        a, z = self.forward(x, W, b, masks, 0 if spec.mistake.startswith("softmax-axis") else 1)
        delta = self.output_delta(a, z, t)
        dW, db = [0 * w for w in W], [0 * v for v in b]
        for i in reversed(range(spec.layers)):
            if self.has("mean-twice/every layer"):
                delta = delta / spec.n
            sign = -1 if self.has("sign-flipped", i) else 1
            weight_sign = -1 if self.has("sign-flipped/weights", i) else sign
            dW[i] = weight_sign * self.layer_input(i, a, z).T @ delta / self.divisor("weights", i, delta)
            dW[i] = dW[i] + (0 if self.has("l2-missing", i) else self.decay(self.has("l2-not-averaged", i)) * W[i])
            db[i] = sign * self.bias_gradient(i, delta) / self.divisor("biases", i, delta)
            if spec.l2_biases or self.has("l2-on-biases", i):
                db[i] = db[i] + self.decay() * b[i]
            if i > 0:
                delta = self.back(i, delta, W[i], dW[i], masks) * self.derivative(i - 1, a, z)
        for i in range(spec.layers):
            if self.has("params-changed", i):
                W[i] -= 0.1 * dW[i]
                b[i] -= 0.1 * db[i]
            if self.has("params-changed/decay", i):
                W[i] *= 0.98
        dW = [self.returned("weights", i, g) for i, g in enumerate(dW)]
        return spec.pack(dW, [self.returned("biases", i, g) for i, g in enumerate(db)])

    def output_delta(self, a: list[Array], z: list[Array], t: Array) -> Array:
        """dJ/dz (n, k) of the last layer, for a sum over the batch."""
        spec, p = self.spec, a[-1]
        delta = p - t
        if self.has("mean-twice"):
            delta = delta / spec.n
        if spec.loss in ("cross-entropy", "binary"):
            return -t * (1 - p) if self.has("softmax-diagonal") else delta
        if spec.loss == "mse":
            delta = 2 * delta / (1 if self.has("mse-factor/k missing") else spec.widths[-1])
        delta = delta * {"mse-factor/2 missing": 0.5, "mse-factor/2 too many": 2}.get(spec.mistake, 1)
        if self.has("output-derivative-missing"):
            return delta
        if self.has("softmax-diagonal"):
            return delta * p * (1 - p)
        if spec.output == "softmax":
            return p * (delta - np.sum(delta * p, axis=1, keepdims=True))
        return delta * self.slope(spec.layers - 1, spec.output, z[-1], p)

    def layer_input(self, i: int, a: list[Array], z: list[Array]) -> Array:
        """What dW is built of."""
        if self.has("wrong-layer-input/x", i):
            return a[0]
        if self.has("wrong-layer-input/z", i) and i > 0:
            return z[i - 1]
        if self.has("wrong-layer-input/own output", i):
            return a[i + 1]
        return a[i - 1] if self.has("wrong-layer-input/one before", i) else a[i]

    def bias_gradient(self, i: int, delta: Array) -> Array:
        if self.has("bias-not-summed", i):
            return delta
        if self.has("bias-not-summed/mean", i):
            return delta.mean(axis=0)
        if self.has("bias-not-summed/last sample", i):
            return delta[-1]
        return delta[0] if self.has("bias-not-summed/first sample", i) else delta.sum(axis=0)

    def divisor(self, kind: str, i: int, delta: Array) -> int:
        """What a gradient's sum over the batch is divided by."""
        missing = self.has("missing-batch-mean", i) or self.has(f"missing-batch-mean/{kind}", i)
        return len(delta) if self.spec.mean and not missing else 1

    def back(self, i: int, delta: Array, W: Array, dW: Array, masks: list[Array]) -> Array:
        """Through layer i's weights, and the dropout below, to the output of layer i - 1."""
        W = W - RATE * dW if self.has("updated-too-early", i) else W
        da = delta @ (W if self.has("weight-transposed", i) else W.T)
        da = -da if self.has("sign-flipped/going back", i) else da
        da = da / self.spec.n if self.has("mean-twice/going back") else da
        if self.spec.keep_prob == 1 or self.has("dropout-mask-missing", i - 1):
            return da
        if not self.has("dropout-mask-missing/scale kept", i - 1):
            da = da * masks[i - 1]
        return da if self.has("dropout-scale-missing", i - 1) else da / self.spec.keep_prob

    def derivative(self, layer: int, a: list[Array], z: list[Array]) -> Array | float:
        """f' of a hidden layer, which made a[layer + 1] of z[layer]."""
        if self.has("activation-derivative-missing", layer):
            return 1.0
        shift = {"wrong-layer-derivative/before": -1, "wrong-layer-derivative/after": 1}.get(self.spec.mistake, 0)
        at = layer + shift if self.has(self.spec.mistake, layer) else layer
        return self.slope(layer, self.spec.activation(layer), z[at], a[layer + 1])

    def slope(self, layer: int, activation: str, z: Array, a: Array) -> Array:
        """f'(z), or what is used in its place."""
        if self.has("activation-derivative-at-a", layer):
            return DERIVATIVE[activation](a)
        mistake, _, other = self.spec.mistake.partition("/")
        if mistake == "wrong-activation-derivative" and self.has(self.spec.mistake, layer):
            return FROM_OUTPUT[other](a) if other in FROM_OUTPUT else DERIVATIVE[other](z)
        return DERIVATIVE[activation](z)

    def returned(self, kind: str, i: int, g: Array) -> Array:
        """The gradient, in an array of its own or, as a layer object does, in the same one at every call."""
        variants = ("accumulated", f"accumulated/{kind}", "accumulated/copies", "accumulated/one step made before")
        accumulates = any(self.has(mistake, i) for mistake in variants)
        if not accumulates and self.spec.style != "layers":
            return g
        total = self.reused.setdefault((kind, i), np.zeros_like(g))
        total[...] = total + g if accumulates else g
        return total.copy() if self.has("accumulated/copies") else total
