"""A result as Markdown: for the terminal, for docs/performance.md and for README.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from .results import OTHERS_LIMIT, Absent, Check, Figure, Result, Row, Timing


def page(result: Result) -> str:
    """Everything: what failed and what is missing first."""
    sections = [
        *failures(result),
        *(section for timing in result.timings for section in (timing_table(timing), remarks(timing))),
        figures(result),
        " ".join(left_out(result.absent)),
        made(result),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def timing_table(timing: Timing) -> str:
    """A row a rival: its seconds (on a GPU, µs a step), its time divided by ours, the products' share."""
    us, floor = timing.row(timing.us), next((row for row in timing.rows if row.kind == "floor"), None)
    scale, unit = (1e6 / timing.steps, "µs a step") if timing.on_gpu else (1.0, f"s per {timing.unit}")
    lines = [f"**{timing.workload}**: {timing.title}", ""]
    lines += [f"| | {unit} | times ours | products' share |", "|---|---|---|---|"]
    for row in timing.rows:
        title = f"**{row.title}**" if row.kind == "ours" else row.title
        ratio = spread(row.ratios(us), times) if us else ""
        share = f"{100 * median(floor.ratios(row)):.0f}%" if floor else ""
        lines.append(f"| {title} | {spread([scale * s for s in row.seconds], digits)} | {ratio} | {share} |")
    return "\n".join(lines)


def spread(values: Sequence[float], words: Callable[[float], str]) -> str:
    """The median, and in brackets the least and the greatest."""
    low, middle, high = min(values), median(values), max(values)
    return words(middle) if low == high else f"{words(middle)} ({words(low)}..{words(high)})"


def digits(x: float) -> str:
    """1.60, 0.912, 113, 2,000: three digits, more before the point."""
    return f"{x:,.0f}" if x >= 1000 else f"{x:#.3g}".rstrip(".")


def times(ratio: float) -> str:
    """1.62, or 17.7 and 128 where two decimals would say too much."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def remarks(timing: Timing) -> str:
    """Who failed the check, who could not take part, and which slices other processes spoilt."""
    said = [*map(failure, timing.failed), *left_out(timing.absent)]
    spoilt = "; ".join(f"{row.title} {row.left_out} of {len(row.slices)}" for row in timing.rows if row.left_out)
    if spoilt:
        said.append(f"Slices left out, in which others took over {OTHERS_LIMIT:.0%} of a core: {spoilt}.")
    crowded = [row.title for row in timing.rows if row.all_spoilt]
    if crowded:
        whose = "everybody's" if len(crowded) == len(timing.rows) else "; ".join(crowded)
        said.append(f"Others took the machine in every slice, so all of them count: {whose}.")
    return " ".join(said)


def failure(check: Check) -> str:
    """Who does not compute the same, and how far from us it is."""
    what = f"its {check.by} {'are' if check.by == 'weights' else 'is'}"
    found = "not finite" if check.difference is None else f"{check.difference:.1e} from ours"
    return f"{check.title} is not timed: after {check.steps} steps {what} {found}; {check.limit:.0e} is the limit."


def left_out(absent: Sequence[Absent]) -> Iterator[str]:
    """A sentence each."""
    return (f"{one.title} left out: {one.reason.rstrip('.')}." for one in absent)


def failures(result: Result) -> Iterator[str]:
    """Parts of a GPU's check that failed or were skipped, a line each."""
    for part in result.parts:
        if part.status != "passed":
            yield f"- **{part.status}**: {part.name}: {part.reason}"


def figures(result: Result) -> str:
    """A GPU's figures, a row each."""
    lines = ["| part | figure | found | limit, or goal |", "|---|---|---|---|"]
    for part in result.parts:
        for figure in part.figures:
            limit = figure.goal if figure.limit is None else f"at most {figure.limit:g}"
            lines.append(f"| {part.name} | {figure.what} | {found(figure)} | {limit} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def found(figure: Figure) -> str:
    """Four digits, the least and the greatest where there were several, and the unit."""
    if isinstance(figure.value, str):
        return figure.value
    value = f"{figure.value:,.0f}" if figure.value >= 1e4 else f"{figure.value:.4g}"
    around = "" if figure.low is None else f" ({figure.low:.4g}..{figure.high:.4g})"
    return f"{value}{around} {figure.unit}".rstrip()


def summary(result: Result) -> str:
    """A row a rival, a column a workload: its time divided by ours."""
    lines = [f"| time divided by ours | {' | '.join(timing.workload for timing in result.timings)} |"]
    lines.append(f"|---|{'---|' * len(result.timings)}")
    for name, row in result.rivals.items():
        cells = [_ratio(timing, timing.row(name)) for timing in result.timings]
        lines.append(f"| {f'**{row.title}**' if row.kind == 'ours' else row.title} | {' | '.join(cells)} |")
    legend = "; ".join(f"{timing.workload}: {timing.title}" for timing in result.timings)
    return "\n".join([*lines, "", f"{legend}.", "", made(result)]) + "\n"


def _ratio(timing: Timing, row: Row | None) -> str:
    us = timing.row(timing.us)
    return times(median(row.ratios(us))) if row and us else ""


def made(result: Result) -> str:
    """The command, the machine, the date, the versions."""
    return f"Made by `{result.command}` on {result.date}: {result.machine.words}."


def everything(results: Sequence[Result]) -> str:
    """A section a machine."""
    return "\n".join(f"### {result.machine.name}\n\n{page(result)}" for result in results)
