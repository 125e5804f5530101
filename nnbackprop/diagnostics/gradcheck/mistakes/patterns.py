"""Rules that read the gradients as they are: shapes, places, constant factors, penalties, one wrong tensor."""

from __future__ import annotations

from itertools import dropwhile

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors, Value, partial_derivatives

from .catalogue import Mistake
from .evidence import Case, names_of, norm
from .hidden_layer import find_dropout_masks, l2_of_loss
from .output_layer import loss_of

TOLERANCE = 1e-6
MAX_ENTRIES = 1000  # of a tensor that is compared as a whole


def wrong_shapes(value: Value, point: Tensors, analytic: Tensors) -> Mistake | None:
    """Gradients that are not finite, or have another shape than their parameter; `analytic` as it was returned."""
    for name, a in point.items():
        g = analytic[name]
        if bad := int(np.count_nonzero(~np.isfinite(g))):
            evidence = f"{bad} of {g.size} numbers in the gradient of {name} are NaN or infinite."
            return Mistake("gradient-not-finite", evidence)
        if _broadcast_shape(g) == _broadcast_shape(a):
            continue
        evidence = f"The gradient of {name} has shape {g.shape}, and {name} has {a.shape}"
        if a.size <= MAX_ENTRIES:
            numerical = partial_derivatives(value, point, name, range(a.size), TOLERANCE).values
            if other := _returned_for(numerical, name, analytic):
                return Mistake("gradient-order", f"{evidence}; the one returned for {other} is that of {name}.")
            for axis in range(g.ndim) if g.size != a.size else ():
                if _close(g.sum(axis=axis), numerical):
                    evidence = f"{evidence}. Its sum over axis {axis} ({g.shape[axis]}) is right."
                    return Mistake("bias-not-summed", evidence)
        if g.size != a.size and (a.ndim < 2 or 1 in a.shape):
            return Mistake("bias-not-summed", f"{evidence}.", certain=False)
        return Mistake("gradient-shape", f"{evidence}: {name} -= lr * d{name} goes wrong.")
    return None


def _broadcast_shape(a: np.ndarray) -> tuple[int, ...]:
    """Without leading ones: a - g keeps the shape of a with (k,) and (1, k), not with (k,) and (k, 1)."""
    return tuple(dropwhile(lambda size: size == 1, a.shape))


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.size == b.size and bool(b.any()) and norm(a.reshape(-1) - b.reshape(-1)) <= 10 * TOLERANCE * norm(b)


def _returned_for(numerical: np.ndarray, name: str, analytic: Tensors) -> str | None:
    """The other tensor for which the gradient of `name` was returned."""
    return next((other for other, g in analytic.items() if other != name and _close(g, numerical)), None)


def another_order(case: Case) -> Mistake | None:
    """The right numbers, returned for another tensor or in another order."""
    for name in (t.name for t in case.wrong):
        g = case.analytic[name]
        if g.size > MAX_ENTRIES or not g.any():
            continue
        values = partial_derivatives(case.value, case.point, name, range(g.size), 1e-4).values
        numerical = np.nan_to_num(values).reshape(g.shape)
        if other := _returned_for(numerical, name, case.analytic):
            return Mistake("gradient-order", f"The gradient returned for {other} is that of {name}.")
        if g.size > 2 and _close(np.sort(g, None), np.sort(numerical, None)):
            return Mistake("gradient-order", f"The gradient of {name} has the right numbers in another order.")
    return None


def zero_or_nearly_right(case: Case) -> Mistake | None:
    """The loss does not move at all, or the wrong gradients are zero, or nearly right."""
    if all(norm(t.numerical) <= 1e-9 * norm(t.analytic) for t in case.tensors):
        size = max(float(np.abs(t.analytic).max()) for t in case.tensors)
        evidence = f"No parameter moves the loss, and the analytic gradient has entries up to {size:.3g}."
        return Mistake("loss-does-not-move", evidence)
    if not any(t.analytic.any() for t in case.wrong):
        return Mistake("gradient-zero", f"The gradient of {names_of(case.wrong)} is 0; the loss moves with it.")
    worst = max(t.error(t.numerical) for t in case.tensors)
    if worst > 1e-3 or any(t.excess(t.values) is not None for t in case.wrong if len(t.analytic) > 1):
        return None
    return Mistake("nearly-right", f"Gradients are off by at most {worst:.1e} of their size.", certain=False)


def wrong_penalty(case: Case) -> Mistake | None:
    """The gradients differ by a multiple of the parameters themselves, or of their signs."""
    wrong = case.wrong
    signs = [t.excess(np.sign(t.values)) for t in wrong]
    if None not in signs and any(len(t.analytic) > 2 for t in wrong):
        return Mistake(
            "l1-missing", f"analytic - numerical is {signs[0]:.6g} times the signs of {names_of(wrong)}."
        )
    excesses = [c for t in wrong if (c := t.excess(t.values)) is not None]
    if len(excesses) < len(wrong) or all(len(t.analytic) == 1 for t in wrong):
        return None
    c = float(np.median(excesses))
    if np.ptp(excesses) > 0.01 * abs(c):
        return None
    evidence = f"analytic - numerical is {c:.6g} times the parameters themselves in {names_of(wrong)}"
    if all(t.kind == "b" for t in wrong):
        if c > 0:
            return Mistake("l2-on-biases", f"{evidence}, and the weights are right.")
        return Mistake("l2-missing", f"{evidence}: the loss penalizes biases.")
    layer = min(wrong[0].layer, len(case.layers) - 2)
    if layer < 0:
        return Mistake("l2-missing" if c < 0 else "l2-not-averaged", f"{evidence}.", certain=False)
    of_loss = l2_of_loss(case, layer)
    of_gradient = of_loss + c
    evidence = f"{evidence}; the loss has L2 with {of_loss:.6g}, the gradient with {of_gradient:.6g}."
    if min(abs(of_gradient), abs(of_loss)) < 1e-3 * abs(c):
        return Mistake("l2-missing", evidence)
    return Mistake("l2-not-averaged", evidence, certain=layer == wrong[0].layer)


def constant_factors(case: Case) -> Mistake | None:
    """Analytic is a constant times numerical in every wrong tensor, but perhaps for a penalty."""
    wrong = case.wrong
    values = np.array([t.factor or 0.0 for t in wrong])
    if not values.all():
        return None
    factors = ", ".join(f"{a:.6g} in {t.name}" for t, a in zip(wrong, values, strict=True))
    evidence = f"analytic / numerical is {factors}"
    precision = 1e-8 + max(t.rounding / (norm(t.numerical) or 1.0) for t in wrong)  # of a, relative to 1
    same, a = np.ptp(values) <= precision * np.abs(values).max(), float(np.median(values))
    if same and abs(a + 1) < precision:
        return Mistake("sign-flipped", f"{evidence}.")
    if same and len(wrong) == len(case.tensors):
        return _one_factor(case, a, precision, f"{evidence}: every gradient is right up to the factor {a:.6g}")
    too_small_below = _all_below(case) and 0 < min(values) <= max(values) < 1
    if too_small_below and any(find_dropout_masks(case, layer)[1] for layer in range(len(case.layers) - 1)):
        return Mistake("dropout-scale-missing", f"{evidence}, and the layers above are right.")
    if not same:
        n = _batch_size(float(values.max()), precision)
        powers = np.log(values) / -np.log(n) if n else np.zeros(1)
        whole = np.round(powers).min() > 0 and np.abs(powers - np.round(powers)).max() < precision
        evidence = f"{evidence}: powers of 1/{n}, a batch of {n} samples."
        return Mistake("mean-twice", evidence, certain=False) if whole else None
    biases = all(t.kind == "b" for t in wrong)
    if biases and all(len(t.analytic) == 1 for t in wrong):
        return None  # one number is always a multiple of another
    n, images = _batch_size(a, precision), any(w.ndim == 4 for w in case.point.values())
    if n and a > 1 and images and _all_below(case):
        evidence = f"{evidence}, and the layers above are right: the mean of windows of {n} pixels."
        return Mistake("pooling-mean-missing", evidence, certain=False)
    if n:
        id = "missing-batch-mean" if a > 1 else "bias-not-summed" if biases else "mean-twice"
        or_places = f", or {n} places of an image" if images else ""
        evidence = f"{evidence}, and the others are right: a batch of {n} samples{or_places}."
        return Mistake(id, evidence, certain=id == "bias-not-summed")
    return Mistake("constant-factor", f"{evidence}, and the others are right.", certain=False)


def _all_below(case: Case) -> bool:
    """Whether every right gradient is of a later layer than all wrong ones."""
    right = [t.layer for t in case.tensors if t.right]
    return bool(right) and min(right) > max(t.layer for t in case.wrong)


def _batch_size(a: float, precision: float) -> int | None:
    """The whole number, a batch of 3 or more, that a or 1/a is."""
    n = max(a, 1 / a)
    return round(n) if n > 2.5 and abs(n / round(n) - 1) < precision else None


def _one_factor(case: Case, a: float, precision: float, evidence: str) -> Mistake:
    """One factor in every gradient: the batch, the outputs, the squared error's own, or the user's."""
    loss, n = loss_of(case), _batch_size(a, precision)
    k = len(loss.q) if loss else 0

    def equal(x: float, y: float) -> bool:
        return abs(x / y - 1) < max(precision, TOLERANCE)

    if loss is None or loss.squared:
        known = {2.0, 0.5} | ({float(k), 1 / k, 2 / k, k / 2} - {1.0} if loss else set())
        if any(equal(a, factor) for factor in known):
            return Mistake("mse-factor", f"{evidence}; the loss has {k or 'unknown'} outputs.", certain=bool(loss))
    elif k > 1 and equal(loss.s, 1 / k) and equal(a, k):
        return Mistake("missing-output-mean", f"{evidence}; the loss is a mean over its {k} outputs too.")
    elif loss.s > 1.5 and equal(a, 1 / loss.s):
        return Mistake("missing-batch-mean", f"{evidence}; the loss is a sum over {loss.s:.6g} samples.")
    if n is None:
        return Mistake("constant-factor", f"{evidence}.", certain=min(abs(a - 2), abs(a - 0.5)) > TOLERANCE)
    evidence = f"{evidence}. A batch of {n} samples explains it; if yours is another, a factor of your own does."
    return Mistake("missing-batch-mean" if a > 1 else "mean-twice", evidence, certain=False)


def one_wrong_tensor(case: Case) -> Mistake | None:
    """Weights or biases alone are wrong, while the error that goes through their layer is right."""
    wrong = case.wrong
    if not case.layers:
        return _used_twice(case)
    if all(t.kind == "b" for t in wrong):
        evidence = f"The gradient of {names_of(wrong)} is wrong and every weight's is right."
        return Mistake("bias-not-summed", evidence, certain=False)
    top = max(t.layer for t in wrong)
    W, b = case.tensor(top, "W"), case.tensor(top, "b")
    below_right = top > 0 and all(t.right for t in case.tensors if t.layer == top - 1)
    if W is not None and not W.right and (b.right if b else below_right):
        right = b.name if b else "the layer below"
        evidence = (
            f"The gradient of {W.name} is wrong and that of {right} is right: {W.name}'s is built of another x, "
            "or of another dz."
        )
        return Mistake("wrong-layer-input", evidence, certain=False)
    return None


def _used_twice(case: Case) -> Mistake | None:
    """An autoencoder's W (in, out), the only wrong one, with biases (out,) and (in,): its decoder is W^T."""
    name = case.wrong[0].name
    shape, others = case.point[name].shape, [a.shape for other, a in case.point.items() if other != name]
    if len(case.wrong) == 1 and len(shape) == 2 and sorted(others) == sorted((size,) for size in shape):
        evidence = f"Only the gradient of {name} {shape} is wrong, and biases fit both of its axes."
        return Mistake("tied-weight", evidence, certain=False)
    return None
