"""Naming the mistake: rules from the plainest pattern to the finest experiment; the first that fits names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors
from nnbackprop.diagnostics.gradcheck.function import Function, UserFunction

from . import image_layers, patterns
from .catalogue import Mistake
from .evidence import Case, ExperimentError, layout, names_of
from .hidden_layer import hidden_layer
from .output_layer import output_layer

RULES: tuple[Callable[[Case], Mistake | None], ...] = (
    patterns.zero_or_nearly_right,
    patterns.wrong_penalty,
    patterns.constant_factors,
    patterns.another_order,
    output_layer,
    patterns.one_wrong_tensor,
    hidden_layer,
    image_layers.kernel_not_turned,
    image_layers.gamma_of_the_input,
    image_layers.normalization,
)
REPEATABLE = 1e-12  # relative: threads may sum in another order


def name_mistakes(function: Function, point: Tensors, analytic: Tensors, passed: bool) -> tuple[Mistake, ...]:
    """The mistake behind gradients that failed, with the evidence; or a side effect of the functions."""
    with np.errstate(all="ignore"):  # experiments go to extremes
        found = side_effects(function, point) or patterns.wrong_shapes(function.value, point, analytic)
        case = Case(function, point)
        if found is None and not passed and case.wrong:
            found = _first_that_fits(case)
    return (replace(found, layout=layout(point)),) if found else ()


def side_effects(function: Function, point: Tensors) -> Mistake | None:
    """Randomness, kept state and writes to arguments: the same call must return the same and change nothing."""
    values = function.value(point), function.value(point)
    if not np.isclose(*values, rtol=REPEATABLE, atol=0):
        return Mistake("not-deterministic", f"Called twice, the loss is {values[0]:.10g} and {values[1]:.10g}.")
    calls = [np.concatenate([a.reshape(-1) for a in function.gradients(point).values()]) for _ in range(3)]
    if not _same(calls[0], calls[1]):
        if _same(calls[1] - calls[0], calls[2] - calls[1]):
            ratio = float(np.linalg.norm(calls[1]) / np.linalg.norm(calls[0]))
            evidence = f"Each call adds the same amount to the gradient, now {ratio:.3g} times the first."
            return Mistake("accumulated", evidence)
        return Mistake("not-deterministic", "Called twice, grad_fn returns two different gradients.")
    if isinstance(function, UserFunction) and (changed := function.params_changed(point)):
        return Mistake("params-changed", f"A call changes {', '.join(changed)} in place.")
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    size = float(np.nanmax(np.abs(a), initial=0.0))
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e3 * REPEATABLE * size, equal_nan=True)


def _first_that_fits(case: Case) -> Mistake:
    for rule in RULES:
        try:
            found = rule(case)
        except ExperimentError:
            continue
        if found:
            return found
    last = max(case.wrong, key=lambda t: t.layer).name
    right = names_of([t for t in case.tensors if t.right]) or "none"
    return Mistake("unknown", f"The last wrong gradient is that of {last}; right are {right}.", tensor=last)
