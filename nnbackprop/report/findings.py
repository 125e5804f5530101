"""Findings for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.diagnostics.findings import Diagnosis, Finding

from .formatting import plural

COLOURS = {"note": "cyan", "warning": "yellow", "fault": "bold red"}


def findings_table(findings: Sequence[Finding]) -> Table:
    """A block of lines a finding: level and id, evidence, cause, fix."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    for at, finding in enumerate(findings):
        if at:
            grid.add_row()
        colour = COLOURS[finding.level]
        grid.add_row(f"[{colour}]{finding.level}[/]", f"[bold]{finding.id}[/]")
        for name in ("evidence", "cause", "fix"):
            grid.add_row(f"[dim]{name}[/]", escape(getattr(finding, name)))
    return grid


def diagnosis_report(diagnosis: Diagnosis) -> RenderableType:
    """All findings, the worst first, and what passed or did not apply."""
    order = ("fault", "warning", "note")
    findings = sorted(diagnosis.findings, key=lambda finding: order.index(finding.level))
    counts = [plural(n, level) for level in order if (n := sum(f.level == level for f in findings))]
    lines: list[RenderableType] = [Text(f"{', '.join(counts) or 'no problems found'}", style="bold")]
    if diagnosis.passed:
        lines.append(Text(f"passed: {', '.join(diagnosis.passed)}"))
    if diagnosis.not_applicable:
        lines.append(Text(f"not applicable: {', '.join(diagnosis.not_applicable)}", style="dim"))
    return Group(findings_table(findings), "", *lines) if findings else Group(*lines)
