"""Checks of the doctor and the monitor, the findings they make, and the diagnosis these add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from textwrap import fill
from typing import Any, Final, Literal, TypeVar

import numpy as np

from nnbackprop._json import json_values

Level = Literal["note", "warning", "fault"]
"""A note needs no action, a warning costs accuracy or time, a fault makes the result wrong."""

WIDTH = 100  # columns of a finding printed as text


@dataclass(frozen=True)
class Finding:
    """A problem found. A cause that the evidence does not prove says "likely"."""

    id: str  # such as dead-relu
    level: Level
    evidence: str  # the measurement, with its numbers
    cause: str
    fix: str  # a setting, or a line of code
    measured: Mapping[str, float | str] = field(default_factory=dict)  # what a run's evidence says, by name

    def __str__(self) -> str:
        """Level and id, then evidence, cause and fix in a paragraph each."""
        rows = (("evidence", self.evidence), ("cause", self.cause), ("fix", self.fix))
        indent = " " * 12
        paragraphs = (fill(f"  {name:<9} {text}", WIDTH, subsequent_indent=indent) for name, text in rows)
        return "\n".join([f"{self.level}: {self.id}", *paragraphs])


@dataclass(frozen=True)
class Diagnosis:
    """The findings of some checks, and the ids of the checks that passed or did not apply.

    `description` says of a table what was chosen, and why: its target, its task, columns that were left out.
    """

    findings: tuple[Finding, ...] = ()
    passed: tuple[str, ...] = ()
    not_applicable: tuple[str, ...] = ()
    description: Mapping[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether there is neither a warning nor a fault."""
        return all(finding.level == "note" for finding in self.findings)

    @classmethod
    def merge(cls, *parts: Diagnosis) -> Diagnosis:
        """Several diagnoses as one; each id is once a finding (the first), else passed, else not applicable."""
        findings = {f.id: f for part in reversed(parts) for f in reversed(part.findings)}
        passed = dict.fromkeys(id for part in parts for id in part.passed if id not in findings)
        neither = (id for part in parts for id in part.not_applicable)
        rest = dict.fromkeys(id for id in neither if id not in findings and id not in passed)
        description = {name: text for part in reversed(parts) for name, text in part.description.items()}
        return cls(tuple(reversed(findings.values())), tuple(passed), tuple(rest), description)

    def __str__(self) -> str:
        """What was chosen of a table, every finding, then what passed."""
        passed = [fill(f"passed: {', '.join(self.passed)}", WIDTH)] if self.passed else []
        chosen = [fill(f"{name}: {text}", WIDTH) for name, text in self.description.items()]
        return "\n".join([*chosen, *map(str, self.findings), *passed])

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Diagnosis:
        """The inverse of `to_json`, for any ids; unknown keys of a finding are ignored."""
        names = [each.name for each in fields(Finding)]
        findings = tuple(
            Finding(**{name: found[name] for name in names if name in found}) for found in values["findings"]
        )
        description = dict(values.get("description", {}))
        return cls(findings, tuple(values["passed"]), tuple(values["not_applicable"]), description)

    def to_json(self) -> dict[str, Any]:
        """{"findings": [...], "passed": [ids], "not_applicable": [ids]}, and the description of a table."""
        findings = [_to_json(finding) for finding in self.findings]
        ids = {"passed": list(self.passed), "not_applicable": list(self.not_applicable)}
        chosen = {"description": dict(self.description)} if self.description else {}
        return {"findings": findings, **ids, **chosen}


def _to_json(finding: Finding) -> dict[str, Any]:
    """Its fields; `measured` where there is something, with None for what is not finite."""
    values = asdict(finding)
    measured = values.pop("measured")
    return values | {"measured": json_values(measured)} if measured else values


NOT_APPLICABLE: Final = "not applicable"
"""The subject lacks what the check needs."""

CheckResult = Finding | Literal["not applicable"] | None
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
        tuple(id for id, result in results.items() if result == NOT_APPLICABLE),
    )
