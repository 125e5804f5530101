"""not-finite: a number overflowed, or was never one."""

from __future__ import annotations

from nnbackprop.findings import Finding

from .history import History
from .verdict import Verdict


def not_finite(history: History) -> Verdict:
    """From the same facts as the error that ends such a run."""
    fault = history.fault
    if fault is None:
        return None
    if fault.kind == "inputs":
        cause = "The data, or what its scaling makes of it, holds NaN or infinity; no network can learn from it."
        return Finding("not-finite", "fault", f"{fault.words}.", cause, "repair or leave out those samples", 1.0)
    lr = history.course[-1].lr if history.course else None
    fix = f"--lr {lr / 10:g}" if lr else "a tenth of the learning rate (--lr)"
    cause = (
        "Steps so large that each overshoots further than the last, until numbers leave the range of the dtype."
    )
    return Finding("not-finite", "fault", f"{fault.words}.", cause, f"{fix}, or --clip-norm 1", 0.8)
