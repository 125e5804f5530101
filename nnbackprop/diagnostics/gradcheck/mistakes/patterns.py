"""Rules that read the gradients as they are: shapes, places, constant factors, penalties, one wrong part."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors, Value, partial_derivatives

from .catalogue import Guess
from .evidence import Case, listed, norm
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
    if any(norm(p.numerical) > 100 * p.noise * len(p.numerical) ** 0.5 for p in case.parts):
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
    if worst > 1e-3 or any(part.excess is not None for part in case.bad if len(part.analytic) > 1):
        return None
    return Guess("nearly-right", f"Gradients are off by at most {worst:.1e} of their size.", certain=False)


def penalties(case: Case) -> Guess | None:
    """The gradients differ by a multiple of the parameters themselves."""
    bad = case.bad
    excesses = [part.excess for part in bad if part.excess is not None]
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
    found = {part: part.factor for part in case.bad}
    values = np.array([a for a in found.values() if a is not None])
    if len(values) < len(found) or not values.all():
        return None
    by_name = {part.name: a for part, a in found.items()}
    evidence = "analytic / numerical is " + ", ".join(f"{a:.6g} in {name}" for name, a in by_name.items())
    precision = max(part.precision for part in case.bad)
    a = float(np.median(values))
    if np.ptp(values) > precision * np.abs(values).max():
        return _several(case, values, precision, evidence)
    if abs(a + 1) < precision:
        return Guess("sign-flipped", f"{evidence}.")
    if len(found) == len(case.parts):
        return _everywhere(case, a, precision, evidence)
    return _somewhere(case, a, precision, evidence)


def _several(case: Case, values: np.ndarray, precision: float, evidence: str) -> Guess | None:
    """A factor that grows from layer to layer going down."""
    m = round(1 / values.max()) if 0 < values.max() < 1 else 0
    if m > 2 and values.min() > 0:  # 1/2 is more likely a dropout's keep
        powers = np.log(values) / -np.log(m)
        if np.abs(powers - np.round(powers)).max() < precision:
            return Guess("mean-twice", f"{evidence}: powers of 1/{m}, by a batch of {m} samples.", certain=False)
    layers: dict[int, list[float]] = {}
    for part in case.bad:
        layers.setdefault(part.layer, []).append(part.factor or 0.0)
    same = all(np.ptp(a) <= precision * max(a) for a in layers.values())
    means = [float(np.mean(layers[layer])) for layer in sorted(layers)]
    if same and _below_right(case) and all(0 < a < b for a, b in pairwise([*means, 1.0])) and _dropout(case):
        return Guess("dropout-scale-missing", f"{evidence}: less in each layer further down.")
    return None


def _somewhere(case: Case, a: float, precision: float, evidence: str) -> Guess | None:
    """One factor in some of the gradients, while the others are right."""
    samples = _whole(a, precision)
    if all(part.kind == "b" for part in case.bad):
        if not samples or all(len(part.analytic) == 1 for part in case.bad):
            return None
        id = "bias-not-summed" if a < 1 else "missing-batch-mean"
        return Guess(id, f"{evidence}, and the weights are right: by a batch of {samples} samples.", certain=a < 1)
    if _below_right(case) and 0 < a < 1 and _dropout(case):
        return Guess("dropout-scale-missing", f"{evidence}, and the layers above are right.")
    if samples and a > 0:
        id = "missing-batch-mean" if a > 1 else "mean-twice"
        return Guess(id, f"{evidence}, and the others are right: by a batch of {samples} samples.", certain=False)
    return Guess("constant-factor", f"{evidence}, and the others are right.", certain=False)


def _whole(a: float, precision: float) -> int | None:
    """The whole number, 2 or more, that a or 1/a is."""
    times = max(a, 1 / a)
    return round(times) if times > 1.5 and abs(times / round(times) - 1) < precision else None


def _everywhere(case: Case, a: float, precision: float, evidence: str) -> Guess:
    """One factor in every gradient: the batch, the outputs, the squared error's own, or the user's."""
    loss = loss_of(case)
    k = case.layers[-1].weight(case.point).shape[1] if case.layers else 0
    words = f"{evidence}: every gradient is right up to the factor {a:.6g}"

    def equal(x: float, y: float) -> bool:
        return abs(x / y - 1) < max(precision, CLOSE)

    if loss is None or loss.squared:
        own = {2.0, 0.5} | ({float(k), 1 / k, 2 / k, k / 2} if loss else set())
        if any(equal(a, factor) for factor in own - {1.0}):
            return Guess("mse-factor", f"{words}, and the loss has {k or 'some'} outputs.", bool(loss))
    elif k > 1 and equal(loss.s, 1 / k) and equal(a, k):
        return Guess("missing-output-mean", f"{words}; the loss is a mean over its {k} outputs too.")
    elif loss.s > 1.5 and equal(a, 1 / loss.s):
        return Guess("missing-batch-mean", f"{words}; the loss is a sum over {loss.s:.6g} samples.")
    samples = _whole(a, precision)
    if samples is None or a < 0:
        return Guess("constant-factor", f"{words}.")
    words = f"{words}. A batch of {samples} samples explains it; if yours is another, a factor of your own does"
    return Guess("missing-batch-mean" if a > 1 else "mean-twice", f"{words}.", certain=False)


def _below_right(case: Case) -> bool:
    """Whether all that is wrong lies below all that is right."""
    good = [part.layer for part in case.parts if part.good]
    return bool(good) and max(part.layer for part in case.bad) < min(good)


def _dropout(case: Case) -> bool:
    return any(has_dropout(case, layer) for layer in range(len(case.layers) - 1))


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
