"""What a check is, and how a table of them becomes a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TypeVar

import numpy as np

from .findings import Diagnosis, Finding


class Verdict(Enum):
    """What a check says where it has no finding but did not pass either."""

    NOT_APPLICABLE = "not applicable"


NOT_APPLICABLE = Verdict.NOT_APPLICABLE
"""The set or the network does not offer what the check needs."""

Outcome = Finding | Verdict | None
"""A finding, NOT_APPLICABLE, or None where all is well."""

ModelProbe = TypeVar("ModelProbe")


def examine(checks: Mapping[str, Callable[[ModelProbe], Outcome]], subject: ModelProbe) -> Diagnosis:
    """Ask every check of a table {id: check} about `subject`."""
    with np.errstate(all="ignore"):  # what overflows is what is looked for
        outcomes = {id: check(subject) for id, check in checks.items()}
    return Diagnosis(
        tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Finding)),
        tuple(id for id, outcome in outcomes.items() if outcome is None),
        tuple(id for id, outcome in outcomes.items() if outcome is NOT_APPLICABLE),
    )


def skipped(ids: Iterable[str]) -> Diagnosis:
    """A diagnosis in which none of these checks could be asked."""
    return Diagnosis(not_applicable=tuple(ids))
