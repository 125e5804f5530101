"""What calls do besides returning: the same question asked again must get the same answer and change nothing."""

from __future__ import annotations

import numpy as np

from nnbackprop.diagnostics.findings import Finding
from nnbackprop.diagnostics.gradcheck.function import Function, OwnCode
from nnbackprop.diagnostics.gradcheck.numeric import Tensors

from .catalogue import finding

SAME = 1e-12  # threads may sum in another order


def behaviour(function: Function, point: Tensors) -> tuple[Finding, ...]:
    """Findings on randomness, memory and writing to arguments."""
    values = function.value(point), function.value(point)
    if not np.isclose(*values, rtol=SAME, atol=0):
        return (
            finding("not-deterministic", f"Asked twice, the loss is {values[0]:.10g} and {values[1]:.10g}.", 0.95),
        )
    calls = [_joined(function.gradients(point)) for _ in range(3)]
    first, second = calls[1] - calls[0], calls[2] - calls[1]
    found: tuple[Finding, ...] = ()
    if not _same(calls[0], calls[1]):
        if _same(first, second):
            ratio = float(np.linalg.norm(calls[1]) / np.linalg.norm(calls[0]))
            evidence = f"Asked again, the gradient grows by the same amount each time, now to {ratio:.3g} times."
            return (finding("accumulated", evidence, 0.95),)
        return (finding("not-deterministic", "Asked twice, grad_fn gives two different gradients.", 0.9),)
    if isinstance(function, OwnCode) and (changed := function.changed(point)):
        evidence = (
            f"After the call {', '.join(changed)} {'is' if len(changed) == 1 else 'are'} not what was handed in."
        )
        found = (finding("params-changed", evidence, 0.98),)
    return found


def _joined(tensors: Tensors) -> np.ndarray:
    return np.concatenate([a.reshape(-1) for a in tensors.values()])


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if np.array_equal(a, b, equal_nan=True):
        return True
    size = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    return a.shape == b.shape and float(np.linalg.norm(a - b)) <= 1e3 * SAME * size
