"""A check, and how a table {id: check} becomes a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TypeVar

import numpy as np

from .findings import Diagnosis, Finding


class NotApplicable(Enum):
    """The type of NOT_APPLICABLE."""

    NOT_APPLICABLE = "not applicable"


NOT_APPLICABLE = NotApplicable.NOT_APPLICABLE
"""The subject lacks what the check needs."""

CheckResult = Finding | NotApplicable | None
"""None where nothing is wrong."""

Subject = TypeVar("Subject")
Check = Callable[[Subject], CheckResult]


def run_checks(checks: Mapping[str, Check[Subject]], subject: Subject) -> Diagnosis:
    """Run every check of a table {id: check} on `subject`."""
    with np.errstate(all="ignore"):  # the checks look for overflow themselves
        results = {id: check(subject) for id, check in checks.items()}
    return Diagnosis(
        tuple(result for result in results.values() if isinstance(result, Finding)),
        tuple(id for id, result in results.items() if result is None),
        tuple(id for id, result in results.items() if result is NOT_APPLICABLE),
    )


def skipped(ids: Iterable[str]) -> Diagnosis:
    """A diagnosis in which none of these checks applied."""
    return Diagnosis(not_applicable=tuple(ids))
