"""Rules that read the gradients as they are: shapes, places, constant factors, penalties, one wrong part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors, Value, partial_derivatives

from .catalogue import Guess
from .evidence import Case, Part, listed, norm
from .hidden_layer import has_dropout, penalty_rate
from .output_layer import loss_of

CLOSE = 1e-6
MOST = 1000  # entries of a tensor that is compared as a whole


def shapes(value: Value, point: Tensors, analytic: Tensors) -> Guess | None:
    """Gradients that are not finite, or have another shape than their parameter; `analytic` as it was returned."""
    for name, a in point.items():
        g = analytic[name]
        if lost := int(np.count_nonzero(~np.isfinite(g))):
            return Guess(
                "gradient-not-finite", f"{lost} of {g.size} numbers in the gradient of {name} are NaN or infinite."
            )
        if _subtracts(g, a):
            continue
        words = f"The gradient of {name} has shape {g.shape}, and {name} has {a.shape}"
        if a.size <= MOST:
            numerical = partial_derivatives(value, point, name, range(a.size), CLOSE).values
            if other := _given_for(numerical, name, analytic):
                return Guess("gradient-order", f"{words}; the one returned for {other} is that of {name}.")
            for axis in range(g.ndim) if g.size != a.size else ():
                if _close(g.sum(axis=axis), numerical):
                    samples = g.shape[axis]
                    return Guess("bias-not-summed", f"{words}. Its sum over axis {axis} ({samples}) is right.")
        if g.size == a.size:
            return Guess("gradient-shape", f"{words}: {name} -= lr * d{name} goes wrong.")
        vector = min(a.shape, default=1) == 1 or a.ndim == 1
        return Guess("bias-not-summed" if vector else "gradient-shape", f"{words}.", certain=not vector)
    return None


def _subtracts(g: np.ndarray, a: np.ndarray) -> bool:
    """Whether a - g has as many numbers as a, as with (k,) and (1, k), unlike (k,) and (k, 1)."""
    try:
        return g.size == a.size == math.prod(np.broadcast_shapes(g.shape, a.shape))
    except ValueError:
        return False


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.size == b.size and bool(b.any()) and norm(a.reshape(-1) - b.reshape(-1)) <= 10 * CLOSE * norm(b)


def _given_for(numerical: np.ndarray, name: str, analytic: Tensors) -> str | None:
    """The other tensor whose gradient is in truth this one's."""
    return next((other for other, g in analytic.items() if other != name and _close(g, numerical)), None)


def misplaced(case: Case) -> Guess | None:
    """The right numbers, returned for another tensor or in another order."""
    analytic = case.gradients(case.point)
    for name in dict.fromkeys(part.name for part in case.bad):
        if case.point[name].size > MOST or not analytic[name].any():
            continue
        numerical = case.numerical(case.point, name)
        if other := _given_for(numerical, name, analytic):
            return Guess("gradient-order", f"The gradient returned for {other} is that of {name}.")
        if numerical.size > 2 and _close(np.sort(analytic[name], None), np.sort(numerical, None)):
            turned = numerical.ndim == 2 and _close(analytic[name].T, numerical)
            words = "is the transpose of the right one" if turned else "has the right numbers in another order"
            return Guess("gradient-order", f"The gradient of {name} {words}.")
    return None


def still(case: Case) -> Guess | None:
    """The loss does not move with any parameter."""
    if any(norm(part.numerical) > 1e-9 * norm(part.analytic) for part in case.parts):
        return None
    size = max(float(np.abs(part.analytic).max()) for part in case.parts)
    evidence = f"No parameter moves the loss, and the analytic gradient has entries up to {size:.3g}."
    return Guess("loss-does-not-move", evidence)


def zero(case: Case) -> Guess | None:
    """Every wrong gradient is zero."""
    if any(part.analytic.any() for part in case.bad):
        return None
    return Guess("gradient-zero", f"The gradient of {listed(case.bad)} is zero, and the loss moves with it.")


def near(case: Case) -> Guess | None:
    """Every gradient is right to a thousandth, and some not quite."""
    worst = max(part.misfit(part.numerical) for part in case.parts)
    if worst > 1e-3 or any(part.excess(part.values) is not None for part in case.bad if len(part.analytic) > 1):
        return None
    return Guess("nearly-right", f"Gradients are off by at most {worst:.1e} of their size.", certain=False)


def penalties(case: Case) -> Guess | None:
    """The gradients differ by a multiple of the parameters themselves."""
    bad = case.bad
    signs = [part.excess(np.sign(part.values)) for part in bad]
    if None not in signs and any(len(part.analytic) > 2 for part in bad):
        return Guess("l1-missing", f"analytic - numerical is {signs[0]:.6g} times the signs of {listed(bad)}.")
    excesses = [c for part in bad if (c := part.excess(part.values)) is not None]
    if len(excesses) < len(bad) or all(len(part.analytic) == 1 for part in bad):
        return None
    c = float(np.median(excesses))
    if np.ptp(excesses) > 0.01 * abs(c):
        return None
    evidence = f"analytic - numerical is {c:.6g} times the parameters themselves in {listed(bad)}"
    if all(part.kind == "b" for part in bad):
        if c > 0:
            return Guess("l2-on-biases", f"{evidence}, and the weights are right.")
        return Guess("l2-missing", f"{evidence}: the loss penalises biases.")
    layer = min(bad[0].layer, len(case.layers) - 2)
    if layer < 0:
        return Guess("l2-missing" if c < 0 else "l2-not-averaged", f"{evidence}.", certain=False)
    of_loss = penalty_rate(case, layer)
    of_gradient = of_loss + c
    evidence = f"{evidence}; the loss has L2 with {of_loss:.6g}, the gradient with {of_gradient:.6g}"
    small = 1e-3 * abs(c)
    if abs(of_gradient) < small or abs(of_loss) < small:
        return Guess("l2-missing", f"{evidence}.")
    if abs(of_gradient + of_loss) < small:
        return Guess("sign-flipped", f"{evidence}: the penalty's sign is the wrong one.")
    evidence = f"{evidence}, {of_gradient / of_loss:.6g} times as much."
    return Guess("l2-not-averaged", evidence, certain=layer == bad[0].layer)


def factors(case: Case) -> Guess | None:
    """Analytic is a constant times numerical in every part that is wrong; a penalty may stand beside it."""
    bad = case.bad
    values = np.array([part.factor or 0.0 for part in bad])
    if not values.all():
        return None
    by_name = {part.name: a for part, a in zip(bad, values, strict=True)}
    evidence = "analytic / numerical is " + ", ".join(f"{a:.6g} in {name}" for name, a in by_name.items())
    precision = max(part.precision for part in bad)
    same, a = np.ptp(values) <= precision * np.abs(values).max(), float(np.median(values))
    below_right = all(p.layer > q.layer for p in case.parts if p.good for q in bad) and len(bad) < len(case.parts)
    if same and abs(a + 1) < precision:
        return Guess("sign-flipped", f"{evidence}.")
    if same and len(bad) == len(case.parts):
        return _everywhere(case, a, precision, evidence)
    if below_right and _falls_going_down(bad) and _has_dropout(case):
        return Guess("dropout-scale-missing", f"{evidence}, and the layers above are right.")
    m = _whole(a, precision)
    if not same:
        m = _whole(float(values.max()), precision)
        powers = np.log(values) / -np.log(m) if m else np.zeros(1)
        whole = np.round(powers).min() > 0 and np.abs(powers - np.round(powers)).max() < precision
        return (
            Guess("mean-twice", f"{evidence}: powers of 1/{m}, a batch of {m} samples.", False) if whole else None
        )
    if all(part.kind == "b" for part in bad):
        if all(len(part.analytic) == 1 for part in bad):
            return None
        if m:
            evidence = f"{evidence}, and the weights are right: a batch of {m} samples."
            return Guess("bias-not-summed" if a < 1 else "missing-batch-mean", evidence, certain=a < 1)
    if m:
        evidence = f"{evidence}, and the others are right: a batch of {m} samples."
        return Guess("missing-batch-mean" if a > 1 else "mean-twice", evidence, certain=False)
    return Guess("constant-factor", f"{evidence}, and the others are right.", certain=False)


def _falls_going_down(bad: Sequence[Part]) -> bool:
    """Whether each layer has one factor, below 1 and below that of the layer above."""
    layers: dict[int, list[float]] = {}
    for part in bad:
        layers.setdefault(part.layer, []).append(part.factor or 0.0)
    one = all(np.ptp(a) <= CLOSE for a in layers.values())
    return one and all(0 < a < b for a, b in pairwise([*(layers[i][0] for i in sorted(layers)), 1.0]))


def _has_dropout(case: Case) -> bool:
    return any(has_dropout(case, layer)[1] for layer in range(len(case.layers) - 1))


def _whole(a: float, precision: float) -> int | None:
    """The whole number, a batch of 3 or more, that a or 1/a is."""
    times = max(a, 1 / a)
    return round(times) if times > 2.5 and abs(times / round(times) - 1) < precision else None


def _everywhere(case: Case, a: float, precision: float, evidence: str) -> Guess:
    """One factor in every gradient: the batch, the outputs, the squared error's own, or the user's."""
    loss, samples = loss_of(case), _whole(a, precision)
    k = case.layers[-1].weight(case.point).shape[1] if case.layers else 0
    evidence = f"{evidence}: every gradient is right up to the factor {a:.6g}"

    def equal(x: float, y: float) -> bool:
        return abs(x / y - 1) < max(precision, CLOSE)

    if loss is None or loss.squared:
        known = {2.0, 0.5} | ({float(k), 1 / k, 2 / k, k / 2} - {1.0} if loss else set())
        if any(equal(a, factor) for factor in known):
            return Guess("mse-factor", f"{evidence}; the loss has {k or 'unknown'} outputs.", certain=bool(loss))
    elif k > 1 and equal(loss.s, 1 / k) and equal(a, k):
        return Guess("missing-output-mean", f"{evidence}; the loss is a mean over its {k} outputs too.")
    elif loss.s > 1.5 and equal(a, 1 / loss.s):
        return Guess("missing-batch-mean", f"{evidence}; the loss is a sum over {loss.s:.6g} samples.")
    if samples is None:
        return Guess("constant-factor", f"{evidence}.", certain=min(abs(a - 2), abs(a - 0.5)) > CLOSE)
    evidence = (
        f"{evidence}. A batch of {samples} samples explains it; if yours is another, a factor of your own does."
    )
    return Guess("missing-batch-mean" if a > 1 else "mean-twice", evidence, certain=False)


def normalization(case: Case) -> Guess | None:
    """Scaling weights does not change the loss, as before batch normalisation, and the analytic gradient does."""
    gradients = case.gradients(case.point)
    for part in case.bad:
        W, g = case.point[part.name], gradients[part.name]
        if part.kind == "b" or W.ndim < 2:
            continue
        size = norm(part.numerical) * (W.size / len(part.numerical)) ** 0.5 * norm(W)
        along = case.along(case.point, part.name, W)
        if abs(along) < 1e-3 * size and abs(float(np.sum(g * W))) > 1e-2 * norm(g) * norm(W):
            evidence = (
                f"Scaling {part.name} leaves the loss as it is, and the analytic gradient has a part along it."
            )
            return Guess("normalization-terms-missing", evidence, certain=False)
    return None


def single_parts(case: Case) -> Guess | None:
    """A layer whose weights or biases alone are wrong, while the error that goes through it is right."""
    if not case.layers:
        return None
    top = max(part.layer for part in case.bad)
    W, b = case.part(top, "W"), case.part(top, "b")
    if all(part.kind == "b" for part in case.bad):
        evidence = f"The gradient of {listed(case.bad)} is wrong and every weight's is right."
        return Guess("bias-not-summed", evidence, certain=False)
    below_right = top > 0 and all(part.good for part in case.parts if part.layer == top - 1)
    if W is not None and not W.good and ((b is not None and b.good) or (b is None and below_right)):
        right = b.name if b is not None else "the layer below"
        return Guess(
            "wrong-layer-input",
            f"The gradient of {W.name} is wrong and that of {right} is right: dz is right, x not.",
        )
    return None
