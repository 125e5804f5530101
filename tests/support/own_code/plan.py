"""What a network here is: sizes, formulas, data, and the one mistake planted in its gradient."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.own_code.formulas import ACTIVATION, DERIVATIVE, FROM_OUTPUT, Array, softmax

Params = dict[str, Array] | list[Array]
Functions = tuple[Callable[[Any], float], Callable[[Any], Any], Params]
"""loss_fn, grad_fn and the parameters."""


@dataclass(frozen=True)
class Plan:
    """A network and its data. `bug` is "" or "id" or "id/variant"; `at` the layers that have it, all if empty."""

    style: str = "rows"
    widths: tuple[int, ...] = (4, 6, 3)
    hidden: str = "tanh"
    """The hidden layers' activations, repeated if there are fewer than layers."""
    output: str = "softmax"
    loss: str = "cross-entropy"
    """cross-entropy (of softmax), binary (the same of sigmoids), mse (mean of all), half (1/2 mean of sums)."""
    n: int = 8
    mean: bool = True
    """Whether the loss is the batch's mean; if not, its sum."""
    l2: float = 0.0
    l2_averaged: bool = False
    """Whether the penalty is l2/(2n) sum w^2; if not, l2/2 sum w^2."""
    l2_biases: bool = False
    keep: float = 1.0
    bias: str = "(k,)"
    """(k,), (1,k) or none; samples in columns have (k,1) in any case."""
    zero_bias: bool = False
    form: str = "dict"
    """dict (W1, b1 ...), names (weights_ih ...), list (W1, b1 ...) or weights-first (W1, W2 ... b1, b2 ...)."""
    gain: float = 1.2
    bug: str = ""
    at: tuple[int, ...] = ()

    @property
    def layers(self) -> int:
        return len(self.widths) - 1

    def name(self) -> str:
        sizes = "-".join(map(str, self.widths))
        options = [self.hidden] if self.layers > 1 else []
        options += [f"{self.output} {self.loss}", f"n={self.n}", self.form, f"biases {self.bias}"]
        options += ["summed"] if not self.mean else []
        options += ["zero biases"] if self.zero_bias else []
        options += [f"L2 {self.l2}" + "/n" * self.l2_averaged + " biases too" * self.l2_biases] if self.l2 else []
        options += [f"dropout {self.keep}"] if self.keep < 1 else []
        options += [f"gain {self.gain}"] if self.gain != 1.2 else []
        return f"{self.variant() or 'right'}: {self.style} {sizes} " + ", ".join(options)

    def variant(self) -> str:
        """The mistake with its variant and its place."""
        return self.bug + (f" in layer {', '.join(str(i + 1) for i in self.at)}" if self.at else "")

    def has(self, bug: str, layer: int | None = None) -> bool:
        return self.bug == bug and (layer is None or not self.at or layer in self.at)

    def activation(self, layer: int) -> str:
        names = self.hidden.split()
        return names[layer % len(names)]

    def generator(self, salt: int = 0) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=zlib.crc32(self.name().encode()) + salt))

    def data(self) -> tuple[Array, Array]:
        """Inputs (n, d) and targets (n, k)."""
        rng = self.generator(1)
        x, k = rng.standard_normal((self.n, self.widths[0])), self.widths[-1]
        if self.output == "softmax":
            return x, np.eye(k)[rng.integers(0, k, self.n)]
        if self.loss == "binary":
            return x, rng.integers(0, 2, (self.n, k)) * 1.0
        spread = {"sigmoid": (0, 1), "tanh": (-1, 1)}.get(self.output, (-2, 2))
        return x, rng.uniform(*spread, (self.n, k))

    def weights(self) -> tuple[list[Array], list[Array | None]]:
        """W (in, out) and b (out,) of each layer."""
        rng = self.generator(2)
        pairs = list(zip(self.widths[:-1], self.widths[1:], strict=True))
        W = [self.gain * rng.standard_normal(pair) / np.sqrt(pair[0]) for pair in pairs]
        b = [0.4 * rng.standard_normal(k) * (not self.zero_bias) for _, k in pairs]
        return W, [None] * self.layers if self.bias == "none" else b

    def masks(self, rng: np.random.Generator) -> list[Array]:
        """Of the hidden layers' outputs, (n, width) of 0 and 1."""
        return [(rng.random((self.n, width)) < self.keep) * 1.0 for width in self.widths[1:-1]]

    def keys(self) -> list[tuple[Any, Any]]:
        """Under what each layer's W and b stand in the parameters."""
        L = self.layers
        if self.form == "names":
            ends = ["".join(pair) for pair in zip("i" + "h" * (L - 1), "h" * (L - 1) + "o", strict=True)]
            numbered = [f"{end}{i if end == 'hh' else ''}" for i, end in enumerate(ends)]
            return [(f"weights_{end}", f"bias_{end}") for end in numbered]
        if self.form == "dict":
            return [(f"W{i}", f"b{i}") for i in range(1, L + 1)]
        if self.form == "weights-first" or self.bias == "none":
            return [(i, L + i) for i in range(L)]
        return [(2 * i, 2 * i + 1) for i in range(L)]

    def pack(self, W: list[Array], b: list[Any]) -> Params:
        """The layers' arrays as a dictionary, or as a list."""
        pairs = list(zip(self.keys(), W, b, strict=True))
        found = {key[0]: w for key, w, _ in pairs}
        if self.bias != "none":
            found |= {key[1]: v for key, _, v in pairs}
        if self.form in ("list", "weights-first"):
            return [found[i] for i in range(len(found))]
        return found

    def unpack(self, params: Any) -> tuple[list[Array], list[Any]]:
        keys = self.keys()
        b = [0.0] * self.layers if self.bias == "none" else [params[key] for _, key in keys]
        return [params[key] for key, _ in keys], b

    def outputs(self, z: Array, axis: int) -> Array:
        return softmax(z, axis) if self.output == "softmax" else ACTIVATION[self.output](z)

    def objective(self, a: Array, t: Array, W: list[Array], b: list[Any]) -> float:
        """The function that is trained; a and t (n, k) or (k, n)."""
        if self.loss == "cross-entropy":
            J = -np.sum(t * np.log(a)) / self.n
        elif self.loss == "binary":
            J = -np.sum(t * np.log(a) + (1 - t) * np.log(1 - a)) / self.n
        elif self.loss == "mse":
            J = np.mean((a - t) ** 2)
        else:
            J = np.sum((a - t) ** 2) / (2 * self.n)
        J = J if self.mean else J * self.n
        penalised = W + b if self.l2_biases else W
        return float(J + self.decay(False) / 2 * sum(np.sum(w**2) for w in penalised))

    def decay(self, mistaken: bool) -> float:
        """What the penalty adds to the gradient of a weight w is this, times w."""
        return self.l2 / self.n if self.l2_averaged and not mistaken else self.l2

    def penalty(self, layer: int, w: Array) -> Array:
        """The penalty's gradient of weights w."""
        if self.has("l2-missing", layer):
            return 0 * w
        return self.decay(self.has("l2-not-averaged", layer)) * w

    def bias_penalty(self, layer: int, b: Array) -> Array | float:
        """The penalty's gradient of biases b."""
        if self.l2_biases or self.has("l2-on-biases", layer):
            return self.decay(False) * b
        return 0.0

    def output_delta(self, z: Array, a: Array, t: Array, axis: int) -> Array:
        """dJ/dz of the last layer, for a sum over the batch; the outputs lie along `axis`."""
        if self.has("softmax-diagonal") and self.loss == "cross-entropy":
            return -t / a * a * (1 - a)
        if self.loss in ("cross-entropy", "binary"):
            return a - t
        da = a - t
        if self.loss == "mse":
            da = 2 * da / (1 if self.has("mse-factor/k missing") else self.widths[-1])
        if self.has("mse-factor/2 missing"):
            da = da / 2
        if self.has("mse-factor/2 too many"):
            da = 2 * da
        if self.has("output-derivative-missing"):
            return da
        if self.has("softmax-diagonal"):
            return da * a * (1 - a)
        if self.output == "softmax":
            return a * (da - np.sum(da * a, axis=axis, keepdims=True))
        return da * DERIVATIVE[self.output](z)

    def derivative(self, layer: int, a: list[Array], z: list[Array]) -> Array | float:
        """f' of a hidden layer, which made a[layer + 1] of z[layer]."""
        f = DERIVATIVE[self.activation(layer)]
        if self.has("activation-derivative-missing", layer):
            return 1.0
        if self.has("activation-derivative-at-a", layer):
            return f(a[layer + 1])
        if self.has("wrong-layer-derivative/before", layer):
            return f(z[layer - 1])
        if self.has("wrong-layer-derivative/after", layer):
            return f(z[layer + 1])
        bug, _, other = self.bug.partition("/")
        if bug == "wrong-activation-derivative" and self.has(self.bug, layer):
            return FROM_OUTPUT[other](a[layer + 1]) if other in FROM_OUTPUT else DERIVATIVE[other](z[layer])
        return f(z[layer])

    def through_dropout(self, layer: int, da: Array, mask: Array) -> Array:
        """Back through inverted dropout, a * mask / keep."""
        if self.has("dropout-mask-missing", layer):
            return da
        if self.has("dropout-mask-missing/scale kept", layer):
            return da / self.keep
        if self.has("dropout-scale-missing", layer):
            return da * mask
        return da * mask / self.keep
