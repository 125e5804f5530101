"""Rules that read the gradients as they are: shapes, places, constant factors, penalties, one wrong part."""

from __future__ import annotations

from itertools import dropwhile

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors, Value, partial_derivatives

from .catalogue import Mistake
from .evidence import Case, listed, norm
from .hidden_layer import has_dropout, l2_of_loss
from .output_layer import loss_of

CLOSE = 1e-6
MOST = 1000  # entries of a tensor that is compared as a whole


def wrong_shapes(value: Value, point: Tensors, analytic: Tensors) -> Mistake | None:
    """Gradients that are not finite, or have another shape than their parameter; `analytic` as it was returned."""
    for name, a in point.items():
        g = analytic[name]
        if lost := int(np.count_nonzero(~np.isfinite(g))):
            evidence = f"{lost} of {g.size} numbers in the gradient of {name} are NaN or infinite."
            return Mistake("gradient-not-finite", evidence)
        if _broadcast_shape(g) == _broadcast_shape(a):
            continue
        words = f"The gradient of {name} has shape {g.shape}, and {name} has {a.shape}"
        if a.size <= MOST:
            numerical = partial_derivatives(value, point, name, range(a.size), CLOSE).values
            if other := _given_for(numerical, name, analytic):
                return Mistake("gradient-order", f"{words}; the one returned for {other} is that of {name}.")
            for axis in range(g.ndim) if g.size != a.size else ():
                if _close(g.sum(axis=axis), numerical):
                    evidence = f"{words}. Its sum over axis {axis} ({g.shape[axis]}) is right."
                    return Mistake("bias-not-summed", evidence)
        if g.size != a.size and (a.ndim < 2 or 1 in a.shape):
            return Mistake("bias-not-summed", f"{words}.", certain=False)
        return Mistake("gradient-shape", f"{words}: {name} -= lr * d{name} goes wrong.")
    return None


def _broadcast_shape(a: np.ndarray) -> tuple[int, ...]:
    """Without leading ones: a - g keeps the shape of a with (k,) and (1, k), not with (k,) and (k, 1)."""
    return tuple(dropwhile(lambda size: size == 1, a.shape))


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.size == b.size and bool(b.any()) and norm(a.reshape(-1) - b.reshape(-1)) <= 10 * CLOSE * norm(b)


def _given_for(numerical: np.ndarray, name: str, analytic: Tensors) -> str | None:
    """The other tensor whose gradient is in truth this one's."""
    return next((other for other, g in analytic.items() if other != name and _close(g, numerical)), None)


def misplaced(case: Case) -> Mistake | None:
    """The right numbers, returned for another tensor or in another order."""
    analytic = case.gradients(case.point)
    for name in (part.name for part in case.wrong):
        g = analytic[name]
        if g.size > MOST or not g.any():
            continue
        values = partial_derivatives(case.value, case.point, name, range(g.size), 1e-4).values
        numerical = np.nan_to_num(values).reshape(g.shape)
        if other := _given_for(numerical, name, analytic):
            return Mistake("gradient-order", f"The gradient returned for {other} is that of {name}.")
        if g.size > 2 and _close(np.sort(g, None), np.sort(numerical, None)):
            turned = g.ndim == 2 and _close(g.T, numerical)
            words = "is the transpose of the right one" if turned else "has the right numbers in another order"
            return Mistake("gradient-order", f"The gradient of {name} {words}.")
    return None


def zero_or_near(case: Case) -> Mistake | None:
    """The loss does not move at all, or the wrong gradients are zero, or nearly right."""
    if all(norm(part.numerical) <= 1e-9 * norm(part.analytic) for part in case.parts):
        size = max(float(np.abs(part.analytic).max()) for part in case.parts)
        evidence = f"No parameter moves the loss, and the analytic gradient has entries up to {size:.3g}."
        return Mistake("loss-does-not-move", evidence)
    if not any(part.analytic.any() for part in case.wrong):
        return Mistake(
            "gradient-zero", f"The gradient of {listed(case.wrong)} is zero, and the loss moves with it."
        )
    worst = max(part.misfit(part.numerical) for part in case.parts)
    if worst > 1e-3 or any(part.excess(part.values) is not None for part in case.wrong if len(part.analytic) > 1):
        return None
    return Mistake("nearly-right", f"Gradients are off by at most {worst:.1e} of their size.", certain=False)


def wrong_penalty(case: Case) -> Mistake | None:
    """The gradients differ by a multiple of the parameters themselves."""
    wrong = case.wrong
    signs = [part.excess(np.sign(part.values)) for part in wrong]
    if None not in signs and any(len(part.analytic) > 2 for part in wrong):
        return Mistake("l1-missing", f"analytic - numerical is {signs[0]:.6g} times the signs of {listed(wrong)}.")
    excesses = [c for part in wrong if (c := part.excess(part.values)) is not None]
    if len(excesses) < len(wrong) or all(len(part.analytic) == 1 for part in wrong):
        return None
    c = float(np.median(excesses))
    if np.ptp(excesses) > 0.01 * abs(c):
        return None
    evidence = f"analytic - numerical is {c:.6g} times the parameters themselves in {listed(wrong)}"
    if all(part.kind == "b" for part in wrong):
        if c > 0:
            return Mistake("l2-on-biases", f"{evidence}, and the weights are right.")
        return Mistake("l2-missing", f"{evidence}: the loss penalises biases.")
    layer = min(wrong[0].layer, len(case.layers) - 2)
    if layer < 0:
        return Mistake("l2-missing" if c < 0 else "l2-not-averaged", f"{evidence}.", certain=False)
    of_loss = l2_of_loss(case, layer)
    of_gradient = of_loss + c
    evidence = f"{evidence}; the loss has L2 with {of_loss:.6g}, the gradient with {of_gradient:.6g}"
    small = 1e-3 * abs(c)
    if abs(of_gradient) < small or abs(of_loss) < small:
        return Mistake("l2-missing", f"{evidence}.")
    if abs(of_gradient + of_loss) < small:
        return Mistake("sign-flipped", f"{evidence}: the penalty's sign is the wrong one.")
    evidence = f"{evidence}, {of_gradient / of_loss:.6g} times as much."
    return Mistake("l2-not-averaged", evidence, certain=layer == wrong[0].layer)


def constant_factors(case: Case) -> Mistake | None:
    """Analytic is a constant times numerical in every part that is wrong; a penalty may stand beside it."""
    wrong = case.wrong
    values = np.array([part.factor or 0.0 for part in wrong])
    if not values.all():
        return None
    evidence = "analytic / numerical is " + ", ".join(
        f"{a:.6g} in {part.name}" for part, a in zip(wrong, values, strict=True)
    )
    precision = 1e-8 + max(part.rounding / (norm(part.numerical) or 1.0) for part in wrong)  # of a, relative to 1
    same, a = np.ptp(values) <= precision * np.abs(values).max(), float(np.median(values))
    if same and abs(a + 1) < precision:
        return Mistake("sign-flipped", f"{evidence}.")
    if same and len(wrong) == len(case.parts):
        return _everywhere(case, a, precision, f"{evidence}: every gradient is right up to the factor {a:.6g}")
    right = [part.layer for part in case.parts if part.right]
    below = (
        bool(right) and min(right) > max(part.layer for part in wrong) and values.min() > 0 and values.max() < 1
    )
    if below and any(has_dropout(case, layer)[1] for layer in range(len(case.layers) - 1)):
        return Mistake("dropout-scale-missing", f"{evidence}, and the layers above are right.")
    if not same:
        m = _whole(float(values.max()), precision)
        powers = np.log(values) / -np.log(m) if m else np.zeros(1)
        whole = np.round(powers).min() > 0 and np.abs(powers - np.round(powers)).max() < precision
        words = f"{evidence}: powers of 1/{m}, a batch of {m} samples."
        return Mistake("mean-twice", words, certain=False) if whole else None
    biases = all(part.kind == "b" for part in wrong)
    if biases and all(len(part.analytic) == 1 for part in wrong):
        return None
    if m := _whole(a, precision):
        id = "missing-batch-mean" if a > 1 else "bias-not-summed" if biases else "mean-twice"
        words = f"{evidence}, and the others are right: a batch of {m} samples."
        return Mistake(id, words, certain=id == "bias-not-summed")
    return Mistake("constant-factor", f"{evidence}, and the others are right.", certain=False)


def _whole(a: float, precision: float) -> int | None:
    """The whole number, a batch of 3 or more, that a or 1/a is."""
    times = max(a, 1 / a)
    return round(times) if times > 2.5 and abs(times / round(times) - 1) < precision else None


def _everywhere(case: Case, a: float, precision: float, evidence: str) -> Mistake:
    """One factor in every gradient: the batch, the outputs, the squared error's own, or the user's."""
    loss, samples = loss_of(case), _whole(a, precision)
    k = len(loss.q) if loss else 0

    def equal(x: float, y: float) -> bool:
        return abs(x / y - 1) < max(precision, CLOSE)

    if loss is None or loss.squared:
        known = {2.0, 0.5} | ({float(k), 1 / k, 2 / k, k / 2} - {1.0} if loss else set())
        if any(equal(a, factor) for factor in known):
            return Mistake("mse-factor", f"{evidence}; the loss has {k or 'unknown'} outputs.", certain=bool(loss))
    elif k > 1 and equal(loss.s, 1 / k) and equal(a, k):
        return Mistake("missing-output-mean", f"{evidence}; the loss is a mean over its {k} outputs too.")
    elif loss.s > 1.5 and equal(a, 1 / loss.s):
        return Mistake("missing-batch-mean", f"{evidence}; the loss is a sum over {loss.s:.6g} samples.")
    if samples is None:
        return Mistake("constant-factor", f"{evidence}.", certain=min(abs(a - 2), abs(a - 0.5)) > CLOSE)
    words = (
        f"{evidence}. A batch of {samples} samples explains it; if yours is another, a factor of your own does."
    )
    return Mistake("missing-batch-mean" if a > 1 else "mean-twice", words, certain=False)


def normalization(case: Case) -> Mistake | None:
    """Scaling weights does not change the loss, as before batch normalisation, and the analytic gradient does."""
    gradients = case.gradients(case.point)
    for part in case.wrong:
        W, g = case.point[part.name], gradients[part.name]
        if part.kind == "b" or W.ndim < 2:
            continue
        J, doubled = case.value(case.point), case.value(case.at({part.name: 2 * W}))
        if abs(doubled - J) < 1e-4 * abs(J) and abs(float(np.sum(g * W))) > 1e-2 * norm(g) * norm(W):
            words = f"Scaling {part.name} leaves the loss as it is, and the analytic gradient has a part along it."
            return Mistake("normalization-terms-missing", words, certain=False)
    return None


def one_wrong_tensor(case: Case) -> Mistake | None:
    """A layer whose weights or biases alone are wrong, while the error that goes through it is right."""
    if not case.layers:
        return None
    if all(part.kind == "b" for part in case.wrong):
        evidence = f"The gradient of {listed(case.wrong)} is wrong and every weight's is right."
        return Mistake("bias-not-summed", evidence, certain=False)
    top = max(part.layer for part in case.wrong)
    W, b = case.part(top, "W"), case.part(top, "b")
    below_right = top > 0 and all(part.right for part in case.parts if part.layer == top - 1)
    if W is not None and not W.right and (b.right if b else below_right):
        right = b.name if b else "the layer below"
        evidence = f"The gradient of {W.name} is wrong and that of {right} is right: dz is right, x not."
        return Mistake("wrong-layer-input", evidence)
    return None
