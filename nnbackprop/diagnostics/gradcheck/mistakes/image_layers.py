"""Experiments on layers of images: kernels that are their own half turn, and weights before a normalization."""

from __future__ import annotations

import math

import numpy as np

from .catalogue import Mistake
from .evidence import Case, TensorGradients, norm

TOLERANCE = 1e-4
LOOSE_TOLERANCE = 0.01  # of the epsilon in a normalization's root
DIRECTIONS = 4
KERNEL_AXES = (0, 1), (2, 3)
"""Of W (rows, columns, in, out) and of W (out, in, rows, columns)."""


def kernel_not_turned(case: Case) -> Mistake | None:
    """With kernels that are the same when turned by 180 degrees, a way back that does not turn them is right."""
    kernels = [name for name, a in case.point.items() if a.ndim == 4]
    for axes in KERNEL_AXES if kernels else ():
        alike = {name: (a + np.flip(a, axes)) / 2 for name in kernels for a in [case.point[name]]}
        if all(_right_at(case, alike, t) for t in case.wrong):
            evidence = f"With {', '.join(kernels)} the same when turned by 180 degrees, every gradient is right."
            return Mistake("kernel-not-turned", evidence)
    return None


def _right_at(case: Case, values: dict[str, np.ndarray], t: TensorGradients) -> bool:
    """Whether a tensor's gradient is right with other values of some tensors."""
    point, rng = case.point_with(values), np.random.Generator(np.random.Philox(key=7))
    g = case.gradients(point)[t.name]
    directions = [rng.choice([-1.0, 1.0], g.shape) for _ in range(DIRECTIONS)]
    errors = [case.derivative_along(point, t.name, v) - float(np.sum(g * v)) for v in directions]
    smooth = [abs(error) for error in errors if not math.isnan(error)]
    return bool(smooth) and max(smooth) <= TOLERANCE * norm(g)


def gamma_of_the_input(case: Case) -> Mistake | None:
    """Twice the weights before a normalization double its input and nothing else, gamma's gradient neither."""
    if len(case.wrong) != 1:
        return None
    (gamma,) = case.wrong
    for W in case.tensors:
        if W.right and W.kind == "W" and leaves_loss(case, W):
            doubled = case.point_with({W.name: 2 * case.point[W.name]})
            g, found = case.analytic[gamma.name], case.gradients(doubled)[gamma.name]
            if norm(found - 2 * g) <= LOOSE_TOLERANCE * norm(g):
                evidence = f"Twice {W.name} leaves the loss as it is, and doubles the gradient of {gamma.name}."
                return Mistake("gamma-of-the-input", evidence)
    return None


def normalization(case: Case) -> Mistake | None:
    """The last wrong gradient is of weights whose scale does not change the loss, as before a normalization."""
    last = max(case.wrong, key=lambda t: t.layer)
    for t in case.wrong:
        if (
            t.kind == "W"
            and norm(t.numerical) > 10 * t.rounding
            and leaves_loss(case, t)
            and leaves_loss(case, last)
        ):
            evidence = f"Scaling {t.name} leaves the loss as it is, and the gradient of {t.name} is wrong."
            return Mistake("normalization-terms-missing", evidence, certain=False)
    return None


def leaves_loss(case: Case, t: TensorGradients) -> bool:
    """Whether twice the tensor gives the same loss."""
    J = case.value(case.point)
    return abs(case.value(case.point_with({t.name: 2 * case.point[t.name]})) - J) < 1e-4 * abs(J)
