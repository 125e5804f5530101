"""What a network here is: sizes, formulas, data, and the mistake in its gradient."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.numpy_networks.formulas import Array

Params = dict[str, Array] | list[Array]


@dataclass(frozen=True)
class Spec:
    """A network and its data. `mistake` is "", "id" or "id/variant"; `at` its layers, all if empty."""

    style: str = "rows"
    """columns and book: samples in columns, W (out, in), b (k, 1); the others: in rows, W (in, out). layers: the
    gradients are the same arrays at every call; xor: the truth table."""
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
    keep_prob: float = 1.0
    bias: str = "(k,)"
    """(k,), (1,k), first column (of W) or none; samples in columns have (k,1) in any case."""
    zero_bias: bool = False
    form: str = "dict"
    """dict (W1, b1 ...), names (weights_ih ...), list (W1, b1 ...) or weights-first (W1, W2 ... b1, b2 ...)."""
    gain: float = 1.2
    mistake: str = ""
    at: tuple[int, ...] = ()

    @property
    def layers(self) -> int:
        return len(self.widths) - 1

    @property
    def columns(self) -> bool:
        """Whether samples are columns, with W (out, in)."""
        return self.style in ("columns", "book")

    def name(self) -> str:
        sizes = "-".join(map(str, self.widths))
        options = [self.hidden] if self.layers > 1 else []
        options += [f"{self.output} {self.loss}", f"n={self.n}", self.form, f"biases {self.bias}"]
        options += ["summed"] if not self.mean else []
        options += ["zero biases"] if self.zero_bias else []
        options += [f"L2 {self.l2}" + "/n" * self.l2_averaged + " biases too" * self.l2_biases] if self.l2 else []
        options += [f"dropout {self.keep_prob}"] if self.keep_prob < 1 else []
        options += [f"gain {self.gain}"] if self.gain != 1.2 else []
        return f"{self.variant() or 'right'}: {self.style} {sizes} " + ", ".join(options)

    @property
    def expected(self) -> str:
        """The id of the mistake in gradcheck's catalogue."""
        return self.mistake.split("/")[0]

    def variant(self) -> str:
        """The mistake with its variant and its place."""
        return self.mistake + (f" in layer {', '.join(str(i + 1) for i in self.at)}" if self.at else "")

    def has(self, mistake: str, layer: int | None = None) -> bool:
        return self.mistake == mistake and (layer is None or not self.at or layer in self.at)

    def activation(self, layer: int) -> str:
        names = self.hidden.split()
        return names[layer % len(names)]

    def generator(self, salt: int = 0) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=zlib.crc32(self.name().encode()) + salt))

    def data(self) -> tuple[Array, Array]:
        """Inputs (n, d) and targets (n, k)."""
        if self.style == "xor":  # zero biases and the input (0, 0) put every z of the first layer on ReLU's kink
            return np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * 1.0, np.array([[0, 1, 1, 0]]).T * 1.0
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
        return [(rng.random((self.n, width)) < self.keep_prob) * 1.0 for width in self.widths[1:-1]]

    def keys(self) -> list[tuple[Any, Any]]:
        """Under what each layer's W and b stand in the parameters."""
        L = self.layers
        if self.form == "names":
            ends = ["".join(pair) for pair in zip("i" + "h" * (L - 1), "h" * (L - 1) + "o", strict=True)]
            numbered = [f"{end}{i if end == 'hh' else ''}" for i, end in enumerate(ends)]
            return [(f"weights_{end}", f"bias_{end}") for end in numbered]
        if self.form == "dict":
            return [(f"Theta{i}" if self.bias == "first column" else f"W{i}", f"b{i}") for i in range(1, L + 1)]
        if self.form == "weights-first" or self.bias in ("none", "first column"):
            return [(i, L + i) for i in range(L)]
        return [(2 * i, 2 * i + 1) for i in range(L)]

    def pack(self, W: list[Array], b: list[Any]) -> Params:
        """W (in, out) and b (out,), or gradients of b (n, out) that are not summed, in the spec's form."""
        found: dict[Any, Array] = {}
        for (W_key, b_key), w, v in zip(self.keys(), W, b, strict=True):
            found[W_key] = w.T if self.columns else w
            if self.bias == "first column":
                found[W_key] = np.column_stack([v, w.T])
            elif self.bias != "none":
                column, row = v.T if v.ndim == 2 else v[:, None], v if v.ndim == 2 else v[None, :]
                found[b_key] = column if self.columns else row if self.bias == "(1,k)" else v
        return [found[i] for i in range(len(found))] if 0 in found else found

    def unpack(self, params: Any) -> tuple[list[Array], list[Any]]:
        """The layers' W (in, out) and b (out,), views of the parameters."""
        W, keys = [params[key] for key, _ in self.keys()], self.keys()
        if self.bias == "first column":
            return [theta[:, 1:].T for theta in W], [theta[:, 0] for theta in W]
        b = [0.0] * self.layers if self.bias == "none" else [params[key].reshape(-1) for _, key in keys]
        return [w.T if self.columns else w for w in W], b
