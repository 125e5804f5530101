"""A parity run for the terminal and as a plot: each library's largest differences from the first, and kinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from nnbackprop.diagnostics.parity.results import KINDS, TOLERANCE_NOTE, TOLERANCES, Comparison, Kind, Parity

from .formatting import count, plural
from .style import GREY, PALETTE, new_plot
from .tables import MISSING, new_table

ZERO, INFINITE = 1e-18, 1e3  # where a logarithmic axis has no difference, and an infinite one
LINE_STYLES = {"float64": "-", "float32": "-."}


def parity_report(parity: Parity) -> RenderableType:
    """The libraries, the largest differences of each comparison, first failures and kinks, and the verdict."""
    first = parity.libraries[0].name
    right = ("step", "relative", "absolute", "tolerance")
    table = new_table("steps begin from", "tensor", *right, "", right=right, collapse_padding=True)
    for column in table.columns:
        column.no_wrap = True
    for comparison in parity.comparisons:
        table.add_row(f"[bold]{_title(comparison)}[/]")
        for kind in KINDS:
            verdict = "[green]ok[/]" if comparison.within(kind) else "[bold red]FAIL[/]"
            table.add_row(f"  {kind}", *_worst(comparison, kind), f"{comparison.tolerance:g}", verdict)
    failed = sum(not comparison.passed for comparison in parity.comparisons)
    verdict = f"FAILED: {failed} of {plural(len(parity.comparisons), 'comparison')}" if failed else "passed"
    return Group(
        f"{escape(parity.recipe)}, seed {parity.seed}, {plural(parity.steps, 'step')} of "
        f"{plural(parity.batch_size, 'sample')}, compared with {first}",
        *(f"[dim]{row.name} {escape(str(row.version))} on {row.device}[/]" for row in parity.libraries),
        *(f"[yellow]{escape(a.name)} not compared:[/] {escape(f'{a.reason} {a.fix}')}" for a in parity.absent),
        table,
        *(Text(remark) for comparison in parity.comparisons for remark in _remarks(comparison, first)),
        Text(TOLERANCE_NOTE, style="dim"),
        Text(verdict, style="bold red" if failed else "bold green"),
    )


def _worst(comparison: Comparison, kind: Kind) -> tuple[str, str, str, str]:
    worst = comparison.worst(kind)
    if worst is None:
        return MISSING, MISSING, MISSING, MISSING
    absolute = max(d.absolute for d in comparison.judged(kind))
    return worst.tensor, str(worst.step), f"{worst.relative:.1e}", f"{absolute:.1e}"


def _remarks(comparison: Comparison, first: str) -> Iterator[str]:
    """Where a comparison fails first, what was not judged, and its first kink."""
    title = _title(comparison)
    if d := comparison.first_failure():
        yield (
            f"{title}: first past the tolerance at step {d.step}, {d.kind} of {d.tensor}: "
            f"relative {d.relative:.1e}, absolute {d.absolute:.1e}."
        )
    excused = Counter(d.excuse for d in comparison.differences if d.excuse)
    if n := excused["rounding"]:
        yield f"{title}: {plural(n, 'difference')} not judged, no larger than rounding errors."
    if comparison.kinks:
        kink, steps = comparison.kinks[0], len({kink.step for kink in comparison.kinks})
        more = f", with {plural(kink.units - 1, 'more unit')} of the layer" if kink.units > 1 else ""
        effect = "There the runs diverge."
        if comparison.begin == "same weights":
            excluded = f"{count(excused['kink'])} gradients and weights were not judged."
            effect = f"In {plural(steps, 'such step')} {excluded}"
        yield (
            f"{title}: at step {kink.step}, {kink.layer}, unit {count(kink.unit)}, sample {count(kink.sample)} of "
            f"the batch, the input is {kink.reference:.3g} on {first} and {kink.other:.3g} on "
            f"{comparison.library}{more}. {effect}"
        )


def _title(comparison: Comparison) -> str:
    return f"{comparison.library} {comparison.dtype}, {comparison.begin}"


def parity_plot(parity: Parity) -> Figure:
    """The largest relative difference of each step, a line a comparison, kinks as circles, tolerances dashed."""
    first, *others = (library.name for library in parity.libraries)
    figure, axes = new_plot(f"Largest difference from {first}, {parity.recipe}, by step")
    for comparison in parity.comparisons:
        values: dict[int, float] = {}
        for d in comparison.differences:
            if not d.excuse:
                values[d.step] = max(values.get(d.step, ZERO), min(d.relative, INFINITE))
        colour = PALETTE[others.index(comparison.library) % len(PALETTE)]
        dashes, marker = LINE_STYLES[comparison.dtype], "o" if len(values) == 1 else ""
        steps, largest, label = list(values), list(values.values()), _title(comparison)
        axes.plot(steps, largest, color=colour, ls=dashes, lw=1.4, marker=marker, label=label)
        kinks = sorted({kink.step for kink in comparison.kinks} & set(values))
        axes.plot(kinks, [values[step] for step in kinks], "o", mfc="none", color=colour)
    for dtype in {comparison.dtype for comparison in parity.comparisons}:
        axes.axhline(TOLERANCES[dtype], ls="--", lw=1, color=GREY)
        label, place = f"tolerance {dtype}", (0.995, TOLERANCES[dtype])
        axes.annotate(label, place, xycoords=("axes fraction", "data"), ha="right", va="bottom", color=GREY)
    axes.set(xlabel="step", ylabel=f"||a - b|| / ||b||, none drawn at {ZERO:g}", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.grid(color="#E6E6E6")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
