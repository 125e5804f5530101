"""Whether a contestant computes what we compute: before it is timed, not after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnbackprop.nn.layers.base import Params

from .works import Problem

STEPS = 20
"""After which `Work.pairs` holds; after fewer, a share of it."""

LOSS = 0.1
"""How far losses may be apart under dropout."""


def load(path: Path) -> Params:
    """The weights that a worker saved under names such as 0.W."""
    with np.load(path) as saved:
        layers: dict[int, dict[str, np.ndarray]] = {}
        for key in saved.files:
            k, name = key.split(".")
            layers.setdefault(int(k), {})[name] = saved[key]
    return tuple(layers[k] for k in sorted(layers))


def losses_apart(problem: Problem, weights: Params, ours: Params) -> float | None:
    """|a - b| / b of the losses with dropout off.

    For rivals under dropout: each draws masks of its own, and no weight can be the same, but with the same rate,
    loss and dropout the losses after the same steps are near each other. Our own masks are equal on every library.
    """
    base = problem.loss(ours)
    return _number(abs(problem.loss(weights) - base) / base)


def apart(weights: Params, ours: Params) -> float | None:
    """||a - b|| / ||b|| over all parameters; None if they do not fit together or are no numbers."""
    if [_shapes(layer) for layer in weights] != [_shapes(layer) for layer in ours]:
        return None
    pairs = [(a[name], b[name]) for a, b in zip(weights, ours, strict=True) for name in b]
    difference = sum(_square(a.astype(float) - b) for a, b in pairs)
    return _number(math.sqrt(difference / sum(_square(b.astype(float)) for _, b in pairs)))


def _shapes(layer: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in sorted(layer.items())}


def _square(a: np.ndarray) -> float:
    return float(np.vdot(a, a))


def _number(x: float) -> float | None:
    return x if math.isfinite(x) else None
