"""Experiments on hidden layers: what happens to the error between a layer and the one above.

With W_l = 0 and b_l = c, layer l gives f(c) for every sample and unit, and the gradient of b_l passes through f'
at c alone: as c moves, analytic against numerical shows what was taken in place of f'(c). With W_{l+1} = 0 no
error may come back to layer l at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnbackprop.nn.layers import LeakyReLU

from .catalogue import Mistake
from .evidence import Case, norm
from .output_layer import ELEMENTWISE, bias_gradients, mistaken_derivatives, slope

FITS = 1e-4
LOOSE = 0.02  # what comes back changes by at most so much as a layer's output moves
UNITS = 16  # of a layer that are looked at
INPUTS = np.array([[-1.7], [-0.9], [-0.4], [0.3], [0.8], [1.6]])
"""Where activations are asked: off zero, where rectifiers have their kink."""
SMALL = 1e-3
"""Norm of the weights to a unit above, with which the error hardly depends on the layer's output."""


def hidden_layer(case: Case) -> Mistake | None:
    """The error that reaches a hidden layer is wrong: what happened between it and the layer above?"""
    top = max(part.layer for part in case.wrong)
    if top + 1 >= len(case.layers):
        return None
    here, above = case.layers[top], case.layers[top + 1]
    W, W_above = case.point[here.W], case.point[above.W]
    rng, cut = np.random.Generator(np.random.Philox(key=5)), case.at({above.W: 0})
    rate, v = l2_of_loss(case, top), rng.choice([-1.0, 1.0], W.shape)
    usual, left = (case.derivative_along(point, here.W, v) for point in (case.point, cut))
    if abs(left - rate * float(np.sum(W * v))) > FITS * (abs(usual) or 1.0):
        return None  # the error has another way than through W_{l+1}: no chain of layers
    g = case.gradients(case.point)[here.W]
    if norm(case.gradients(cut)[here.W] - rate * W) > FITS * (norm(g) or 1.0):
        return _other_weights(case, top)
    if W_above.shape[0] == W_above.shape[1]:
        symmetric = case.at({above.W: (W_above + W_above.T) / 2})
        g, directions = case.gradients(symmetric)[here.W], rng.choice([-1.0, 1.0], (4, *W.shape))
        misses = [case.derivative_along(symmetric, here.W, v) - float(np.sum(g * v)) for v in directions]
        if max(map(abs, misses)) <= FITS * norm(g):
            evidence = f"With a symmetric {above.W} the gradient of {here.W} is right."
            return Mistake("weight-transposed", evidence)
    return _from_curves(case, top, here.b) if here.b else None


def l2_of_loss(case: Case, layer: int) -> float:
    """The loss's L2 coefficient of a hidden layer's W, measured where W_{l+1} = 0."""
    name, above = case.layers[layer].W, case.layers[layer + 1].W
    W = case.point[name]
    return case.derivative_along(case.at({above: 0}), name, W) / float(np.sum(W * W))


def has_dropout(case: Case, layer: int) -> tuple[bool, bool]:
    """Whether units with equal weights in and out have unequal biases' gradients, as masks alone make them.

    By the analytic gradient, and by the numerical.
    """
    here, above = case.layers[layer], case.layers[layer + 1].W
    if here.b is None:
        return False, False
    alike = case.at({here.W: 0, here.b: 0.8, above: case.point[above][:1]})
    analytic, numerical = bias_gradients(case, here.b, alike, UNITS)
    return np.ptp(analytic) > FITS * np.abs(analytic).max(), np.ptp(numerical) > FITS * np.abs(numerical).max()


def _other_weights(case: Case, layer: int) -> Mistake:
    """An error comes back with W_{l+1} = 0: through another layer's W, or through W_{l+1} after its update.

    The update is the layer's output f(c) times an error, so it moves with c where another layer's W does not.
    """
    here, above = case.layers[layer], case.layers[layer + 1].W
    words = f"With {above} = 0 no error can come back to {here.W}, and the analytic gradient has one"
    if here.b is None:
        return Mistake("updated-too-early", f"{words}.", certain=False)
    analytic, numerical = (curves[INPUTS[:, 0] > 0] for curves in _curves(case, layer, here.b, scale=0.0))
    factor = np.median(analytic / numerical, axis=0)
    if norm(analytic - factor * numerical) <= max(LOOSE * norm(analytic), FITS * norm(numerical)):
        return Mistake("wrong-layer-weights", f"{words}, which does not depend on the layer's output.")
    return Mistake(
        "updated-too-early", f"{words}, which moves with the layer's output: {above} was updated first."
    )


def _curves(case: Case, layer: int, b: str, scale: float = SMALL) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of b_l (inputs, units) where z_l = c over INPUTS, less a penalty on b.

    The weights to a unit above have norm `scale` in the analytic gradient, SMALL in the numerical. The last
    biases are random, so that no error is small by itself.
    """
    here, above, last = case.layers[layer].W, case.layers[layer + 1].W, case.layers[-1].b
    W = case.point[above]
    W = W / (norm(W) / W.shape[1] ** 0.5 or 1.0)
    flat: dict[str, Any] = {here: 0}
    if last:
        flat[last] = np.random.Generator(np.random.Philox(key=9)).standard_normal(case.point[last].shape)
    analytic, numerical = [], []
    for c in INPUTS:
        penalty = bias_gradients(case, b, case.at({**flat, b: c, above: 0}), UNITS)[1]
        numerical.append(bias_gradients(case, b, case.at({**flat, b: c, above: SMALL * W}), UNITS)[1] - penalty)
        analytic.append(case.gradients(case.at({**flat, b: c, above: scale * W}))[b][:UNITS] - penalty)
    return np.array(analytic), np.array(numerical)


def _from_curves(case: Case, layer: int, b: str) -> Mistake | None:
    analytic, numerical = _curves(case, layer, b)
    if not np.isfinite(analytic).all() or not np.isfinite(numerical).all() or not analytic.any():
        return None
    words = f"With z the same for every sample, the gradient of {b}"
    if fit := _fitted(analytic, numerical):
        id, true, taken = fit
        return Mistake(id, f"{words} follows {true}'(z), and the analytic one {taken}.")
    unit = numerical[:, np.argmax(np.abs(numerical).max(axis=0))]
    multiples = unit @ analytic / (unit @ unit)
    if norm(analytic - np.outer(unit, multiples)) <= LOOSE * norm(analytic):
        words = f"{words} has the right curve, times another factor in each unit"
        in_gradient, in_loss = has_dropout(case, layer)
        if in_gradient or in_loss:
            where = "loss" if in_loss else "gradient"
            return Mistake("dropout-mask-missing", f"{words}; units have dropout masks in the {where}.")
        return _wrong_error(case, layer, b, words)
    if np.ptp(analytic, axis=0).max() <= 2 * LOOSE * np.abs(analytic).max():
        return Mistake("wrong-layer-derivative", f"{words} moves with z, and the analytic one does not.")
    return None


def _wrong_error(case: Case, layer: int, b: str, words: str) -> Mistake | None:
    """Solve gradient of b_l = W_{l+1} e for the error e that came back; it decides with more units than e has."""
    above = case.layers[layer + 1].W
    W, analytic = case.point[above], case.gradients(case.at({case.layers[layer].W: 0, b: 0.8}))[b]
    e = np.linalg.lstsq(W, analytic, rcond=None)[0]
    if norm(W @ e - analytic) > FITS * norm(analytic):
        return None
    evidence = f"{words}; there is no dropout, and an error other than that of {above}'s gradient fits."
    return Mistake("wrong-error-sent-back", evidence, certain=W.shape[0] > W.shape[1])


def _fitted(analytic: np.ndarray, numerical: np.ndarray) -> tuple[str, str, str] | None:
    """The activation f, and the curve w in place of f': analytic f' = numerical w everywhere."""
    unit = numerical[:, np.argmax(np.abs(numerical).max(axis=0))]
    above, below = (float(np.median(unit[side])) for side in (INPUTS[:, 0] > 0, INPUTS[:, 0] < 0))
    leaky = LeakyReLU(float(np.clip(below / above, 1e-3, 0.9)) if above else 0.01)
    for true, layer in {**ELEMENTWISE, "leaky-relu": leaky}.items():
        right = slope(layer, INPUTS)
        size = np.sum(numerical * right, axis=0) / np.sum(right**2)
        if norm(numerical - right * size) > LOOSE * norm(numerical):
            continue
        for id, taken, curve in mistaken_derivatives(true, layer, INPUTS):
            left, other = analytic * right, numerical * curve
            if norm(left - other) <= FITS * (norm(left) + norm(other)):
                return id, true, taken
    return None
