"""dropout-in-evaluation: a layer that goes on dropping where it should evaluate, or evaluates at random."""

from __future__ import annotations

from nnbackprop.findings import Finding

from .history import History
from .verdict import NOT_APPLICABLE, Verdict


def dropout_in_evaluation(history: History) -> Verdict:
    return NOT_APPLICABLE
