"""What a sign says: a finding, None where it was looked for and is not there, or that it does not apply."""

from __future__ import annotations

from enum import Enum

from nnbackprop.diagnostics.findings import Finding


class _NotApplicable(Enum):
    IT = "not applicable"


NOT_APPLICABLE = _NotApplicable.IT

Verdict = Finding | None | _NotApplicable


def lower_rate(lr: float | None) -> str:
    """A tenth of the rate, as a flag."""
    return f"--lr {lr / 10:.2g}" if lr else "a tenth of the learning rate (--lr)"
