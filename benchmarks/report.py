"""A result as Markdown: for the terminal, for docs/performance.md and for README.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from .results import MAX_OTHER_LOAD, Check, Figure, Result, Timing


def page(result: Result) -> str:
    """Everything: what failed and what is missing first."""
    problems = [part for part in result.parts if part.status != "passed"]
    sections = [
        "\n".join(f"- **{part.status}**: {part.name}: {part.reason}" for part in problems),
        *(section for timing in result.timings for section in (timing_table(timing), remarks(timing))),
        figure_table(result),
        " ".join(f"{one.title} left out: {one.reason.rstrip('.')}." for one in result.absent),
        made_by(result),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def pages(results: Iterable[Result]) -> str:
    """A section a machine."""
    return "\n".join(f"### {result.machine.name}\n\n{page(result)}" for result in results)


def timing_table(timing: Timing) -> str:
    """A row a rival: its seconds (on a GPU, µs a step), its time divided by ours, the share of matrix products."""
    floor = next((row for row in timing.rows if row.kind == "floor"), None)
    scale, unit = (1e6 / timing.steps, "µs a step") if timing.on_gpu else (1.0, f"s per {timing.unit}")
    lines = [f"**{timing.workload}, {timing.label}**: {timing.title}", ""]
    lines += [f"| | {unit} | time divided by ours | share of matrix products |", "|---|---|---|---|"]
    for row in timing.rows:
        title = f"**{row.title}**" if row.kind == "ours" else row.title
        seconds, ratio = [scale * s for s in row.seconds], spread(row.ratios(timing.base), format_ratio)
        share = f"{median(floor.ratios(row)):.0%}" if floor else ""
        lines.append(f"| {title} | {spread(seconds, three_digits)} | {ratio} | {share} |")
    return "\n".join(lines)


def spread(values: Sequence[float], formatted: Callable[[float], str]) -> str:
    """The median, and in brackets the least and the greatest."""
    low, middle, high = (formatted(f(values)) for f in (min, median, max))
    return middle if low == high else f"{middle} ({low}..{high})"


def three_digits(x: float) -> str:
    """1.60, 0.912, 113; more digits before the point, as in 2,000."""
    return f"{x:,.0f}" if x >= 1000 else f"{x:#.3g}".rstrip(".")


def format_ratio(ratio: float) -> str:
    """1.62, or 17.7 and 128 where two decimals would say too much."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def remarks(timing: Timing) -> str:
    """Who failed the check, who could not take part, and which slices other processes disturbed."""
    parts = [failure(check) for check in timing.failed]
    parts += [f"{one.title} left out: {one.reason.rstrip('.')}." for one in timing.absent]
    disturbed = [f"{row.title} {row.disturbed} of {len(row.slices)}" for row in timing.rows if row.disturbed]
    if disturbed:
        parts.append(
            f"Slices in which other processes took over {MAX_OTHER_LOAD:.0%} of a core, left out unless all of a "
            f"row's are: {'; '.join(disturbed)}."
        )
    return " ".join(parts)


def failure(check: Check) -> str:
    """Who does not compute the same, at which step and in which tensor."""
    apart = "not finite" if check.difference is None else f"{check.difference:.1e} from ours"
    return (
        f"{check.title} is not timed: after step {check.step} its {check.tensor} is {apart}; "
        f"{check.limit:.0e} is the limit."
    )


def figure_table(result: Result) -> str:
    """A GPU's figures, a row each."""
    rows = [
        f"| {part.name} | {figure.what} | {format_figure(figure)} | "
        f"{'' if figure.limit is None else f'at most {figure.limit:g}'} |"
        for part in result.parts
        for figure in part.figures
    ]
    return "\n".join(["| part | figure | measured | limit |", "|---|---|---|---|", *rows]) if rows else ""


def format_figure(figure: Figure) -> str:
    """Four digits, the least and the greatest where there were several, and the unit."""
    value = f"{figure.value:,.0f}" if figure.value >= 1e4 else f"{figure.value:.4g}"
    around = "" if figure.low is None else f" ({figure.low:.4g}..{figure.high:.4g})"
    return f"{value}{around} {figure.unit}".rstrip()


def summary(result: Result) -> str:
    """A row a rival, a column a workload: its time divided by ours."""
    heads = [f"{timing.workload}, {timing.label}" for timing in result.timings]
    lines = [f"| time divided by ours | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for name, first in result.rivals.items():
        rows = [(timing.row(name), timing.base) for timing in result.timings]
        cells = [format_ratio(median(row.ratios(base))) if row else "" for row, base in rows]
        lines.append(f"| {f'**{first.title}**' if first.kind == 'ours' else first.title} | {' | '.join(cells)} |")
    legend = "; ".join(f"{timing.workload}: {timing.title}" for timing in result.timings)
    return "\n".join([*lines, "", f"{legend}.", "", made_by(result)]) + "\n"


def made_by(result: Result) -> str:
    """The command, the machine, the date, the versions."""
    return f"Made by `{result.command}` on {result.date}: {result.machine}."
