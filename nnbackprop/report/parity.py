"""A parity run for the terminal: each library's largest differences from the first, kinks, and a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.diagnostics.parity.results import KINDS, OWN, WHY, Comparison, Kind, Kink, Parity

from .formatting import count, plural
from .tables import NONE, ruled


def parity_report(parity: Parity) -> RenderableType:
    """The libraries, the largest differences of each comparison, first failures and kinks, and the verdict."""
    first = parity.libraries[0].name
    lines: list[RenderableType] = [
        f"{escape(parity.recipe)}, seed {parity.seed}, {plural(parity.steps, 'step')} of "
        f"{plural(parity.batch_size, 'sample')}, compared with {first}",
        *(f"[dim]{row.name} {escape(str(row.version))} on {row.device}[/]" for row in parity.libraries),
        *(f"[yellow]{escape(a.name)} left out:[/] {escape(f'{a.reason} {a.fix}')}" for a in parity.absent),
        differences_table(parity),
        *(Text(remark) for comparison in parity.comparisons for remark in _remarks(comparison, first)),
        Text(WHY, style="dim"),
    ]
    failed = sum(not comparison.passed for comparison in parity.comparisons)
    verdict = f"FAILED: {failed} of {plural(len(parity.comparisons), 'comparison')}" if failed else "passed"
    return Group(*lines, Text(verdict, style="bold red" if failed else "bold green"))


def differences_table(parity: Parity) -> Table:
    """A block for each comparison, a row for each kind: the largest relative difference and where it is."""
    right = ("step", "relative", "absolute", "at most")
    table = ruled("steps begin from", "worst", *right, "", right=right, collapse_padding=True)
    for column in table.columns:
        column.no_wrap = True
    for comparison in parity.comparisons:
        table.add_row(f"[bold]{_title(comparison)}[/]")
        for kind in KINDS:
            table.add_row(f"  {kind}", *_worst(comparison, kind))
    return table


def _worst(comparison: Comparison, kind: Kind) -> tuple[str, ...]:
    worst, tolerance = comparison.worst(kind), comparison.tolerance
    limit = "none" if tolerance is None else f"{tolerance:g}"
    verdict = ("" if tolerance is None else "[green]ok[/]") if comparison.within(kind) else "[bold red]PAST[/]"
    if worst is None:
        return NONE, NONE, NONE, NONE, limit, verdict
    absolute = max(d.absolute for d in comparison.judged(kind))
    return worst.tensor, str(worst.step), f"{worst.relative:.1e}", f"{absolute:.1e}", limit, verdict


def _remarks(comparison: Comparison, first: str) -> Iterator[str]:
    """Where a comparison fails first, what was left out, and its first kink."""
    title = _title(comparison)
    if d := comparison.first_failure():
        yield (
            f"{title}: first past the tolerance at step {d.step}, {d.kind} of {d.tensor}: "
            f"relative {d.relative:.1e}, absolute {d.absolute:.1e}."
        )
    excused = Counter(d.excuse for d in comparison.differences if d.excuse)
    if n := excused["rounding"]:
        yield f"{title}: {plural(n, 'difference')} left out, no larger than rounding alone may make there."
    if comparison.kinks and comparison.begin == OWN:
        yield f"{title}: {_kink(comparison.kinks[0], first, comparison.library)}, and there the runs diverge."
    elif comparison.kinks:
        steps = plural(len({kink.step for kink in comparison.kinks}), "such step")
        yield (
            f"{title}: {_kink(comparison.kinks[0], first, comparison.library)}. In {steps} "
            f"{count(excused['kink'])} gradients and weights were left out."
        )


def _kink(kink: Kink, first: str, other: str) -> str:
    more = f", with {plural(kink.units - 1, 'more unit')} of the layer" if kink.units > 1 else ""
    return (
        f"at step {kink.step}, {kink.layer}, unit {count(kink.unit)}, sample {count(kink.sample)} of the batch: "
        f"its input is {kink.reference:.3g} on {first} and {kink.other:.3g} on {other}{more}"
    )


def _title(comparison: Comparison) -> str:
    return f"{comparison.library} {comparison.dtype}, {comparison.begin}"
