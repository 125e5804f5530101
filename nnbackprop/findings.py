"""What an examination says: findings with their evidence, what was passed, and what could not be asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["note", "warning", "fault"]
"""A note is known and handled, a warning costs accuracy or time, a fault makes the result wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing found: what was measured, what it comes from, and what mends it."""

    id: str  # such as dead-relu
    level: Level
    evidence: str  # the measurement, with its numbers
    cause: str
    fix: str  # a flag, or a line of code
    confidence: float  # 0..1: how sure the cause is, given the evidence


@dataclass(frozen=True)
class Diagnosis:
    """The findings of an examination, and the ids of the checks that passed or did not apply."""

    findings: tuple[Finding, ...] = ()
    passed: tuple[str, ...] = ()
    not_applicable: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether there is neither a warning nor a fault."""
        return all(finding.level == "note" for finding in self.findings)

    @classmethod
    def together(cls, parts: Iterable[Diagnosis]) -> Diagnosis:
        """Several examinations as one."""
        parts = tuple(parts)
        return cls(
            tuple(finding for part in parts for finding in part.findings),
            tuple(id for part in parts for id in part.passed),
            tuple(id for part in parts for id in part.not_applicable),
        )

    def to_json(self) -> dict[str, Any]:
        """{"findings": [...], "passed": [ids], "not_applicable": [ids]}."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "passed": list(self.passed),
            "not_applicable": list(self.not_applicable),
        }
