"""The table of losses that tests go through, one row each, and how a row is run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from backends import Backend
from nnbackprop.nn.losses import (
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Pinball,
    PoissonNLL,
    SigmoidBinaryCrossEntropy,
    SoftmaxCrossEntropy,
)

N, K = 5, 4
ln = math.log


class Row(NamedTuple):
    loss: Any
    torch: Callable[..., Any]
    """J of (torch.nn.functional, y, t), in PyTorch's own words."""
    jax: Callable[..., Any]
    facts: tuple[tuple[list[float], Any, float], ...]
    """One sample's outputs, its target and J, worked out on paper."""

    def by(self, judge: str, library: Any, y: Any, t: np.ndarray) -> Any:
        """J as the judge has it, `y` being an array of its library."""
        if judge == "jax":
            return self.jax(library, y, t)
        return self.torch(library.nn.functional, y, library.tensor(t))


def jax_cross_entropy(jax: Any, y: Any, t: Any, s: float) -> Any:
    q = (1 - s) * jax.nn.one_hot(t, y.shape[1], dtype=y.dtype) + s / y.shape[1]
    return -jax.numpy.mean(jax.numpy.sum(q * jax.nn.log_softmax(y, axis=1), axis=1))


def jax_binary(jax: Any, y: Any, t: Any, s: float) -> Any:
    q = (1 - s) * t + s / 2
    return -jax.numpy.sum(q * jax.nn.log_sigmoid(y) + (1 - q) * jax.nn.log_sigmoid(-y)) / y.shape[0]


def jax_huber(jax: Any, y: Any, t: Any, delta: float) -> Any:
    e = jax.numpy.abs(y - t)
    return jax.numpy.mean(jax.numpy.where(e <= delta, e * e / 2, delta * (e - delta / 2)))


def torch_pinball(y: Any, t: Any, q: float) -> Any:
    return (q * (t - y)).maximum((q - 1) * (t - y)).mean()


def jax_pinball(jax: Any, y: Any, t: Any, q: float) -> Any:
    return jax.numpy.mean(jax.numpy.maximum(q * (t - y), (q - 1) * (t - y)))


ROWS = [
    Row(
        MeanSquaredError("half-sum"),
        lambda torch, y, t: 0.5 * torch.mse_loss(y, t, reduction="sum") / y.shape[0],
        lambda jax, y, t: 0.5 * jax.numpy.mean(jax.numpy.sum((y - t) ** 2, axis=1)),
        (([1, 2, 2], [0, 0, 0], 4.5), ([1, 2], [1, 2], 0)),
    ),
    Row(
        MeanSquaredError("mean"),
        lambda torch, y, t: torch.mse_loss(y, t),
        lambda jax, y, t: jax.numpy.mean((y - t) ** 2),
        (([1, 2, 2], [0, 0, 0], 3), ([1, 2], [1, 2], 0)),
    ),
    Row(
        MeanAbsoluteError(),
        lambda torch, y, t: torch.l1_loss(y, t),
        lambda jax, y, t: jax.numpy.mean(jax.numpy.abs(y - t)),
        (([1, -2, 3], [0, 0, 0], 2), ([1, 2], [1, 2], 0)),
    ),
    Row(
        Huber(),
        lambda torch, y, t: torch.huber_loss(y, t),
        lambda jax, y, t: jax_huber(jax, y, t, 1),
        (([0.5, -3], [0, 0], (0.125 + 2.5) / 2), ([1, 2], [1, 2], 0)),
    ),
    Row(
        Huber(delta=0.25),
        lambda torch, y, t: torch.huber_loss(y, t, delta=0.25),
        lambda jax, y, t: jax_huber(jax, y, t, 0.25),
        (([0.25], [0], 0.03125), ([4.125], [0], 1)),
    ),
    Row(
        PoissonNLL(),
        lambda torch, y, t: torch.poisson_nll_loss(y, t, log_input=True, full=False),
        lambda jax, y, t: jax.numpy.mean(jax.numpy.exp(y) - t * y),
        (([0, 0], [0, 7], 1), ([ln(2)], [3], 2 - 3 * ln(2))),
    ),
    Row(
        Pinball(),
        lambda torch, y, t: 0.5 * torch.l1_loss(y, t),
        lambda jax, y, t: jax_pinball(jax, y, t, 0.5),
        (([1, -2, 3], [0, 0, 0], 1), ([1, 2], [1, 2], 0)),
    ),
    Row(
        Pinball(quantile=0.875),
        lambda torch, y, t: torch_pinball(y, t, 0.875),
        lambda jax, y, t: jax_pinball(jax, y, t, 0.875),
        (([1], [0], 0.125), ([0], [1], 0.875), ([4, -4], [0, 0], 2)),
    ),
    Row(
        SoftmaxCrossEntropy(),
        lambda torch, y, t: torch.cross_entropy(y, t.long()),
        lambda jax, y, t: jax_cross_entropy(jax, y, t, 0),
        (([0, 0, 0], 1, ln(3)), ([ln(1), ln(2), ln(3)], 2, ln(2))),
    ),
    Row(
        SoftmaxCrossEntropy(label_smoothing=0.1),
        lambda torch, y, t: torch.cross_entropy(y, t.long(), label_smoothing=0.1),
        lambda jax, y, t: jax_cross_entropy(jax, y, t, 0.1),
        (([0, 0, 0], 1, ln(3)), ([0, ln(3)], 1, ln(4) - 0.95 * ln(3))),
    ),
    Row(
        SigmoidBinaryCrossEntropy(),
        lambda torch, y, t: torch.binary_cross_entropy_with_logits(y, t, reduction="sum") / y.shape[0],
        lambda jax, y, t: jax_binary(jax, y, t, 0),
        (([0, 0], [0, 1], 2 * ln(2)), ([ln(3), ln(3)], [1, 0], ln(4 / 3) + ln(4))),
    ),
    Row(
        SigmoidBinaryCrossEntropy(label_smoothing=0.2),
        lambda torch, y, t: torch.binary_cross_entropy_with_logits(y, 0.8 * t + 0.1, reduction="sum") / y.shape[0],
        lambda jax, y, t: jax_binary(jax, y, t, 0.2),
        (([0, 0], [0, 1], 2 * ln(2)), ([ln(3)], [1], ln(4) - 0.9 * ln(3))),
    ),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=[str(row.loss) for row in ROWS])


def example(loss: Loss, dtype: str = "float64", n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Outputs y (n, K) and targets: labels (n,), or numbers (n, K) in 0..1."""
    rng = np.random.default_rng(13)
    y = 2 * rng.standard_normal((n, K)).astype(dtype)
    return y, rng.integers(0, K, n).astype(np.int32) if loss.takes_labels else rng.random((n, K)).astype(dtype)


WEIGHTS = np.array([0.5, 0, 2, 1, 0.25])
"""Of the N samples of an example."""


def run(backend: Backend, loss: Loss, y: Any, t: Any, weights: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """J and dy as NumPy arrays."""
    arrays = [None if a is None else backend.asarray(np.asarray(a)) for a in (y, t, weights)]
    return tuple(map(backend.to_numpy, loss(backend.xp, *arrays)))  # type: ignore[arg-type,return-value]
