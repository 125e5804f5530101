"""Parity as tables: each library's worst differences against the first, and every tensor's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.diagnostics.parity.results import KINDS, OWN, WHY, Comparison, Difference, Kind, Kink, Parity

from .formatting import count, plural
from .tables import NONE, ruled


def parity_report(parity: Parity) -> RenderableType:
    """The libraries, the worst of each comparison, every tensor's worst, kinks, and the verdict."""
    first = parity.libraries[0].name
    lines: list[RenderableType] = [
        f"{escape(parity.recipe)}, seed {parity.seed}, {plural(parity.steps, 'step')} of "
        f"{plural(parity.batch_size, 'sample')}, compared with {first}",
        *(f"[dim]{row.name} {escape(row.version)} on {row.device}[/]" for row in parity.libraries),
        *(f"[yellow]{escape(a.name)} left out:[/] {escape(f'{a.reason} {a.mend}')}" for a in parity.absent),
        worst_table(parity),
        tensors_table(parity),
        *(Text(words) for comparison in parity.comparisons for words in remarks(comparison, first)),
        Text(WHY, style="dim"),
    ]
    failed = sum(not comparison.passed for comparison in parity.comparisons)
    words = f"FAILED: {failed} of {plural(len(parity.comparisons), 'comparison')}" if failed else "passed"
    return Group(*lines, Text(words, style="bold red" if failed else "bold green"))


def worst_table(parity: Parity) -> Table:
    """A block a comparison, a row a kind: the worst relative difference and where, the largest absolute one."""
    right = ("step", "relative", "absolute", "at most")
    table = ruled("steps begin from", "worst", *right, "", right=right, collapse_padding=True)
    for column in table.columns:
        column.no_wrap = True
    for comparison in parity.comparisons:
        table.add_row(f"[bold]{_head(comparison)}[/]")
        for kind in KINDS:
            table.add_row(f"  {kind}", *_worst(comparison, kind))
    return table


def _worst(comparison: Comparison, kind: Kind) -> tuple[str, ...]:
    worst, tolerance = comparison.worst(kind), comparison.tolerance
    words = "none" if tolerance is None else f"{tolerance:g}"
    verdict = ("" if tolerance is None else "[green]ok[/]") if comparison.within(kind) else "[bold red]PAST[/]"
    if worst is None:
        return NONE, NONE, NONE, NONE, words, verdict
    numbers = f"{worst.relative:.1e}", f"{comparison.absolute(kind):.1e}"
    return worst.tensor, str(worst.step), *numbers, words, verdict


def tensors_table(parity: Parity) -> Table:
    """A row a tensor: its worst relative and, below, its largest absolute difference in each comparison."""
    heads = [f"{c.library} {c.dtype}\n{c.begin}" for c in parity.comparisons]
    table = ruled("", *heads, right=heads, caption="worst relative difference (largest absolute difference)")
    table.columns[0].no_wrap = True
    last = None
    for kind, tensor in parity.comparisons[0].tensors():
        if kind != last:
            table.add_row(f"[bold]{kind}[/]")
        last = kind
        worst = ((c.worst(kind, tensor), c.absolute(kind, tensor)) for c in parity.comparisons)
        table.add_row(f"  {tensor}", *(f"{d.relative:.0e} ({largest:.0e})" if d else NONE for d, largest in worst))
    return table


def remarks(comparison: Comparison, first: str) -> Iterator[str]:
    """A comparison in words: where it fails first, what was left out, and its first kink."""
    head = f"{_head(comparison)}:"
    if failure := comparison.first_failure():
        yield f"{head} first past the tolerance {_where(failure)}."
    left_out = Counter(d.excuse for d in comparison.differences if d.excuse)
    if n := left_out["rounding"]:
        yield f"{head} {plural(n, 'difference')} left out, no larger than rounding alone may make there."
    if comparison.kinks:
        words = kink_words(comparison.kinks[0], first, comparison.library)
        yield f"{head} {words}{_parts(comparison, left_out['kink'])}"


def _parts(comparison: Comparison, left_out: int) -> str:
    if comparison.begin == OWN:
        return ", and there the runs part."
    steps = len({kink.step for kink in comparison.kinks})
    return f". In {plural(steps, 'such step')} {count(left_out)} gradients and weights were left out."


def kink_words(kink: Kink, first: str, other: str) -> str:
    """The unit that is on with one library and off with the other."""
    more = f", with {plural(kink.units - 1, 'more unit')} of the layer" if kink.units > 1 else ""
    return (
        f"at step {kink.step}, {kink.layer}, unit {count(kink.unit)}, sample {count(kink.sample)} of the batch: "
        f"its input is {kink.reference:.3g} on {first} and {kink.other:.3g} on {other}{more}"
    )


def _where(d: Difference) -> str:
    numbers = f"relative {d.relative:.1e}, absolute {d.absolute:.1e}"
    return f"at step {d.step}, {d.kind} of {d.tensor}: {numbers}"


def _head(comparison: Comparison) -> str:
    return f"{comparison.library} {comparison.dtype}, {comparison.begin}"
