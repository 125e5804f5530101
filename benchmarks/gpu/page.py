"""A check of a GPU in Markdown: what is missing, W1's step by everybody who took part, all other figures."""

from __future__ import annotations

from collections.abc import Iterator

from .results import MICROSECONDS, Check, Figure, Part

LADDER = "ladder"
APART = ("large", "streaming")
"""DataSplits whose times are of something else than W1's step on samples that are there."""


def page(check: Check) -> str:
    """All of it."""
    sections = [missing(check), steps(check), others(check), check.made]
    return "\n\n".join(section for section in sections if section) + "\n"


def steps(check: Check) -> str:
    """W1, a row for each way to run it: microseconds in either precision, and how many times our best ones."""
    rows: dict[str, dict[str, Figure]] = {}
    for _, figure in w1(check):
        rows.setdefault(figure.what, {})[figure.dtype] = figure
    if not rows:
        return ""
    ours = {figure.what for part, figure in w1(check) if part.name.startswith(LADDER)}
    lines = [
        f"| W1, {MICROSECONDS} | float32 | times our best | TF32 | times our best |",
        "|---|---|---|---|---|",
    ]
    for what, row in rows.items():
        cells = [cell for dtype in ("float32", "tf32") for cell in pair(row.get(dtype), best(check, dtype))]
        lines.append(f"| {f'**{what}**' if what in ours else what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def w1(check: Check) -> Iterator[tuple[Part, Figure]]:
    """Times of W1's step."""
    for part in check.parts:
        for figure in part.figures:
            if figure.unit == MICROSECONDS and not part.name.startswith(APART):
                yield part, figure


def best(check: Check, dtype: str) -> float | None:
    """The least of our own, microseconds."""
    ours = (f for part, f in w1(check) if part.name.startswith(LADDER) and f.dtype == dtype)
    return min((float(figure.value) for figure in ours), default=None)


def pair(figure: Figure | None, base: float | None) -> tuple[str, str]:
    """A time with its spread, and as a multiple of `base`."""
    if figure is None:
        return "", ""
    return f"{found(figure)} {spread(figure)}".strip(), f"{float(figure.value) / base:.2f}" if base else ""


def others(check: Check) -> str:
    """All that are not in the first table, by part; the machine stands at the end of the page."""
    shown = {id(figure) for _, figure in w1(check)}
    lines = ["| | | found | least..greatest | limit, or aim |", "|---|---|---|---|---|"]
    for part in check.parts:
        for figure in part.figures:
            if id(figure) not in shown and part.name != "environment":
                unit = f" {figure.unit}" if figure.unit else ""
                limit = f"at most {figure.limit:g}" if figure.limit is not None else figure.aim
                what = f"{part.title} | {figure.what} | {found(figure)}{unit}"
                lines.append(f"| {what} | {spread(figure)} | {limit} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def found(figure: Figure) -> str:
    """Four digits, thousands told apart; words as they are."""
    if isinstance(figure.value, str):
        return figure.value
    return f"{figure.value:,.0f}" if figure.value >= 1e4 else f"{figure.value:.4g}"


def spread(figure: Figure) -> str:
    """The least and the greatest, where there were several."""
    return "" if figure.low is None else f"({figure.low:.4g}..{figure.high:.4g})"


def missing(check: Check) -> str:
    """What failed or was skipped, and why; a reason that several share is said once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for part in check.parts:
        if part.status != "passed":
            reasons.setdefault((part.status, part.reason), []).append(part.title)
    return "\n".join(
        f"- **{status}**: {', '.join(titles)}: {reason}" for (status, reason), titles in reasons.items()
    )
