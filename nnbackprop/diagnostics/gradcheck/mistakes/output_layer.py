"""Experiment on the last layer: with its W at zero every sample's outputs are its biases c.

The mean gradient of the biases is then D(c) (s p(c) - q): p the output activation, D its derivative (1 where it
cancels with the loss), s the loss's factor and q = s times the mean target. It is linear in s and q, which a few c
determine, and a loss of another kind does not fit. Each mistake is a formula in the same s, q and p.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backends import select
from nnbackprop.diagnostics.gradcheck.central_differences import derivatives
from nnbackprop.nn.layers import ACTIVATIONS, Activation

from .catalogue import Guess
from .evidence import Case, norm

FITS = 1e-5
ROUNDS = 6
MOST_OUTPUTS = 100


@dataclass(frozen=True, eq=False)
class LossModel:
    """A loss and its output activation: p (rounds, k) outputs at c (rounds, k), q (k,) and s."""

    name: str
    squared: bool
    activation: str
    s: float
    q: np.ndarray
    p: np.ndarray


def bias_gradients(
    case: Case, layer: int, point: dict[str, np.ndarray], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Analytic and numerical gradient (units,) of the first biases of a layer at `point`."""
    dense = case.layers[layer]
    zeros = {name: np.zeros_like(a) for name, a in point.items()}
    units, name = len(dense.bias(point)), dense.b or dense.W
    directions = [dense.with_bias(zeros, np.eye(1, units, j)[0])[name] for j in range(min(most, units))]
    numerical = derivatives(case.value, point, name, directions, 1e-4).values
    return dense.bias(case.gradients(point))[:most], numerical


def output_curves(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Outputs c (rounds, k) with the last biases' analytic and numerical gradients there; None without biases."""
    if not case.layers or not case.layers[-1].biased:
        return None
    last, rng = case.layers[-1], np.random.Generator(np.random.Philox(key=7))
    k = last.weight(case.point).shape[1]
    if k > MOST_OUTPUTS:
        return None
    cs, without_W = rng.standard_normal((ROUNDS, k)), last.with_weight(case.point, 0.0)
    rows = [bias_gradients(case, len(case.layers) - 1, last.with_bias(without_W, c), k) for c in cs]
    analytic, numerical = (np.array(column) for column in zip(*rows, strict=True))
    return cs, analytic, numerical


def loss_of(case: Case) -> LossModel | None:
    """The loss, as far as the last biases tell."""
    curves = output_curves(case)
    return fit_loss(curves[0], curves[2]) if curves else None


def fit_loss(c: np.ndarray, numerical: np.ndarray) -> LossModel | None:
    """The first usual loss whose gradient (rounds, k) at outputs c (rounds, k) is `numerical`."""
    usual = [
        ("softmax with cross-entropy", False, "softmax"),
        ("sigmoid with binary cross-entropy", False, "sigmoid"),
        ("squared error on softmax", True, "softmax"),
        *((f"squared error on {name}", True, name) for name in ELEMENTWISE),
    ]
    for name, squared, activation in usual:
        p = softmax(c) if activation == "softmax" else output(ELEMENTWISE[activation], c)
        D = _jacobian(activation, c) if squared else None
        fitted = _fit(numerical, p, D, sum_to_one=activation == "softmax")
        if fitted and abs(fitted[0]) > FITS * norm(numerical):
            return LossModel(name, squared, activation, *fitted, p)
    return None


def _fit(
    gradient: np.ndarray, p: np.ndarray, D: np.ndarray | None = None, sum_to_one: bool = False
) -> tuple[float, np.ndarray] | None:
    """The (s, q) of gradient = D (s p - q), where they fit; D is 1 unless given.

    Targets of a softmax sum to 1, which its Jacobian does not tell: sum q = s.
    """
    rounds, k = p.shape
    D = np.stack([np.eye(k)] * rounds) if D is None else D
    columns = np.concatenate([np.einsum("rij,rj->ri", D, p)[..., None], -D], axis=2).reshape(-1, 1 + k)
    wanted = gradient.reshape(-1)
    if not np.isfinite(wanted).all():
        return None
    if sum_to_one:
        columns, wanted = np.vstack([columns, [-1.0, *np.ones(k)]]), np.append(wanted, 0.0)
    s, *q = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    return (float(s), np.array(q)) if norm(columns @ [s, *q] - wanted) <= FITS * norm(wanted) else None


def output_layer(case: Case) -> Guess | None:
    """The last layer's own gradients are wrong: what was taken for the derivative of loss and output?"""
    top = len(case.layers) - 1
    W, b = case.part(top, "W"), case.part(top, "b")
    curves = output_curves(case)
    if curves is None or W is None or W.good or (b is not None and b.good):
        return None
    c, analytic, numerical = curves
    if norm(numerical) < 1e-4 * norm(analytic):
        return Guess(
            "softmax-axis", "With equal outputs for all samples the loss does not move with the last biases."
        )
    model = fit_loss(c, numerical)
    if model is None:
        p = output(ELEMENTWISE["sigmoid"], c)
        targets = numerical / (1 - p)
        if norm(targets - targets.mean(axis=0)) <= FITS * norm(targets) and _fit(analytic, p):
            return Guess(
                "cross-entropy-half", "The loss behaves as -t log p alone; the analytic gradient is p - t."
            )
        return None
    for id, formula, expected in _mistaken(model, c):
        if norm(analytic - expected) <= FITS * norm(analytic):
            return Guess(id, f"The loss behaves as {model.name}; the analytic gradient is {formula}.")
    return None if model.squared else _other_targets(model, analytic)


def _mistaken(model: LossModel, c: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """What people take for dJ/dz: the mistake's id, the formula, and the gradient it gives."""
    s, q, p = model.s, model.q, model.p
    delta = s * p - q
    if not model.squared:
        half = "softmax-diagonal" if model.activation == "softmax" else "cross-entropy-half"
        yield half, "-t (1 - p)", -q * (1 - p)
        yield "output-derivative-extra", "(p - t) p (1 - p)", delta * p * (1 - p)
        yield "output-derivative-missing", "-t / p, without dp/dz", -q / p
        yield "output-derivative-missing", "(p - t) / (p (1 - p)), without dp/dz", delta / (p * (1 - p))
        return
    yield "output-derivative-missing", "a - t", delta
    if model.activation == "softmax":
        yield "softmax-diagonal", "(p - t) p (1 - p)", delta * p * (1 - p)
        return
    last = ELEMENTWISE[model.activation]
    yield "activation-derivative-at-a", f"(a - t) {model.activation}'(a)", delta * slope(last, p)
    yield "wrong-activation-derivative", "(a - t) f'(z)^2", delta * slope(last, c) ** 2
    yield "wrong-activation-derivative", "(a - t) (1 - a^2)", delta * (1 - p * p)
    yield "wrong-activation-derivative", "(a - t) a (1 - a)", delta * p * (1 - p)
    for name, other in ELEMENTWISE.items():
        yield "wrong-activation-derivative", f"(a - t) {name}'(z)", delta * slope(other, c)


def _other_targets(model: LossModel, analytic: np.ndarray) -> Guess | None:
    """analytic = s' p - q' with another s' or q' than the loss: other targets, weights, or another softmax."""
    fitted = _fit(analytic, model.p)
    if fitted is None:
        return None
    (s, q), k = fitted, len(model.q)
    shift = q - model.q
    if abs(s - model.s) <= FITS * abs(s) and norm(shift) <= FITS * norm(q):
        return None  # right where all outputs are equal
    if model.activation == "softmax" and k > 1 and abs(s - model.s) > FITS and np.ptp(shift) <= FITS * norm(q):
        return Guess(
            "softmax-axis", f"The analytic gradient is p - t with p too small, by {s / model.s:.6g} times."
        )
    targets = f"mean targets are {_numbers(model.q / model.s)} in the loss and "
    if abs(s) > FITS and np.abs(q / s - np.round(q / s)).max() <= FITS:
        return Guess("wrong-targets", f"{targets}{_numbers(q / s)} in the gradient: whole columns get the 1.")
    weighted = abs(s - model.s) > FITS * abs(s) and (model.activation != "softmax" or abs(q.sum() - s) < FITS * s)
    if weighted:
        words = f"{targets}{_numbers(q / s)} in the gradient, and the weights {model.s:.6g} and {s:.6g}"
        return Guess("class-weights-missing", f"The {words}.")
    return Guess("wrong-targets", f"The {targets}{_numbers(q / s)} in the gradient.")


def _numbers(a: np.ndarray) -> str:
    return ", ".join(f"{x:.4g}" for x in np.round(a[:8], 9) + 0.0)


ELEMENTWISE: dict[str, Activation] = {name: kind() for name, kind in ACTIVATIONS.items() if name != "softmax"}
"""The activations of one number each."""


def output(layer: Activation, z: np.ndarray) -> np.ndarray:
    """f(z), of host numbers (...)."""
    return layer.forward(select("numpy").xp, {}, z.reshape(1, -1), None)[0].reshape(z.shape)


def slope(layer: Activation, z: np.ndarray) -> np.ndarray:
    """f'(z), of host numbers (...), by differences: the layer's own derivative may be what is wrong."""
    h = 1e-5
    return (output(layer, z + h) - output(layer, z - h)) / (2 * h)


def softmax(c: np.ndarray) -> np.ndarray:
    """softmax of each row."""
    e = np.exp(c - c.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _jacobian(activation: str, c: np.ndarray) -> np.ndarray:
    """dp/dc (rounds, k, k)."""
    if activation == "softmax":
        p = softmax(c)
        return np.einsum("ri,ij->rij", p, np.eye(c.shape[1])) - np.einsum("ri,rj->rij", p, p)
    return np.einsum("ri,ij->rij", slope(ELEMENTWISE[activation], c), np.eye(c.shape[1]))
