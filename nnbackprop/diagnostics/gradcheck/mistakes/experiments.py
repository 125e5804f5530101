"""Experiments: a function asked at chosen parameters, where its layers show themselves one at a time.

With W_l = 0 and b_l = c, layer l gives f(c) for every sample and unit, and the gradient of b_l passes through f'
at c alone: hand / numeric, as c moves, shows what was taken in place of f'(c). With the last layer's W at zero the
outputs are its biases c for every sample: N(c) by differences tells the loss, H(c) by hand what was taken for its
derivative. With W_{l+1} = 0 nothing may come back to layer l at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backends import select
from nnbackprop.diagnostics.gradcheck.numeric import Tensors, slopes
from nnbackprop.nn.layers import ACTIVATIONS, Activation

from .chain import Link
from .pieces import Case, norm

UNITS = 8
INPUTS = (-1.7, -0.9, -0.4, 0.3, 0.8, 1.6)
"""Where activations are asked: off zero, where rectifiers have their kink."""
SMALL = 1e-3
"""Size the next layer's weights are brought to, so that what comes back hardly depends on what went out."""


def bias_gradients(case: Case, layer: int, point: Tensors, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the first biases of a layer at `point`: by hand and by differences, each (units,)."""
    link = _link(case, layer)
    units = min(most, len(link.bias(point)))
    zeros = {name: np.zeros_like(a) for name, a in point.items()}
    name = link.b or link.W
    directions = [link.with_bias(zeros, np.eye(1, len(link.bias(point)), j)[0])[name] for j in range(units)]
    numeric = slopes(case.function.value, point, name, directions, 1e-4).values
    hand = {key: g.reshape(point[key].shape) for key, g in case.function.gradients(point).items()}
    return link.bias(hand)[:units], numeric


@dataclass(frozen=True)
class Curves:
    """Gradients of a layer's biases by hand and by differences, (inputs, units), where z = c for every sample."""

    hand: np.ndarray
    numeric: np.ndarray


def hidden_curves(case: Case, layer: int) -> Curves:
    """The experiment W_l = 0, b_l = c over INPUTS, less what is there with W_{l+1} = 0 (a penalty)."""
    link, above = _link(case, layer), _link(case, layer + 1)
    hand, numeric = [], []
    for c in INPUTS:
        point = link.with_bias(link.with_weight(case.point, 0.0), c)
        W = above.weight(point)
        small = above.with_weight(point, W * (SMALL / (float(np.sqrt(np.mean(W * W))) or 1.0)))
        H, N = bias_gradients(case, layer, small, UNITS)
        _, rest = bias_gradients(case, layer, above.with_weight(point, 0.0), UNITS)
        hand.append(H - rest)
        numeric.append(N - rest)
    return Curves(np.array(hand), np.array(numeric))


def output_curves(case: Case) -> tuple[np.ndarray, Curves] | None:
    """The outputs c (rounds, k) asked for, and the last biases' gradients there; None without such biases.

    Without biases, sigmoids that are fed zeros (each gives a half) serve as inputs that are always the same.
    """
    if case.links is None:
        return None
    last, rng = case.links[-1], np.random.Generator(np.random.Philox(key=7))
    k = last.weight(case.point).shape[1]
    cs = rng.standard_normal((6, k))
    if last.biased:
        rows = [
            bias_gradients(case, len(case.links) - 1, last.with_bias(last.with_weight(case.point, 0.0), c), k)
            for c in cs
        ]
        return cs, Curves(*(np.array(part) for part in zip(*rows, strict=True)))
    if len(case.links) < 2:
        return None
    return cs, Curves(*(np.array(part) for part in zip(*(_by_halves(case, c) for c in cs), strict=True)))


def _by_halves(case: Case, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dJ/dc (k,) by hand and by differences, W's rows all 2c/h under inputs of a half."""
    links = case.links or ()
    point = dict(case.point)
    for link in links[:-1]:
        point = link.with_weight(point, 0.0)
    last = links[-1]
    h, k = last.weight(point).shape
    point = last.with_weight(point, np.tile(2 * c / h, (h, 1)))
    zeros = {name: np.zeros_like(a) for name, a in point.items()}
    directions = [last.with_weight(zeros, np.tile(np.eye(1, k, j), (h, 1)) * 2 / h)[last.W] for j in range(k)]
    numeric = slopes(case.function.value, point, last.W, directions, 1e-4).values
    hand = last.weight(case.function.gradients(point)).sum(axis=0) * 2 / h
    return hand, numeric


def through_zero(case: Case, layer: int) -> tuple[float, float]:
    """With W_{l+1} = 0, what is left of the gradient of layer l beside a penalty, as shares of what it is usually.

    By hand, and by differences: the latter is 0 in a chain of layers.
    """
    usual = case.piece(layer, "W")
    there = at(case, _link(case, layer + 1).with_weight(case.point, 0.0)).piece(layer, "W")
    if usual is None or there is None or len(usual.hand) != len(there.hand):
        return 0.0, 0.0
    square = float(there.values @ there.values)
    rate = float(there.numeric @ there.values) / square if square else 0.0
    hand, numeric = (part - rate * there.values for part in (there.hand, there.numeric))
    return norm(hand) / (norm(usual.hand) or 1.0), norm(numeric) / (norm(usual.numeric) or 1.0)


def at(case: Case, point: Tensors) -> Case:
    """The same function's gradients, by hand and by differences, at another point."""
    hand = {name: g.reshape(point[name].shape) for name, g in case.function.gradients(point).items()}
    return Case.of(case.function, point, hand, case.links)


def penalty_rates(case: Case, layer: int) -> tuple[float, float] | None:
    """L2 coefficients of a layer's W, of the gradient by hand and of the loss, where W_{l+1} = 0.

    None for the last layer, which has no next.
    """
    if case.links is None or layer + 1 >= len(case.links):
        return None
    link, silent = case.links[layer], case.links[layer + 1].with_weight(case.point, 0.0)
    W = link.weight(case.point)
    direction = {name: np.zeros_like(a) for name, a in silent.items()}
    along = link.with_weight(direction, W)[link.W]
    numeric = float(slopes(case.function.value, silent, link.W, [along], 1e-4).values[0])
    hand = float(np.sum(link.weight(case.function.gradients(silent)) * W))
    square = float(np.sum(W * W))
    return hand / square, numeric / square


def symmetric_agrees(case: Case, layer: int) -> bool | None:
    """Whether layer l's gradient is right once W_{l+1} is made symmetric; None where that is not square."""
    above = _link(case, layer + 1)
    W = above.weight(case.point)
    if W.shape[0] != W.shape[1]:
        return None
    again = at(case, above.with_weight(case.point, (W + W.T) / 2))
    return all(piece.good for piece in again.pieces if piece.layer >= layer)


ELEMENTWISE: dict[str, Activation] = {name: kind() for name, kind in ACTIVATIONS.items() if name != "softmax"}
"""The activations that act on each number alone."""


def output(layer: Activation, z: np.ndarray) -> np.ndarray:
    """f(z), of host numbers (...)."""
    return layer.forward(select("numpy").xp, {}, z.reshape(1, -1), None)[0].reshape(z.shape)


def slope(layer: Activation, z: np.ndarray) -> np.ndarray:
    """f'(z), of host numbers (...), by differences: the derivative by hand may be what is wrong."""
    h = 1e-5
    return (output(layer, z + h) - output(layer, z - h)) / (2 * h)


def _link(case: Case, layer: int) -> Link:
    if case.links is None:
        raise ValueError("an experiment needs to know the layers")
    return case.links[layer]
