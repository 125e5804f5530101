"""vanishing and exploding: what becomes of a gradient on its way back through the layers."""

from __future__ import annotations

import math
from statistics import median

from nnbackprop.findings import Finding

from .history import History
from .verdict import NOT_APPLICABLE, Verdict

LEAST = 1e-4
MOST = 1e4


def flow(history: History) -> float | None:
    """||dJ/dy|| at the first weighted layer over that at the last, the median of the looks; None under 3 layers."""
    looks = [look.weighted for look in history.looks if len(look.weighted) >= 3]
    ratios = [layers[0].delta / layers[-1].delta for layers in looks if layers[-1].delta > 0]
    return median(ratios) if ratios else None


def vanishing(history: History) -> Verdict:
    passed = flow(history)
    if passed is None:
        return NOT_APPLICABLE
    if not passed < LEAST:
        return None
    return Finding("vanishing", "warning", f"{passed:.1g}", "", "", 0.9)


def exploding(history: History) -> Verdict:
    passed = flow(history)
    if passed is None:
        return NOT_APPLICABLE
    if not passed > MOST:
        return None
    return Finding("exploding", "warning", f"{passed:.1g}", "", "", 0.9)
