"""Rules that find a wrong derivative by experiment: in the output's delta, or in a hidden layer's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnbackprop.diagnostics.findings import Finding
from nnbackprop.nn.layers import Activation, LeakyReLU

from .catalogue import finding
from .experiments import (
    ELEMENTWISE,
    INPUTS,
    Curves,
    hidden_curves,
    output,
    output_curves,
    slope,
    symmetric_agrees,
    through_zero,
)
from .outputs import hypotheses, model_of
from .pieces import Case, norm
from .unbiased import hidden_at_zero, output_at_zero

FITS = 1e-4
LOOSE = 0.02  # what comes back changes by so much, at most, as a layer's output moves
SAME = 1e-5  # of two curves that fit equally well, as 1 and identity' do, the plainer comes first and stays


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
    if not np.isfinite(measured.hand).all():
        return None
    if case.links[-1].biased and norm(measured.numeric) < FITS * norm(measured.hand):
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
    by_hand, by_differences = through_zero(case, top)
    if by_differences > FITS:
        return None  # there is another way back than through W_{l+1}: no chain of layers
    if by_hand > FITS:
        evidence = f"With {above} = 0 nothing can come back to {here}, and by hand something does"
        return finding("updated-too-early", f"{evidence}: it went through another {above}.", 0.93)
    if symmetric_agrees(case, top):
        return finding("weight-transposed", f"With a symmetric {above} the gradient of {here} is right.", 0.95)
    if not case.links[top].biased:
        return hidden_at_zero(case, top)
    return _by_curves(hidden_curves(case, top), here, above)


def _by_curves(curves: Curves, here: str, above: str) -> Finding | None:
    H, N, c = curves.hand, curves.numeric, np.array(INPUTS)
    if not np.isfinite(H).all() or not np.isfinite(N).all() or not H.any():
        return None
    words = f"Asked with z the same for every sample, the gradient of {here}'s biases"
    if fit := _fitted(H, N, c):
        id, true, taken = fit
        return finding(id, f"{words} follows {true}' by differences and {taken} by hand.", 0.95)
    if norm(H - H.mean(axis=0)) <= LOOSE * norm(H) and norm(
        N / H - (N / H).mean(axis=1, keepdims=True)
    ) <= FITS * norm(N / H):
        return finding("activation-derivative-missing", f"{words} by hand does not depend on that z at all.", 0.9)
    if _parallel(H, N):
        evidence = (
            f"{words} has the right shape, and is off by another factor in each unit (between {here} and {above})"
        )
        return finding("dropout-mask-missing", f"{evidence}.", 0.85)
    flat = np.ptp(H, axis=0).max() <= 2 * LOOSE * np.abs(H).max()
    if flat:
        return finding("wrong-layer-derivative", f"{words} by hand does not depend on that z at all.", 0.8)
    return None


def _left_out(H: np.ndarray, N: np.ndarray) -> bool:
    """Whether hand does not move with z, and differences do by one curve, the same in every unit: f' itself."""
    curve = N / H
    same = norm(curve - curve.mean(axis=1, keepdims=True)) <= FITS * norm(curve)
    return same and norm(H - H.mean(axis=0)) <= LOOSE * norm(H)


def _parallel(H: np.ndarray, N: np.ndarray) -> bool:
    """Whether each unit's curve by hand is a multiple of the one by differences, which may be zero."""
    shape = N[:, np.argmax(np.abs(N).max(axis=0))]
    along = shape @ H / (shape @ shape)
    return norm(H - np.outer(shape, along)) <= LOOSE * norm(H)


def _fitted(H: np.ndarray, N: np.ndarray, c: np.ndarray) -> tuple[str, str, str] | None:
    """The activation f and the curve w in place of f', with H f' = N w everywhere, and H as N w / f' says."""
    best, found = LOOSE, None
    for true, layer in {**ELEMENTWISE, "leaky-relu": _leaky(N, c)}.items():
        right = slope(layer, c)[:, None]
        usual = np.abs(right[:, 0]) > 1e-3
        size = np.median(N[usual] / right[usual], axis=0)
        if norm(N - right * size) > LOOSE * norm(N):
            continue
        for id, taken, curve in _candidates(true, layer, c):
            w = curve[:, None]
            crossed = norm(H * right - N * w) / (norm(H * right) + norm(N * w))
            loose = norm(H - w * size) / norm(H)
            if crossed <= FITS and loose < best - SAME:
                best, found = loose, (id, true, taken)
    return found


def _leaky(N: np.ndarray, c: np.ndarray) -> LeakyReLU:
    """A leaky ReLU with the slope that N has below zero, of what it has above."""
    unit = N[:, np.argmax(np.abs(N).max(axis=0))]
    above = float(np.median(unit[c > 0]))
    return LeakyReLU(float(np.clip(np.median(unit[c < 0]) / above, 1e-3, 0.9)) if above else 0.01)


def _candidates(true: str, layer: Activation, c: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """What people put in place of f'(z), with the mistake's id; never f'(z) itself."""
    a, right = output(layer, c), slope(layer, c)
    wrong, at_a = "wrong-activation-derivative", "activation-derivative-at-a"
    rows = [
        ("activation-derivative-missing", "1", np.ones_like(c)),
        (at_a, f"{true}' at a", slope(layer, a)),
        (at_a if true == "sigmoid" else wrong, "z (1 - z)", c * (1 - c)),
        (at_a if true == "tanh" else wrong, "1 - z^2", 1 - c * c),
        (wrong, "a (1 - a)", a * (1 - a)),
        (wrong, "1 - a^2", 1 - a * a),
        (wrong, f"{true}' squared", right**2),
        (wrong, "[z > 0]", (c > 0) * 1.0),
        *((wrong, f"{name}'", slope(other, c)) for name, other in ELEMENTWISE.items()),
        *((wrong, f"{name}' at a", slope(other, a)) for name, other in ELEMENTWISE.items()),
    ]
    return ((id, taken, w) for id, taken, w in rows if norm(w - right) > FITS * norm(right))
