"""The benchmark in the terminal: a table a work, and below it what has to be said of its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.report.tables import NONE, ruled

from .contestants import ENTRIES
from .load import MUCH
from .results import Check, Result, Row, Spread, Timing

LEGEND = "Medians (least..greatest); floor: the share of it that the step's matrix products alone take."

STYLES = {"ours": "bold", "floor": "dim", "rival": "default"}


def report(result: Result) -> RenderableType:
    """All works, who is not here, and the machine."""
    lines: list[RenderableType] = []
    for timing in result.timings:
        lines += [timing_table(timing), *remarks(timing), Text()]
    lines += [Text(f"{absent.title} left out: {absent.reason}", style="yellow") for absent in result.absent]
    lines += [Text(words, style="dim") for words in (LEGEND, result.machine.words, result.machine.versions)]
    return Group(*lines)


def timing_table(timing: Timing) -> Table:
    """A row a contestant: its seconds, its time divided by ours, and the floor's share, that of the products."""
    heads = (f"s per\n{timing.unit}", "times\nours", "\nfloor")
    title = f"[bold not italic]{timing.work}  {escape(timing.title)}[/]"
    table = ruled("", *heads, right=heads, title=title, title_justify="left", collapse_padding=True)
    for column in table.columns[1:]:
        column.no_wrap = True
    for row in timing.rows:
        table.add_row(f"[{STYLES[row.kind]}]{escape(row.title)}[/]", *cells(row))
    return table


def cells(row: Row) -> tuple[str, str, str]:
    """A row's figures in words: medians, and in brackets the least and the greatest."""
    share = NONE if row.floor is None else f"{100 * row.floor:.0f}%"
    return _spread(row.seconds, seconds), _spread(row.ratio, times), share


def seconds(s: float) -> str:
    """1.60, 0.912, 113: three digits."""
    return f"{s:#.3g}".rstrip(".")


def times(ratio: float) -> str:
    """1.62, or 17.7 and 128 where two decimals would say too much."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def _spread(spread: Spread, words: Callable[[float], str]) -> str:
    if spread.low == spread.high:
        return words(spread.median)
    return f"{words(spread.median)} ({words(spread.low)}..{words(spread.high)})"


def remarks(timing: Timing) -> Iterator[Text]:
    """Who failed the check and how far, who could not take part, and what others on the machine spoilt."""
    for check in timing.failed:
        yield Text(failure(check), style="bold red")
    for absent in timing.absent:
        yield Text(f"{absent.title} left out: {absent.reason}", style="yellow")
    spoilt = "; ".join(f"{row.title} {row.left_out} of {len(row.slices)}" for row in timing.rows if row.left_out)
    if spoilt:
        yield Text(f"Slices left out, in which others took over {MUCH:.0%} of a core: {spoilt}", style="yellow")
    crowded = [row.title for row in timing.rows if row.all_spoilt]
    if crowded:
        whose = "everybody's" if len(crowded) == len(timing.rows) else "; ".join(crowded)
        yield Text(f"Others took the machine in every slice, so all of them count: {whose}", style="yellow")


def failure(check: Check) -> str:
    """Who does not compute the same, and how far from us it is."""
    title = ENTRIES[check.contestant].title
    what = f"its {check.by} {'are' if check.by == 'weights' else 'is'}"
    apart = "no number" if check.apart is None else f"{check.apart:.1e} from ours"
    return f"{title} is not timed: after {check.steps} steps {what} {apart}; {check.limit:.0e} is the limit."
