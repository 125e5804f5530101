"""Rules that find a wrong derivative by experiment: in the output's delta, or in a hidden layer's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnbackprop.findings import Finding

from .experiments import (
    INPUTS,
    Curves,
    activation,
    comes_back_through_zero,
    elementwise,
    hidden_curves,
    output_curves,
    symmetric_agrees,
)
from .mistakes import finding
from .outputs import hypotheses, model_of
from .pieces import Case, norm
from .unbiased import hidden_at_zero, output_at_zero

FITS = 1e-4
LOOSE = 0.02  # what comes back changes by so much, at most, as a layer's output moves


def output_delta(case: Case) -> Finding | None:
    """The last layer's own gradients are wrong: which derivative of loss and output was taken?"""
    if case.links is None:
        return None
    top = len(case.links) - 1
    W, b = case.piece(top, "W"), case.piece(top, "b")
    if W is None or W.good or (b is not None and b.good):
        return None
    curves = output_curves(case)
    if curves is None:
        return output_at_zero(case)
    c, measured = curves
    if norm(measured.numeric) < FITS * norm(measured.hand):
        evidence = (
            "With equal outputs for every sample the loss does not move with the last biases, whatever they are"
        )
        return finding("softmax-axis", f"{evidence}; by hand it does.", 0.9)
    model = model_of(c, measured.numeric)
    if model is None:
        return output_at_zero(case)
    for id, words, expected in hypotheses(model, c):
        if norm(measured.hand - expected(measured.hand)) <= FITS * norm(measured.hand):
            return finding(id, f"The loss behaves as {model.name}; the gradient by hand is {words}.", 0.95)
    return None


def hidden_delta(case: Case) -> Finding | None:
    """The error that reaches a hidden layer is wrong: what happened between it and the layer above?"""
    if case.links is None:
        return None
    top = max(piece.layer for piece in case.bad)
    if top + 1 >= len(case.links):
        return None
    here, above = case.links[top].W, case.links[top + 1].W
    if comes_back_through_zero(case, top) > FITS:
        evidence = f"With {above} = 0 nothing can come back to {here}, and by hand something does"
        return finding("updated-too-early", f"{evidence}: it went through another {above}.", 0.93)
    if symmetric_agrees(case, top):
        return finding("weight-transposed", f"With a symmetric {above} the gradient of {here} is right.", 0.95)
    if not case.links[top].biased:
        return hidden_at_zero(case, top)
    return _by_curves(hidden_curves(case, top), here, above)


def _by_curves(curves: Curves, here: str, above: str) -> Finding | None:
    H, N, c = curves.hand, curves.numeric, np.array(INPUTS)
    words = f"Asked with z the same for every sample, the gradient of {here}'s biases"
    if fit := _fitted(H, N, c):
        id, true, taken = fit
        return finding(id, f"{words} follows {true}' by differences and {taken} by hand.", 0.95)
    if _parallel(H, N):
        evidence = (
            f"{words} has the right shape, and is off by another factor in each unit (between {here} and {above})"
        )
        return finding("dropout-mask-missing", f"{evidence}.", 0.85)
    flat = np.ptp(H, axis=0).max() <= 2 * LOOSE * np.abs(H).max()
    if flat:
        return finding("wrong-layer-derivative", f"{words} by hand does not depend on that z at all.", 0.8)
    return None


def _parallel(H: np.ndarray, N: np.ndarray) -> bool:
    """Whether each unit's curve by hand is a multiple of the one by differences, which may be zero."""
    shape = N[:, np.argmax(np.abs(N).max(axis=0))]
    along = shape @ H / (shape @ shape)
    return norm(H - np.outer(shape, along)) <= LOOSE * norm(H)


def _fitted(H: np.ndarray, N: np.ndarray, c: np.ndarray) -> tuple[str, str, str] | None:
    """The activation f and the curve w in place of f', with H f' = N w everywhere, and H as N w / f' says."""
    best, found = LOOSE, None
    for true in elementwise():
        _, slope = activation(true)
        right = slope(c)[:, None]
        usual = np.abs(right) > 1e-3
        size = np.median(np.where(usual, N / np.where(usual, right, 1.0), np.nan)[usual[:, 0]], axis=0)
        if norm(N - right * size) > LOOSE * norm(N):
            continue
        for id, taken, curve in _candidates(true, c):
            w = curve[:, None]
            crossed = norm(H * right - N * w) / (norm(H * right) + norm(N * w))
            loose = norm(H - w * size) / norm(H)
            if crossed <= FITS and loose < best:
                best, found = loose, (id, true, taken)
    return found


def _candidates(true: str, c: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """What people put in place of f'(z), with the mistake's id; never f'(z) itself."""
    f, slope = activation(true)
    right = slope(c)
    yield "activation-derivative-missing", "1", np.ones_like(c)
    rows = [
        ("activation-derivative-at-a", f"{true}' at a", slope(f(c))),
        ("activation-derivative-at-a", "z (1 - z)", c * (1 - c)) if true == "sigmoid" else None,
        ("activation-derivative-at-a", "1 - z^2", 1 - c * c) if true == "tanh" else None,
        ("wrong-activation-derivative", "a (1 - a)", f(c) * (1 - f(c))),
        ("wrong-activation-derivative", "1 - a^2", 1 - f(c) ** 2),
        ("wrong-activation-derivative", f"{true}' squared", right**2),
        ("wrong-activation-derivative", "[a > 0]", (f(c) > 0) * 1.0),
        *(
            ("wrong-activation-derivative", f"{other}'{at}", activation(other)[1](z))
            for other in elementwise()
            for at, z in (("", c), (" at a", f(c)))
            if other not in (true, "identity")
        ),
    ]
    for row in rows:
        if row is not None and norm(row[2] - right) > FITS * norm(right):
            yield row
