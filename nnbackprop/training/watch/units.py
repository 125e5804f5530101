"""saturation and dead-relu: units that pass no gradient."""

from __future__ import annotations

from nnbackprop.findings import Finding

from .history import History
from .verdict import NOT_APPLICABLE, Verdict


def saturation(history: History) -> Verdict:
    return NOT_APPLICABLE


def dead_relu(history: History) -> Verdict:
    return NOT_APPLICABLE
