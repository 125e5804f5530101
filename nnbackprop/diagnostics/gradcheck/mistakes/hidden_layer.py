"""Experiments on hidden layers: what happens to the error between a layer and the one above.

With W_l = 0 and b_l = c, layer l gives f(c) for every sample and unit, and the gradient of b_l passes through f'
at c alone: as c moves, analytic against numerical shows what was used in place of f'(c). With W_{l+1} = 0 no
error may come back to layer l at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnbackprop.nn.layers import LeakyReLU

from .catalogue import Mistake
from .evidence import Case, norm
from .output_layer import ELEMENTWISE, bias_gradients, slope, wrong_derivatives

TOLERANCE = 1e-4
LOOSE_TOLERANCE = 0.02  # the error that comes back changes by less as the layer's output moves
MAX_UNITS = 16  # of a layer that are compared
INPUTS = np.array([[-1.7], [-0.9], [-0.4], [0.3], [0.8], [1.6]])
"""z at which activations are compared: off zero, where rectifiers have their kink."""
SMALL = 1e-3
"""Norm of the weights to a unit above, with which the error hardly depends on the layer's output."""


def hidden_layer(case: Case) -> Mistake | None:
    """The error that reaches a hidden layer is wrong: what happened between it and the layer above?"""
    top = max(t.layer for t in case.wrong)
    if top + 1 >= len(case.layers):
        return None
    here, above = case.layers[top], case.layers[top + 1]
    W, W_above = case.point[here.W], case.point[above.W]
    rng, cut = np.random.Generator(np.random.Philox(key=5)), case.point_with({above.W: 0})
    l2, v = l2_of_loss(case, top), rng.choice([-1.0, 1.0], W.shape)
    derivative, derivative_cut = (case.derivative_along(point, here.W, v) for point in (case.point, cut))
    if abs(derivative_cut - l2 * float(np.sum(W * v))) > TOLERANCE * (abs(derivative) or 1.0):
        return None  # the error has another path than through W_{l+1}: no chain of layers
    g = case.analytic[here.W]
    if norm(case.gradients(cut)[here.W] - l2 * W) > TOLERANCE * (norm(g) or 1.0):
        return _other_weights(case, top)
    if W_above.shape[0] == W_above.shape[1]:
        symmetric = case.point_with({above.W: (W_above + W_above.T) / 2})
        g, directions = case.gradients(symmetric)[here.W], rng.choice([-1.0, 1.0], (4, *W.shape))
        errors = [case.derivative_along(symmetric, here.W, v) - float(np.sum(g * v)) for v in directions]
        if max(map(abs, errors)) <= TOLERANCE * norm(g):
            evidence = f"With a symmetric {above.W} the gradient of {here.W} is right."
            return Mistake("weight-transposed", evidence)
    return _compare_curves(case, top, here.b) if here.b else None


def l2_of_loss(case: Case, layer: int) -> float:
    """The loss's L2 coefficient of a hidden layer's W, measured where W_{l+1} = 0."""
    name, above = case.layers[layer].W, case.layers[layer + 1].W
    W = case.point[name]
    return case.derivative_along(case.point_with({above: 0}), name, W) / float(np.sum(W * W))


def find_dropout_masks(case: Case, layer: int) -> tuple[bool, bool]:
    """Whether the analytic gradient has dropout masks, and whether the loss has.

    Units with equal weights in and out have equal biases' gradients, unless their masks differ.
    """
    here, above = case.layers[layer], case.layers[layer + 1].W
    if here.b is None:
        return False, False
    alike = case.point_with({here.W: 0, here.b: 0.8, above: case.point[above][:1]})
    analytic, numerical = (
        bool(np.ptp(g) > TOLERANCE * np.abs(g).max()) for g in bias_gradients(case, here.b, alike, MAX_UNITS)
    )
    return analytic, numerical


def _other_weights(case: Case, layer: int) -> Mistake:
    """An error comes back with W_{l+1} = 0: through another layer's W, or through W_{l+1} after its update.

    The update is the layer's output f(c) times an error, so it moves with c where another layer's W does not.
    """
    here, above = case.layers[layer], case.layers[layer + 1].W
    evidence = f"With {above} = 0 no error can come back to {here.W}, and the analytic gradient has one"
    if here.b is None:
        return Mistake("updated-too-early", f"{evidence}.", certain=False)
    analytic, numerical = (curves[INPUTS[:, 0] > 0] for curves in _curves(case, layer, here.b, scale=0.0))
    factor = np.median(analytic / numerical, axis=0)
    if norm(analytic - factor * numerical) <= max(LOOSE_TOLERANCE * norm(analytic), TOLERANCE * norm(numerical)):
        return Mistake("wrong-layer-weights", f"{evidence}, which does not depend on the layer's output.")
    evidence = f"{evidence}, which moves with the layer's output: {above} was updated first."
    return Mistake("updated-too-early", evidence)


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
        cut, small, scaled = (case.point_with({**flat, b: c, above: size * W}) for size in (0.0, SMALL, scale))
        penalty = bias_gradients(case, b, cut, MAX_UNITS)[1]
        numerical.append(bias_gradients(case, b, small, MAX_UNITS)[1] - penalty)
        analytic.append(case.gradients(scaled)[b][:MAX_UNITS] - penalty)
    return np.array(analytic), np.array(numerical)


def _compare_curves(case: Case, layer: int, b: str) -> Mistake | None:
    analytic, numerical = _curves(case, layer, b)
    if not np.isfinite(analytic).all() or not np.isfinite(numerical).all() or not analytic.any():
        return None
    evidence = f"With z the same for every sample, the gradient of {b}"
    unit = numerical[:, np.argmax(np.abs(numerical).max(axis=0))]  # with the largest gradient
    if found := _used_derivative(analytic, numerical, unit):
        id, activation, used = found
        return Mistake(id, f"{evidence} follows {activation}'(z), and the analytic one {used}.")
    multiples = unit @ analytic / (unit @ unit)
    if norm(analytic - np.outer(unit, multiples)) <= LOOSE_TOLERANCE * norm(analytic):
        evidence = f"{evidence} has the right curve, times another factor in each unit"
        in_gradient, in_loss = find_dropout_masks(case, layer)
        if in_gradient or in_loss:
            where = "loss" if in_loss else "gradient"
            return Mistake("dropout-mask-missing", f"{evidence}; units have dropout masks in the {where}.")
        return _wrong_error(case, layer, b, evidence)
    if np.ptp(analytic, axis=0).max() <= 2 * LOOSE_TOLERANCE * np.abs(analytic).max():
        return Mistake("wrong-layer-derivative", f"{evidence} moves with z, and the analytic one does not.")
    return None


def _wrong_error(case: Case, layer: int, b: str, evidence: str) -> Mistake | None:
    """Solve gradient of b_l = W_{l+1} e for the error e that came back, certain with more units than outputs."""
    above = case.layers[layer + 1].W
    W, analytic = case.point[above], case.gradients(case.point_with({case.layers[layer].W: 0, b: 0.8}))[b]
    e = np.linalg.lstsq(W, analytic, rcond=None)[0]
    if norm(W @ e - analytic) > TOLERANCE * norm(analytic):
        return None
    evidence = f"{evidence}; there is no dropout, and an error other than that of {above}'s gradient fits."
    return Mistake("wrong-error-sent-back", evidence, certain=W.shape[0] > W.shape[1])


def _used_derivative(analytic: np.ndarray, numerical: np.ndarray, unit: np.ndarray) -> tuple[str, str, str] | None:
    """The mistake's id, the activation f, and what was used for f'(z): analytic f' = numerical used at each z."""
    above, below = (float(np.median(unit[side])) for side in (INPUTS[:, 0] > 0, INPUTS[:, 0] < 0))
    leaky = LeakyReLU(float(np.clip(below / above, 1e-3, 0.9)) if above else 0.01)
    for activation, layer in {**ELEMENTWISE, "leaky-relu": leaky}.items():
        right = slope(layer, INPUTS)
        size = np.sum(numerical * right, axis=0) / np.sum(right**2)
        if norm(numerical - right * size) > LOOSE_TOLERANCE * norm(numerical):
            continue
        for id, used, curve in wrong_derivatives(activation, layer, INPUTS):
            left, other = analytic * right, numerical * curve
            if norm(left - other) <= TOLERANCE * (norm(left) + norm(other)):
                return id, activation, used
    return None
