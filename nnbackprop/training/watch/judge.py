"""All signs of a run, asked one by one; each finds something, passes, or does not apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nnbackprop.findings import Diagnosis, Finding

from .course import overfitting, plateau
from .evaluation import dropout_in_evaluation
from .finite import not_finite
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


def judge(history: History) -> Diagnosis:
    """The findings of a run, the ids that were looked at without one, and those that do not apply to it."""
    verdicts = {id: sign(history) for id, sign in SIGNS.items()}
    return Diagnosis(
        tuple(verdict for verdict in verdicts.values() if isinstance(verdict, Finding)),
        tuple(id for id, verdict in verdicts.items() if verdict is None),
        tuple(id for id, verdict in verdicts.items() if verdict is NOT_APPLICABLE),
    )


def judge_rows(rows: Iterable[Mapping[str, Any]]) -> Diagnosis:
    """What the rows of a metrics.jsonl show alone: the signs that need units and updates do not apply."""
    return judge(History.of_rows(rows))
