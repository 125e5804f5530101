"""All signs of a run, asked one by one; each finds something, passes, or does not apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from nnbackprop.diagnostics.findings import Diagnosis, Finding

from .curve import overfitting, plateau
from .faults import dropout_in_evaluation, not_finite
from .flow import exploding, vanishing
from .history import History
from .rate import rate_too_high, rate_too_low
from .units import dead_relu, saturation
from .verdict import NOT_APPLICABLE, Verdict

SIGNS: dict[str, Callable[[History], Verdict]] = {
    "not-finite": not_finite,
    "rate-too-high": rate_too_high,
    "rate-too-low": rate_too_low,
    "saturation": saturation,
    "dead-relu": dead_relu,
    "vanishing": vanishing,
    "exploding": exploding,
    "plateau": plateau,
    "overfitting": overfitting,
    "dropout-in-evaluation": dropout_in_evaluation,
}


FOLLOWS = {
    "saturation": ("rate-too-high",),
    "dead-relu": ("rate-too-high",),
    "exploding": ("rate-too-high",),
    "vanishing": ("rate-too-high", "saturation", "dead-relu"),
    "rate-too-low": ("saturation", "dead-relu", "vanishing", "exploding"),
    "plateau": ("rate-too-high", "saturation", "dead-relu", "vanishing", "exploding", "rate-too-low"),
}
"""What each sign is also the consequence of: where one of these is found, it is told as a note."""


def judge(history: History) -> Diagnosis:
    """The findings of a run, the ids that were looked at without one, and those that do not apply to it."""
    verdicts = {id: sign(history) for id, sign in SIGNS.items()}
    found = {id: verdict for id, verdict in verdicts.items() if isinstance(verdict, Finding)}
    return Diagnosis(
        tuple(_explained(finding, found) for finding in found.values()),
        tuple(id for id, verdict in verdicts.items() if verdict is None),
        tuple(id for id, verdict in verdicts.items() if verdict is NOT_APPLICABLE),
    )


def _explained(finding: Finding, found: Mapping[str, Finding]) -> Finding:
    """The same finding, or a note of it that names what it follows from."""
    causes = [id for id in FOLLOWS.get(finding.id, ()) if id in found]
    if not causes:
        return finding
    return replace(finding, level="note", cause=f"It follows from {causes[0]}.", fix=found[causes[0]].fix)


def judge_rows(rows: Iterable[Mapping[str, Any]]) -> Diagnosis:
    """What the rows of a metrics.jsonl show alone: the signs that need units and updates do not apply."""
    return judge(History.of_rows(rows))
