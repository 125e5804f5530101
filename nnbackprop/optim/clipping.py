"""Gradients held back before an update, so that one bad batch cannot throw the parameters far."""

from __future__ import annotations

import math
from typing import Any

from backends import Array, leaves, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params

NORM_EPS = 1e-6
"""Added to the norm before the division, as PyTorch does: all-zero gradients stay zero, and finite."""


def clip_by_global_norm(xp: Any, grads: Params, limit: float) -> Params:
    """Scale all gradients by min(1, limit / (norm + 1e-6)), norm being that of all of them as one vector.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013. Their
    direction stays. Where the norm is not finite, what comes out is not finite either.

    Raises:
        UsageError: the limit is not above 0.
    """
    check_limit(limit)
    squares = [xp.sum(dw * dw) for dw in leaves(grads)]
    norm = xp.sqrt(sum(squares[1:], squares[0]))
    scale = xp.minimum(limit / (norm + NORM_EPS), xp.ones_like(norm))
    return tree_map(lambda dw: dw * scale, grads)


def clip_by_value(xp: Any, grads: Params, limit: float) -> Params:
    """Clip every element of every gradient to [-limit, limit].

    Raises:
        UsageError: the limit is not above 0.
    """
    check_limit(limit)
    clip = xp.fuse(clip_element)
    return tree_map(lambda dw: clip(dw, -limit, limit), grads)


def clip_element(xp: Any, dw: Array, low: float, high: float) -> Array:
    """dw <- min(max(dw, low), high)."""
    return xp.minimum(xp.maximum(dw, low), high)


def check_limit(limit: float) -> None:
    """Raise UsageError unless 0 < limit < inf."""
    if not 0 < limit < math.inf:
        raise UsageError(f"Gradients are clipped to a finite limit above 0; got {limit!r}.")
