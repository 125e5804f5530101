"""Naming the mistake: rules from the plainest pattern to the finest experiment; the first that fits is told.

A rule is a question to a `Case`. It answers with a finding, or None where the pattern is not its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from nnbackprop.diagnostics.findings import Finding
from nnbackprop.diagnostics.gradcheck.function import Careful, Function, RefusedError
from nnbackprop.diagnostics.gradcheck.numeric import Tensors

from .behaviour import behaviour
from .catalogue import finding
from .derivatives import hidden_delta, output_delta
from .patterns import factors, near, penalties, shapes, single_pieces, still
from .pieces import Case, Piece

RULES = (still, near, penalties, factors, output_delta, single_pieces, hidden_delta)


def name_mistakes(
    function: Function, point: Tensors, hand: Tensors, passed: Mapping[str, bool]
) -> tuple[Finding, ...]:
    """The likely mistake behind gradients that failed, with the evidence; also what calls do besides."""
    with np.errstate(all="ignore"):  # experiments go to extremes
        found = behaviour(function, point)
        if any(f.id in ("not-deterministic", "accumulated", "params-changed") for f in found):
            return found
        if wrong := shapes(function, point, hand):
            return (wrong,)
        if all(passed.values()):
            return ()
        shaped = {name: hand[name].reshape(a.shape) for name, a in point.items()}
        case = Case.of(Careful(function), point, shaped)
        if not case.bad:
            return ()
        answers = (_ask(rule, reading) for reading in case.readings() for rule in RULES)
        return (next(filter(None, answers), None) or _unknown(case),)


def _ask(rule: Callable[[Case], Finding | None], case: Case) -> Finding | None:
    try:
        return rule(case)
    except RefusedError:
        return None


def _unknown(case: Case) -> Finding:
    last: Piece = max(case.bad, key=lambda piece: piece.layer)
    right = [piece.label for piece in case.pieces if piece.good]
    return finding(
        "unknown",
        f"The last wrong gradient is that of {last.label}; right are {', '.join(right) or 'none'}.",
        0.2,
    )
