"""What an examination says: findings with their evidence, what was passed, and what could not be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Literal

Level = Literal["note", "warning", "fault"]
"""A note is known and handled, a warning costs accuracy or time, a fault makes the result wrong."""

WIDTH = 100  # of findings as text


@dataclass(frozen=True)
class Finding:
    """One thing found: what was measured, what it comes from, and what mends it."""

    id: str  # such as dead-relu
    level: Level
    evidence: str  # the measurement, with its numbers
    cause: str
    fix: str  # a flag, or a line of code
    confidence: float  # 0..1: how sure the cause is, given the evidence

    def __str__(self) -> str:
        """What it is and how sure, then evidence, cause and fix in a paragraph each."""
        rows = (("evidence", self.evidence), ("cause", self.cause), ("fix", self.fix))
        head = f"{self.level}: {self.id} ({self.confidence:.0%} sure)"
        indent = " " * 12
        return "\n".join(
            [head, *(fill(f"  {name:<9} {words}", WIDTH, subsequent_indent=indent) for name, words in rows)]
        )


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

    def __str__(self) -> str:
        """Every finding, then what was passed."""
        passed = [fill(f"passed: {', '.join(self.passed)}", WIDTH)] if self.passed else []
        return "\n".join([*map(str, self.findings), *passed])

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Diagnosis:
        """A diagnosis out of what `to_json` made of it."""
        findings = tuple(Finding(**finding) for finding in values["findings"])
        return cls(findings, tuple(values["passed"]), tuple(values["not_applicable"]))

    def to_json(self) -> dict[str, Any]:
        """{"findings": [...], "passed": [ids], "not_applicable": [ids]}."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "passed": list(self.passed),
            "not_applicable": list(self.not_applicable),
        }
