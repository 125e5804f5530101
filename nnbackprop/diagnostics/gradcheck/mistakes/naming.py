"""Naming the mistake: rules from the plainest pattern to the finest experiment; the first that fits answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import Tensors
from nnbackprop.diagnostics.gradcheck.function import INPUT, Function, UserFunction

from .catalogue import Guess, Mistake
from .dense_layers import find_layers, layout
from .evidence import Case, ExperimentError
from .hidden_layer import hidden_layer, without_biases
from .output_layer import output_layer
from .patterns import factors, misplaced, near, normalization, penalties, shapes, single_parts, still, zero

RULES: tuple[Callable[[Case], Guess | None], ...] = (
    still,
    zero,
    near,
    penalties,
    factors,
    misplaced,
    output_layer,
    single_parts,
    hidden_layer,
    without_biases,
    normalization,
)
SAME = 1e-12  # threads may sum in another order


def name_mistakes(
    function: Function, point: Tensors, analytic: Tensors, passed: Mapping[str, bool]
) -> tuple[Mistake, ...]:
    """The mistake behind gradients that failed, with the evidence; or what calls do besides returning."""
    own = {name: a for name, a in point.items() if name != INPUT}
    words = layout(find_layers(own), own)
    with np.errstate(all="ignore"):  # experiments go to extremes
        if guess := side_effects(function, point) or shapes(function.value, point, analytic):
            return (guess.mistake(words),)
        if all(passed.values()):
            return ()
        shaped = {name: analytic[name].reshape(a.shape) for name, a in point.items()}
        case = Case.of(function, point, shaped)
        if not case.bad:
            return ()
        guess = next(filter(None, (_ask(rule, case) for rule in RULES)), None)
        return (guess.mistake(words) if guess else _unknown(case, words),)


def side_effects(function: Function, point: Tensors) -> Guess | None:
    """Randomness, memory and writing to arguments: the same call must return the same and change nothing."""
    values = function.value(point), function.value(point)
    if not np.isclose(*values, rtol=SAME, atol=0):
        return Guess("not-deterministic", f"Called twice, the loss is {values[0]:.10g} and {values[1]:.10g}.")
    calls = [np.concatenate([a.reshape(-1) for a in function.gradients(point).values()]) for _ in range(3)]
    if not _same(calls[0], calls[1]):
        if _same(calls[1] - calls[0], calls[2] - calls[1]):
            ratio = float(np.linalg.norm(calls[1]) / np.linalg.norm(calls[0]))
            evidence = f"Each call adds the same amount to the gradient, now {ratio:.3g} times the first."
            return Guess("accumulated", evidence)
        return Guess("not-deterministic", "Called twice, grad_fn returns two different gradients.")
    if isinstance(function, UserFunction) and (changed := function.written_to(point)):
        return Guess("params-changed", f"A call changes {', '.join(changed)} in place.")
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    size = float(np.nanmax(np.abs(a), initial=0.0))
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e3 * SAME * size, equal_nan=True)


def _ask(rule: Callable[[Case], Guess | None], case: Case) -> Guess | None:
    try:
        return rule(case)
    except ExperimentError:
        return None


def _unknown(case: Case, words: dict[str, str]) -> Mistake:
    last = max(case.bad, key=lambda part: part.layer).name
    right = ", ".join(dict.fromkeys(part.name for part in case.parts if part.good)) or "none"
    mistake = Guess("unknown", f"The last wrong gradient is that of {last}; right are {right}.").mistake(words)
    return replace(mistake, name=f"unknown, the wrong piece is the gradient of {last}")
