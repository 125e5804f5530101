"""Experiments on hidden layers: what happens to the error between a layer and the one above.

With W_l = 0 and b_l = c, layer l gives f(c) for every sample and unit, and the gradient of b_l passes through f'
at c alone: as c moves, analytic against numerical shows what was taken in place of f'(c). With W_{l+1} = 0 no
error may come back to layer l at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnbackprop.nn.layers import Activation, LeakyReLU

from .catalogue import Guess
from .evidence import Case, norm
from .output_layer import ELEMENTWISE, bias_gradients, output, slope

FITS = 1e-4
LOOSE = 0.02  # what comes back changes by at most so much as a layer's output moves
UNITS = 16  # of a layer that are looked at
INPUTS = np.array([-1.7, -0.9, -0.4, 0.3, 0.8, 1.6])
"""Where activations are asked: off zero, where rectifiers have their kink."""
SMALL = 1e-3
"""Norm of the weights to a unit above, with which the error hardly depends on the layer's output."""
SIGMOID_AT_A = 4 / (2 + 2 * np.cosh(0.5))  # s'(s(0)) / s'(0)


def hidden_layer(case: Case) -> Guess | None:
    """The error that reaches a hidden layer is wrong: what happened between it and the layer above?"""
    top = max(part.layer for part in case.bad)
    if top + 1 >= len(case.layers):
        return None
    here, above = case.layers[top], case.layers[top + 1]
    analytic_share, numerical_share = _shares_past_zero(case, top)
    if numerical_share > FITS:
        return None  # the error has another way than through W_{l+1}: no chain of layers
    if analytic_share > FITS:
        return _other_weights(case, top)
    W = above.weight(case.point)
    if W.shape[0] == W.shape[1] and _right(case, above.with_weight(case.point, (W + W.T) / 2), here.W):
        evidence = f"With a symmetric {above.W} the gradient of {here.W} is right."
        return Guess("weight-transposed", evidence)
    return _from_curves(case, top) if here.biased else None


def penalty_rate(case: Case, layer: int) -> float:
    """The loss's L2 coefficient of a hidden layer's W, measured where W_{l+1} = 0."""
    dense, cut = case.layers[layer], case.layers[layer + 1].with_weight(case.point, 0.0)
    W = dense.weight(case.point)
    zeros = {name: np.zeros_like(a) for name, a in cut.items()}
    return case.along(cut, dense.W, dense.with_weight(zeros, W)[dense.W]) / float(np.sum(W * W))


def has_dropout(case: Case, layer: int) -> tuple[bool, bool]:
    """Whether units with equal weights in and out have unequal biases' gradients, as masks alone make them.

    By the analytic gradient, and by the numerical.
    """
    dense, above = case.layers[layer], case.layers[layer + 1]
    if not dense.biased:
        return False, False
    rows = np.broadcast_to(above.weight(case.point)[:1], above.weight(case.point).shape)
    point = above.with_weight(dense.with_bias(dense.with_weight(case.point, 0.0), 0.8), rows)
    analytic, numerical = bias_gradients(case, layer, point, UNITS)
    return np.ptp(analytic) > FITS * np.abs(analytic).max(), np.ptp(numerical) > FITS * np.abs(numerical).max()


def _shares_past_zero(case: Case, layer: int) -> tuple[float, float]:
    """With W_{l+1} = 0, the gradients of W_l less a penalty, as shares of the usual: analytic and numerical."""
    dense, cut = case.layers[layer], case.layers[layer + 1].with_weight(case.point, 0.0)
    W, rate = dense.weight(case.point), penalty_rate(case, layer)
    usual, left = (dense.weight(case.gradients(point)) for point in (case.point, cut))
    v = np.random.Generator(np.random.Philox(key=5)).choice([-1.0, 1.0], W.shape)
    zeros = {name: np.zeros_like(a) for name, a in cut.items()}
    direction = dense.with_weight(zeros, v)[dense.W]
    usual_along, left_along = (case.along(point, dense.W, direction) for point in (case.point, cut))
    numerical = abs(left_along - rate * float(np.sum(W * v)))
    return norm(left - rate * W) / (norm(usual) or 1.0), numerical / (abs(usual_along) or 1.0)


def _right(case: Case, point: dict[str, np.ndarray], name: str) -> bool:
    """Whether the analytic gradient of a tensor is right at `point`, along a few directions."""
    rng, g = np.random.Generator(np.random.Philox(key=6)), case.gradients(point)[name]
    directions = [rng.choice([-1.0, 1.0], g.shape) for _ in range(4)]
    return all(abs(case.along(point, name, v) - float(np.sum(g * v))) <= FITS * norm(g) for v in directions)


def _other_weights(case: Case, layer: int) -> Guess:
    """An error comes back with W_{l+1} = 0: through another layer's W, or through W_{l+1} after its update.

    The update is the layer's output f(c) times an error, so it moves with c where another layer's W does not.
    """
    above = case.layers[layer + 1].W
    words = f"With {above} = 0 no error can come back to {case.layers[layer].W}, and the analytic gradient has one"
    if not case.layers[layer].biased:
        return Guess("updated-too-early", f"{words}.", certain=False)
    analytic, numerical = (curves[INPUTS > 0] for curves in _curves(case, layer, scale=0.0))
    factor = np.median(analytic / numerical, axis=0)
    if norm(analytic - factor * numerical) <= max(LOOSE * norm(analytic), FITS * norm(numerical)):
        return Guess("wrong-layer-weights", f"{words}, which does not depend on the layer's output.")
    return Guess("updated-too-early", f"{words}, which moves with the layer's output: {above} was updated first.")


def _curves(case: Case, layer: int, scale: float = SMALL) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of b_l (inputs, units) where z_l = c over INPUTS, less a penalty on b.

    The weights to a unit above have norm `scale` in the analytic gradient, SMALL in the numerical. The last
    biases are random, so that no error is small by itself.
    """
    dense, above = case.layers[layer], case.layers[layer + 1]
    W, last = above.weight(case.point), case.layers[-1]
    W = W / (norm(W) / W.shape[1] ** 0.5 or 1.0)
    flat = dense.with_weight(case.point, 0.0)
    if last.biased:
        rng = np.random.Generator(np.random.Philox(key=9))
        flat = last.with_bias(flat, rng.standard_normal(last.bias(flat).shape))
    analytic, numerical = [], []
    for c in INPUTS:
        point = dense.with_bias(flat, c)
        penalty = bias_gradients(case, layer, above.with_weight(point, 0.0), UNITS)[1]
        numerical.append(bias_gradients(case, layer, above.with_weight(point, SMALL * W), UNITS)[1] - penalty)
        analytic.append(dense.bias(case.gradients(above.with_weight(point, scale * W)))[:UNITS] - penalty)
    return np.array(analytic), np.array(numerical)


def _from_curves(case: Case, layer: int) -> Guess | None:
    analytic, numerical = _curves(case, layer)
    if not np.isfinite(analytic).all() or not np.isfinite(numerical).all() or not analytic.any():
        return None
    words = f"With z the same for every sample, the gradient of the biases of {case.layers[layer].W}'s layer"
    if fit := _fitted(analytic, numerical):
        id, true, taken = fit
        return Guess(id, f"{words} follows {true}'(z), and the analytic one {taken}.")
    flat = norm(analytic - analytic.mean(axis=0)) <= LOOSE * norm(analytic)
    if flat and _same_curves(numerical / analytic):
        return Guess("activation-derivative-missing", f"{words} moves with z, and the analytic one does not.")
    if _parallel(analytic, numerical):
        words = f"{words} has the right curve, times another factor in each unit"
        in_gradient, in_loss = has_dropout(case, layer)
        if in_gradient or in_loss:
            where = "loss" if in_loss else "gradient"
            return Guess("dropout-mask-missing", f"{words}; units have dropout masks in the {where}.")
        return _wrong_error(case, layer, words)
    if np.ptp(analytic, axis=0).max() <= 2 * LOOSE * np.abs(analytic).max():
        return Guess("wrong-layer-derivative", f"{words} moves with z, and the analytic one does not.")
    return None


def _wrong_error(case: Case, layer: int, words: str) -> Guess | None:
    """Solve gradient of b_l = W_{l+1} e for the error e that came back; it decides with more units than e has."""
    dense, above = case.layers[layer], case.layers[layer + 1]
    W = above.weight(case.point)
    analytic = dense.bias(case.gradients(dense.with_bias(dense.with_weight(case.point, 0.0), 0.8)))
    e = np.linalg.lstsq(W, analytic, rcond=None)[0]
    if norm(W @ e - analytic) > FITS * norm(analytic):
        return None
    evidence = f"{words}; there is no dropout, and an error other than that of {above.W}'s gradient fits."
    return Guess("wrong-error-sent-back", evidence, certain=W.shape[0] > W.shape[1])


def _same_curves(curves: np.ndarray) -> bool:
    """Whether curves (inputs, units) are the same in every unit."""
    return norm(curves - curves.mean(axis=1, keepdims=True)) <= FITS * norm(curves)


def _parallel(analytic: np.ndarray, numerical: np.ndarray) -> bool:
    """Whether each unit's analytic curve is a multiple of the numerical one, which may be zero."""
    curve = numerical[:, np.argmax(np.abs(numerical).max(axis=0))]
    multiples = curve @ analytic / (curve @ curve)
    return norm(analytic - np.outer(curve, multiples)) <= LOOSE * norm(analytic)


def _fitted(analytic: np.ndarray, numerical: np.ndarray) -> tuple[str, str, str] | None:
    """The activation f, and the curve w in place of f': analytic f' = numerical w everywhere."""
    for true, layer in {**ELEMENTWISE, "leaky-relu": _leaky(numerical)}.items():
        right = slope(layer, INPUTS)[:, None]
        size = np.sum(numerical * right, axis=0) / np.sum(right**2)
        if norm(numerical - right * size) > LOOSE * norm(numerical):
            continue
        for id, taken, curve in _candidates(true, layer):
            left, other = analytic * right, numerical * curve[:, None]
            if norm(left - other) <= FITS * (norm(left) + norm(other)):
                return id, true, taken
    return None


def _leaky(numerical: np.ndarray) -> LeakyReLU:
    """A leaky ReLU with the slope below zero that `numerical` has, relative to that above."""
    unit = numerical[:, np.argmax(np.abs(numerical).max(axis=0))]
    above = float(np.median(unit[INPUTS > 0]))
    return LeakyReLU(float(np.clip(np.median(unit[INPUTS < 0]) / above, 1e-3, 0.9)) if above else 0.01)


def _candidates(true: str, layer: Activation) -> Iterator[tuple[str, str, np.ndarray]]:
    """What people put in place of f'(z), with the mistake's id; never f'(z) itself."""
    z, a, right = INPUTS, output(layer, INPUTS), slope(layer, INPUTS)
    wrong, at_a = "wrong-activation-derivative", "activation-derivative-at-a"
    rows = [
        ("activation-derivative-missing", "1", np.ones_like(z)),
        (at_a, f"{true}'(a)", slope(layer, a)),
        (at_a if true == "sigmoid" else wrong, "z (1 - z)", z * (1 - z)),
        (at_a if true == "tanh" else wrong, "1 - z^2", 1 - z * z),
        (wrong, "a (1 - a)", a * (1 - a)),
        (wrong, "1 - a^2", 1 - a * a),
        (wrong, f"{true}'(z)^2", right**2),
        (wrong, "[z > 0]", (z > 0) * 1.0),
        *((wrong, f"{name}'(z)", slope(other, z)) for name, other in ELEMENTWISE.items()),
    ]
    return ((id, taken, w) for id, taken, w in rows if norm(w - right) > FITS * norm(right))


def without_biases(case: Case) -> Guess | None:
    """A layer without biases, asked at W = 0, where a sigmoid's slope is 1/4."""
    top = max((part.layer for part in case.bad), default=0)
    if not case.layers or case.layers[top].biased:
        return None
    dense = case.layers[top]
    point = dense.with_weight(case.point, 0.0)
    g, rng = case.gradients(point)[dense.W], np.random.Generator(np.random.Philox(key=8))
    directions = [rng.choice([-1.0, 1.0], g.shape) for _ in range(4)]
    ratios = [float(np.sum(g * v)) / (case.along(point, dense.W, v) or 1.0) for v in directions]
    if np.ptp(ratios) > FITS * abs(ratios[0]):
        return None
    kind = "output" if top == len(case.layers) - 1 else "activation"
    known = {
        4.0: f"{kind}-derivative-missing",
        SIGMOID_AT_A: "activation-derivative-at-a",
        3.0: "wrong-activation-derivative",  # tanh's, 1 - a^2
    }
    evidence = f"With {dense.W} = 0 analytic / numerical is {ratios[0]:.6g}, and a sigmoid's slope 1/4."
    ids = (id for factor, id in known.items() if abs(ratios[0] / factor - 1) < FITS)
    return next((Guess(id, evidence, certain=False) for id in ids), None)
