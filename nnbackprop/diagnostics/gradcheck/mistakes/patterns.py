"""Rules that need no experiment, or a single one: shapes, constant factors, penalties, one wrong piece."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nnbackprop.diagnostics.findings import Finding
from nnbackprop.diagnostics.gradcheck.function import Function
from nnbackprop.diagnostics.gradcheck.numeric import Tensors, entry, slopes

from .catalogue import finding
from .experiments import output_curves, penalty_rates
from .outputs import Model, model_of
from .pieces import Case, Piece, norm

CLOSE = 1e-4
NEAR = 1e-2
"""A factor so near 1 is none of these mistakes: an epsilon in a logarithm makes such."""


def shapes(function: Function, point: Tensors, hand: Tensors) -> Finding | None:
    """Gradients that are no numbers, or have another shape than their parameter; `hand` as it was given."""
    for name, a in point.items():
        g = hand[name]
        if lost := int(np.count_nonzero(~np.isfinite(g))):
            evidence = f"{lost} of {g.size} numbers in the gradient of {name} are NaN or infinite."
            return finding("gradient-not-finite", evidence, 0.98)
        if _alike(g, a):
            continue
        if g.size == a.size:
            evidence = f"The gradient of {name} has shape {g.shape} and {name} has {a.shape}: it is turned"
            return finding("gradient-shape", f"{evidence}, and {name} -= lr * d{name} goes wrong.", 0.95)
        summed = _summed(function, point, name, g)
        if summed is not None:
            evidence = f"The gradient of {name} has shape {g.shape}, and {name} has {a.shape}. {summed}"
            return finding("bias-not-summed", evidence, 0.98)
        id = "bias-not-summed" if min(a.shape, default=1) == 1 or a.ndim == 1 else "gradient-shape"
        return finding(id, f"The gradient of {name} has shape {g.shape}, and {name} has {a.shape}.", 0.7)
    return None


def _alike(g: np.ndarray, a: np.ndarray) -> bool:
    """Whether a - g has as many numbers as a, as (k,) and (1, k) do and (k,) and (k, 1) do not."""
    try:
        return g.size == a.size == math.prod(np.broadcast_shapes(g.shape, a.shape))
    except ValueError:
        return False


def _summed(function: Function, point: Tensors, name: str, g: np.ndarray) -> str | None:
    """Words, if one of g's sums is the right gradient."""
    a = point[name]
    numeric = slopes(function.value, point, name, [entry(a.shape, i) for i in range(a.size)], CLOSE).values
    for axis in range(g.ndim):
        total = g.sum(axis=axis).reshape(-1)
        if total.shape == numeric.shape and norm(total - numeric) <= CLOSE * norm(numeric):
            return f"Its sum over axis {axis} ({g.shape[axis]} samples) is right."
    return None


def still(case: Case) -> Finding | None:
    """By differences the loss does not move at all, with any parameter."""
    if any(norm(p.numeric) > 100 * p.noise * len(p.numeric) ** 0.5 for p in case.pieces):
        return None
    size = max(norm(piece.hand) for piece in case.pieces)
    evidence = f"No parameter moves the loss, and by hand the gradient has entries up to {size:.3g}"
    return finding("loss-does-not-move", f"{evidence}.", 0.9) if size > 0 else None


def near(case: Case) -> Finding | None:
    """Every gradient is right to a thousandth, and some not quite."""
    worst = max(piece.misfit(piece.numeric) for piece in case.pieces)
    if worst > 1e-3 or any(piece.excess is not None for piece in case.bad if len(piece.hand) > 1):
        return None
    return finding("nearly-right", f"Gradients are off by at most {worst:.1e} of their size.", 0.7)


def penalties(case: Case) -> Finding | None:
    """Hand and numeric differ by a multiple of the parameters themselves."""
    bad = case.bad
    if any(piece.excess is None for piece in bad) or all(len(piece.hand) == 1 for piece in bad):
        return None
    if len({round((p.excess or 0.0) / (bad[0].excess or 1.0), 2) for p in bad}) > 1:
        return None
    c, names = float(np.median([p.excess or 0.0 for p in bad])), ", ".join(p.label for p in bad)
    apart = f"hand - numeric is {c:.6g} times the parameters themselves in {names}"
    if all(piece.kind == "b" for piece in bad):
        if c > 0:
            return finding("l2-on-biases", f"{apart}, and the weights are right.", 0.97)
        return finding("l2-missing", f"{apart}: the loss penalises biases.", 0.9)
    return _penalty_of_weights(case, bad, c, apart)


def _penalty_of_weights(case: Case, bad: Sequence[Piece], c: float, apart: str) -> Finding:
    rates = penalty_rates(case, bad[0].layer)
    elsewhere = penalty_rates(case, 0) if rates is None else None
    if elsewhere is not None and abs(c - elsewhere[1]) < 1e-3 * abs(c):
        return finding("l2-missing", f"{apart}, as much as the loss penalises the other weights.", 0.8)
    if (rates := rates or elsewhere) is None:
        id = "l2-missing" if c < 0 else "l2-not-averaged"
        return finding(id, f"{apart}.", 0.6)
    of_loss = rates[1]
    of_hand = of_loss + c
    evidence = f"{apart}; the loss has L2 with {of_loss:.6g}, the gradient with {of_hand:.6g}"
    small = 1e-3 * abs(c)
    if abs(of_hand) < small or abs(of_loss) < small:
        return finding("l2-missing", f"{evidence}.", 0.97)
    if abs(of_hand + of_loss) < small:
        return finding("sign-flipped", f"{evidence}: the penalty's sign is the wrong one.", 0.9)
    return finding("l2-not-averaged", f"{evidence}, {of_hand / of_loss:.6g} times as much.", 0.95)


def factors(case: Case) -> Finding | None:
    """Hand is a constant times numeric, in every piece that is wrong; a penalty may stand beside it."""
    found = {piece: _factor(piece) for piece in case.bad}
    values = np.array([a for a in found.values() if a is not None])
    if len(values) < len(found) or not values.all() or np.abs(values - 1).max() < NEAR:
        return None
    evidence = "hand / numeric is " + ", ".join(f"{a:.6g} in {p.label}" for p, a in list(found.items())[:6])
    if np.ptp(values) > CLOSE * np.abs(values).max():
        return _several(case, values, evidence)
    a = float(values[0])
    if abs(a + 1) < CLOSE:
        return finding("sign-flipped", f"{evidence}.", 0.97)
    return _everywhere(case, a, evidence) if len(found) == len(case.pieces) else _somewhere(case, a, evidence)


def _factor(piece: Piece) -> float | None:
    if piece.factor is not None:
        return piece.factor
    return piece.line[0] if piece.line else None


def _several(case: Case, values: np.ndarray, evidence: str) -> Finding | None:
    """A factor that grows from layer to layer going back."""
    if m := _powers(values):
        return finding("mean-twice", f"{evidence}: powers of 1/{m}, by a batch of {m} samples perhaps.", 0.8)
    if _lower_layers(case) and _by_layer(case) and np.all((values > 0) & (values < 1)):
        return finding("dropout-scale-missing", f"{evidence}: less in each layer further down.", 0.85)
    return None


def _powers(values: np.ndarray) -> int | None:
    """The m of 1/m, 1/m^2 ... as a second mean in every layer makes them; 1/2 is more likely a dropout's keep."""
    m = round(1 / values.max()) if 0 < values.max() < 1 else 0
    if m < 3 or values.min() <= 0:
        return None
    powers = np.log(values) / -np.log(m)
    return m if np.abs(powers - np.round(powers)).max() < CLOSE else None


def _by_layer(case: Case) -> bool:
    """Whether each layer has one factor, and a smaller one than the layer above it."""
    layers: dict[int, list[float]] = {}
    for piece in case.bad:
        layers.setdefault(piece.layer, []).append(_factor(piece) or 0.0)
    inner = all(np.ptp(a) <= CLOSE * max(a) for a in layers.values())
    means = [float(np.mean(layers[layer])) for layer in sorted(layers)]
    return case.links is not None and inner and len(means) > 1 and all(a < b for a, b in pairwise(means))


def _somewhere(case: Case, a: float, evidence: str) -> Finding | None:
    """One factor in some of the gradients, while the others are right."""
    whole = _whole(a)
    if all(piece.kind == "b" for piece in case.bad):
        if not whole or all(len(piece.hand) == 1 for piece in case.bad):
            return None
        id = "bias-not-summed" if a < 1 else "missing-batch-mean"
        return finding(id, f"{evidence}, and the weights are right: {whole} samples perhaps.", 0.85)
    if case.links and _lower_layers(case) and 0.05 < a < 1:
        return finding("dropout-scale-missing", f"{evidence}, and the layers above are right.", 0.8)
    if not whole:
        return None
    id = "missing-batch-mean" if a > 1 else "mean-twice"
    return finding(id, f"{evidence}, and the others are right: {whole} samples perhaps.", 0.7)


def _whole(a: float) -> int | None:
    """The whole number, 2 or more, that a or 1/a is."""
    times = a if abs(a) > 1 else 1 / a
    return round(times) if round(times) > 1 and abs(times - round(times)) < CLOSE * times else None


def _everywhere(case: Case, a: float, evidence: str) -> Finding | None:
    """One factor in every gradient: the batch, or the squared error's own."""
    model, k = _model(case), _outputs(case)
    words = f"{evidence}: the same in every parameter"
    if any(abs(a / f - 1) < CLOSE for f in _of_squared_error(model, k)):
        return finding("mse-factor", f"{words}, and the loss has {k} outputs.", 0.9 if model else 0.6)
    if (whole := _whole(a)) is None:
        return None
    id = "missing-batch-mean" if a > 1 else "mean-twice"
    return finding(
        id,
        f"{words}. A batch of {whole} samples would explain it; if yours is another, so would a "
        "factor of your own, such as a learning rate in the gradient.",
        0.75,
    )


def _of_squared_error(model: Model | None, k: int) -> set[float]:
    """What the gradient is off by when the 2 of (y - t)^2 or the 1/k of a mean over outputs is mistaken."""
    if model is None:
        return {2.0, 0.5}
    if not model.squared:
        return set()
    usual = (1.0, 2.0, 1 / k, 2 / k)  # s of 1/2 sum, of sum, and of their means over k
    if any(abs(model.s / s - 1) < CLOSE for s in usual):
        return {s / model.s for s in usual}
    return {2.0, 0.5, float(k), 1 / k}


def _model(case: Case) -> Model | None:
    """What kind of loss it is, as far as the last biases tell."""
    curves = output_curves(case)
    return model_of(curves[0], curves[1].numeric) if curves else None


def _outputs(case: Case) -> int:
    return case.links[-1].weight(case.point).shape[1] if case.links else 0


def _lower_layers(case: Case) -> bool:
    """Whether all that is wrong lies below all that is right."""
    good = [piece.layer for piece in case.pieces if piece.good]
    return bool(good) and max(piece.layer for piece in case.bad) < min(good)


def single_pieces(case: Case) -> Finding | None:
    """A layer whose weights or whose biases alone are wrong, while the error that goes through it is right."""
    if case.links is None:
        return None
    top = max(piece.layer for piece in case.bad)
    W, b = case.piece(top, "W"), case.piece(top, "b")
    if all(piece.kind == "b" for piece in case.bad):
        names = ", ".join(piece.label for piece in case.bad)
        return finding("bias-not-summed", f"The gradient of {names} is wrong and every weight's is right.", 0.7)
    below_right = top > 0 and all(piece.good for piece in case.pieces if piece.layer == top - 1)
    if W is not None and not W.good and ((b is not None and b.good) or (b is None and below_right)):
        right = b.label if b is not None else "the layer below"
        evidence = f"The gradient of {W.label} is wrong and that of {right} is right"
        return finding("wrong-layer-input", f"{evidence}: the error is good, its partner is not.", 0.75)
    return None
