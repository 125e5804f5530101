"""rate-too-high and rate-too-low: what a step is beside the weights it changes, and what becomes of the loss."""

from __future__ import annotations

from nnbackprop.findings import Finding

from .history import History
from .verdict import NOT_APPLICABLE, Verdict


def rate_too_high(history: History) -> Verdict:
    return NOT_APPLICABLE


def rate_too_low(history: History) -> Verdict:
    return NOT_APPLICABLE
