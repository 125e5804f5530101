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

from .catalogue import Mistake
from .evidence import Case, norm

TOLERANCE = 1e-5
POINTS = 6
MAX_OUTPUTS = 100
ELEMENTWISE: dict[str, Activation] = {name: kind() for name, kind in ACTIVATIONS.items() if name != "softmax"}
"""The activations that map one number to one number."""


@dataclass(frozen=True, eq=False)
class LossModel:
    """A loss and its output activation: p (points, k) outputs at c (points, k), q (k,) and s."""

    name: str
    squared: bool
    activation: str
    s: float
    q: np.ndarray
    p: np.ndarray


def output_layer(case: Case) -> Mistake | None:
    """The last layer's own gradients are wrong: which formula was used for dJ/dz?"""
    top = len(case.layers) - 1
    W, b = case.tensor(top, "W"), case.tensor(top, "b")
    curves = output_curves(case)
    if curves is None or W is None or W.right or (b is not None and b.right):
        return None
    c, analytic, numerical = curves
    if norm(numerical) < 1e-4 * norm(analytic):
        evidence = "With equal outputs for all samples the loss does not move with the last biases."
        return Mistake("softmax-axis", evidence)
    model = fit_loss(c, numerical)
    if model is None:
        p = output(ELEMENTWISE["sigmoid"], c)
        targets = numerical / (1 - p)
        if norm(targets - targets.mean(axis=0)) <= TOLERANCE * norm(targets) and _fit(analytic, p):
            evidence = "The loss behaves as -t log p alone; the analytic gradient is p - t."
            return Mistake("cross-entropy-half", evidence)
        return None
    for id, formula, expected in _wrong_formulas(model, c):
        if norm(analytic - expected) <= TOLERANCE * norm(analytic):
            return Mistake(id, f"The loss behaves as {model.name}; the analytic gradient is {formula}.")
    return None if model.squared else _other_targets(model, analytic)


def output_curves(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Outputs c (points, k) with the last biases' analytic and numerical gradients there; None without biases."""
    if not case.layers:
        return None
    W, b = case.layers[-1].W, case.layers[-1].b
    k = case.point[W].shape[1]
    if b is None or k > MAX_OUTPUTS:
        return None
    cs = np.random.Generator(np.random.Philox(key=7)).standard_normal((POINTS, k))
    rows = [bias_gradients(case, b, case.point_with({W: 0, b: c}), k) for c in cs]
    analytic, numerical = (np.array(column) for column in zip(*rows, strict=True))
    return cs, analytic, numerical


def bias_gradients(case: Case, b: str, point: dict[str, np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Analytic and numerical gradient (units,) of the first biases of a layer at `point`."""
    numerical = derivatives(case.value, point, b, list(np.eye(len(point[b]))[:most]), 1e-4).values
    return case.gradients(point)[b][:most], numerical


def loss_of(case: Case) -> LossModel | None:
    """The loss, as far as the last biases tell."""
    curves = output_curves(case)
    return fit_loss(curves[0], curves[2]) if curves else None


def fit_loss(c: np.ndarray, numerical: np.ndarray) -> LossModel | None:
    """The first of the usual losses whose gradient (points, k) at outputs c (points, k) is `numerical`."""
    losses = [
        ("softmax with cross-entropy", False, "softmax"),
        ("sigmoid with binary cross-entropy", False, "sigmoid"),
        *((f"squared error on {name}", True, name) for name in ("softmax", *ELEMENTWISE)),
    ]
    for name, squared, activation in losses:
        layer = ACTIVATIONS[activation]()
        p, D = output(layer, c), _jacobian(layer, c) if squared else None
        fitted = _fit(numerical, p, D, sum_to_one=activation == "softmax")
        if fitted and abs(fitted[0]) > TOLERANCE * norm(numerical):
            return LossModel(name, squared, activation, *fitted, p)
    return None


def _fit(
    gradient: np.ndarray, p: np.ndarray, D: np.ndarray | None = None, sum_to_one: bool = False
) -> tuple[float, np.ndarray] | None:
    """The (s, q) of gradient = D (s p - q), where they fit; D is 1 unless given.

    Targets of a softmax sum to 1, which its Jacobian does not tell: sum q = s.
    """
    points, k = p.shape
    D = np.stack([np.eye(k)] * points) if D is None else D
    columns = np.concatenate([np.einsum("rij,rj->ri", D, p)[..., None], -D], axis=2).reshape(-1, 1 + k)
    target = gradient.reshape(-1)
    if not np.isfinite(target).all():
        return None
    if sum_to_one:
        columns, target = np.vstack([columns, [-1.0, *np.ones(k)]]), np.append(target, 0.0)
    s, *q = np.linalg.lstsq(columns, target, rcond=None)[0]
    return (float(s), np.array(q)) if norm(columns @ [s, *q] - target) <= TOLERANCE * norm(target) else None


def _wrong_formulas(model: LossModel, c: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Wrong formulas for dJ/dz: the mistake's id, the formula, and the gradient it gives."""
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
    for id, used, curve in wrong_derivatives(model.activation, ELEMENTWISE[model.activation], c):
        yield id, f"(a - t) {used}", delta * curve


def wrong_derivatives(name: str, layer: Activation, z: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """What is put in place of f'(z) by mistake: the id, the formula and its values; never f'(z) itself."""
    a, right = output(layer, z), slope(layer, z)
    wrong, at_a = "wrong-activation-derivative", "activation-derivative-at-a"
    rows = [
        ("activation-derivative-missing", "1", np.ones_like(z)),
        (at_a, f"{name}'(a)", slope(layer, a)),
        (at_a if name == "sigmoid" else wrong, "z (1 - z)", z * (1 - z)),
        (at_a if name == "tanh" else wrong, "1 - z^2", 1 - z * z),
        (wrong, "a (1 - a)", a * (1 - a)),
        (wrong, "1 - a^2", 1 - a * a),
        (wrong, f"{name}'(z)^2", right**2),
        *((wrong, f"{other}'(z)", slope(kind, z)) for other, kind in ELEMENTWISE.items()),
    ]
    return ((id, used, w) for id, used, w in rows if norm(w - right) > 1e-4 * norm(right))


def _other_targets(model: LossModel, analytic: np.ndarray) -> Mistake | None:
    """analytic = s' p - q' with another s' or q' than the loss: other targets, weights, or another softmax."""
    fitted = _fit(analytic, model.p)
    if fitted is None:
        return None
    (s, q), softmax = fitted, model.activation == "softmax"
    shift = q - model.q
    other_s = abs(s - model.s) > TOLERANCE * abs(s)
    if not other_s and norm(shift) <= TOLERANCE * norm(q):
        return None  # right where all outputs are equal
    if softmax and other_s and len(q) > 1 and np.ptp(shift) <= TOLERANCE * norm(q):
        evidence = f"The analytic gradient is p - t with p too small, by {s / model.s:.6g} times."
        return Mistake("softmax-axis", evidence)
    of_loss, of_gradient = (
        ", ".join(f"{x:.4g}" for x in np.round(t[:8], 9) + 0.0) for t in (model.q / model.s, q / s)
    )
    targets = f"The mean targets are {of_loss} in the loss and {of_gradient} in the gradient"
    if other_s and (not softmax or abs(q.sum() - s) < TOLERANCE * s):
        return Mistake("class-weights-missing", f"{targets}, and the weights {model.s:.6g} and {s:.6g}.")
    return Mistake("wrong-targets", f"{targets}.")


def output(layer: Activation, z: np.ndarray) -> np.ndarray:
    """f(z) of host numbers."""
    return layer.forward(select("numpy").xp, {}, z, None)[0]


def slope(layer: Activation, z: np.ndarray) -> np.ndarray:
    """f'(z) of host numbers, by differences: the layer's own derivative may be what is wrong."""
    h = 1e-5
    return (output(layer, z + h) - output(layer, z - h)) / (2 * h)


def _jacobian(layer: Activation, c: np.ndarray) -> np.ndarray:
    """dp/dc (points, k, k) by differences."""
    steps = 1e-5 * np.eye(c.shape[1])
    return np.stack([(output(layer, c + v) - output(layer, c - v)) / 2e-5 for v in steps], axis=2)
