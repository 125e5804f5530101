"""Networks without biases: no layer can be fed a chosen z, so they are asked where weights are zero, or scaled."""

from __future__ import annotations

import numpy as np

from nnbackprop.diagnostics.findings import Finding
from nnbackprop.diagnostics.gradcheck.numeric import Tensors, entry, slopes

from .catalogue import finding
from .experiments import at
from .pieces import Case, Piece, norm

FITS = 1e-4
LOOSE = 0.02
SMALL = 1e-3
SIGMOID_AT_A = 4 / (2 + 2 * np.cosh(0.5))  # s'(s(0)) / s'(0)


def output_at_zero(case: Case) -> Finding | None:
    """With the last W at zero all outputs are equal: a softmax gives 1/k, a sigmoid has a slope of 1/4."""
    if not case.links:
        return None
    last = case.links[-1]
    at_zero = _last_piece(case, last.with_weight(case.point, 0.0))
    if at_zero is None:
        return None
    k = last.weight(case.point).shape[1]
    known = {
        4.0: "output-derivative-missing",
        SIGMOID_AT_A: "activation-derivative-at-a",
        3.0: "wrong-activation-derivative",  # tanh's, 1 - a^2, for a sigmoid's
    }
    if k > 1:
        known |= {float(k): "output-derivative-missing"}
        known |= {(k - 1) / k**e: "softmax-diagonal" for e in (1, 2)}
    words = f"With {last.W} = 0, where all outputs are equal, hand / numeric"
    for factor, id in known.items():
        if at_zero.factor is not None and abs(at_zero.factor / factor - 1) < FITS:
            return finding(id, f"{words} is {at_zero.factor:.6g} in each of {last.W}'s entries.", 0.8)
    return _by_rows(case, words) if k > 1 else None


def _by_rows(case: Case, words: str) -> Finding | None:
    """dW = a^T (p - t) row by row (one a each) with p = 1/k: what is there in place of p - t?"""
    last = (case.links or ())[-1]
    point = last.with_weight(case.point, 0.0)
    hand = last.weight(_shaped(case, point))
    numeric = _whole(case, point, last.W)
    N, k = last.weight({last.W: numeric}), hand.shape[1]
    apart = hand - N
    if norm(apart - apart.mean(axis=1, keepdims=True)) <= FITS * norm(apart):
        return finding("softmax-axis", f"{words} differ by the same for every class.", 0.8)
    a = -hand.sum(axis=1, keepdims=True) * k / (k - 1)
    if norm(hand + (a / k - N) * (k - 1) / k) <= FITS * norm(hand):
        return finding(
            "softmax-diagonal", f"{words.replace('hand / numeric', 'the gradient by hand')} is -t (1 - p).", 0.85
        )
    return None


def hidden_at_zero(case: Case, layer: int) -> Finding:
    """A hidden layer's derivative, asked at W = 0, and at W scaled, halved and negated."""
    link, above = (case.links or ())[layer], (case.links or ())[layer + 1]
    near = above.with_weight(case.point, SMALL * above.weight(case.point))
    W = link.weight(case.point)
    plus, half, minus, still = (link.with_weight(near, s * W) for s in (1.0, 0.5, -1.0, 0.0))
    H, H_half, H_minus = (link.weight(_shaped(case, point)) for point in (plus, half, minus))
    words = f"As {link.W} is scaled, its gradient by hand"
    if max(norm(H - H_half), norm(H - H_minus)) <= LOOSE * norm(H):
        N, N_minus, N_still = (link.weight({link.W: _whole(case, p, link.W)}) for p in (plus, minus, still))
        for without in (4 * N_still, N_still, N + N_minus):
            if norm(H - without) <= LOOSE * norm(H):
                return finding("activation-derivative-missing", f"{words} stays the same, as if f' were 1.", 0.85)
        return finding("wrong-layer-derivative", f"{words} stays the same: it follows another layer's z.", 0.6)
    at_zero = next((piece for piece in at(case, still).pieces if piece.name == link.W), None)
    if at_zero is None and norm(H - H_half) <= LOOSE * norm(H):  # a rectifier, with its kink at 0
        return finding(
            "dropout-mask-missing", f"{words} follows the sign of z, as it should, and yet is off.", 0.6
        )
    words = f"With {link.W} = 0, where every z is 0, hand / numeric"
    if at_zero is None:
        return finding("wrong-activation-derivative", f"The error is wrong from {link.W} down.", 0.4)
    if at_zero.factor is None:
        return finding("dropout-mask-missing", f"{words} differs from unit to unit.", 0.6)
    if min(abs(at_zero.factor / SIGMOID_AT_A - 1), abs(at_zero.factor - 1)) < FITS:
        return finding("activation-derivative-at-a", f"{words} is {at_zero.factor:.6g}; elsewhere it is not.", 0.7)
    return finding("wrong-activation-derivative", f"{words} is {at_zero.factor:.6g}.", 0.6)


def _shaped(case: Case, point: Tensors) -> dict[str, np.ndarray]:
    return {name: g.reshape(point[name].shape) for name, g in case.function.gradients(point).items()}


def _last_piece(case: Case, point: Tensors) -> Piece | None:
    return next((piece for piece in reversed(at(case, point).pieces) if piece.kind == "W"), None)


def _whole(case: Case, point: Tensors, name: str) -> np.ndarray:
    """The numeric gradient of a whole tensor; where J has a kink (all z at 0), 0."""
    shape = point[name].shape
    directions = [entry(shape, i) for i in range(point[name].size)]
    return np.nan_to_num(slopes(case.function.value, point, name, directions, 1e-4).values).reshape(shape)
