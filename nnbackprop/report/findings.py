"""A diagnosis for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.diagnostics.findings import Diagnosis

from .formatting import plural

COLOURS = {"fault": "bold red", "warning": "yellow", "note": "cyan"}


def diagnosis_report(diagnosis: Diagnosis) -> RenderableType:
    """All findings, the worst first, and what passed or did not apply."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    order = list(COLOURS)
    for finding in sorted(diagnosis.findings, key=lambda finding: order.index(finding.level)):
        grid.add_row(f"[{COLOURS[finding.level]}]{finding.level}[/]", f"[bold]{finding.id}[/]")
        for name in ("evidence", "cause", "fix"):
            grid.add_row(f"[dim]{name}[/]", escape(getattr(finding, name)))
        grid.add_row()
    levels: list[str] = [finding.level for finding in diagnosis.findings]
    counts = [plural(n, level) for level in order if (n := levels.count(level))]
    lines = [Text(", ".join(counts) or "no problems found", style="bold")]
    if diagnosis.passed:
        lines.append(Text(f"passed: {', '.join(diagnosis.passed)}"))
    if diagnosis.not_applicable:
        lines.append(Text(f"not applicable: {', '.join(diagnosis.not_applicable)}", style="dim"))
    return Group(grid, *lines) if levels else Group(*lines)
