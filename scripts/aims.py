"""The speed this project set out for, and what it came to: a rival's time divided by ours, aim by aim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.beside import Beside
from benchmarks.beside import rows as beside_rows
from benchmarks.contestants import ENTRIES, US
from benchmarks.results import Result, Spread
from benchmarks.table import times

AIMS: dict[tuple[str, str], dict[str, float]] = {
    (US, "torch-eager"): {"W1": 2.0, "W1n": 1.1, "W1a": 1.5, "W2": 1.0, "W3": 8.0, "W4": 1.0},
    (US, "torch-fused"): {"W1a": 1.0},
    (US, "jax-grad"): {"W1": 1.0},
    (US, "tutorial"): {"W3": 1.3},
    (US, "sklearn"): {"W1n": 2.5, "W1a": 2.5},
    (US, "thinc"): {"W1": 4.0, "W1n": 4.0, "W1a": 4.0},
    ("numpy", "torch-eager"): {"W1": 1.4, "W1n": 1.05, "W1a": 0.9},
    ("jax", "jax-grad"): {"W1": 1.2, "W1n": 1.0, "W1a": 1.0, "W2": 1.0, "W3": 1.0, "W4": 1.0},
    ("torch", "torch-eager"): {"W1": 0.97, "W1n": 1.1, "W1a": 0.97, "W2": 0.97, "W3": 1.1, "W4": 0.97},
}
"""At least so many times our time, of (ours, a rival) at each work."""


OVERHEAD = {"W1n": 0.03, "W3": 0.15}
"""At most so much of the bare step for trainer, events and display."""

FIRST_STEP, WHOLE = 1.5, 5.0
"""At most so many seconds, from the start of the process."""

BYTES, FLOATS = 250e6, 450e6
"""At most so many bytes at the peak, samples stored as uint8 and as float32."""


def each() -> Iterator[tuple[str, str, str, float]]:
    """Ours, a rival, a work, and the aim."""
    for (ours, rival), works in AIMS.items():
        for work, aim in works.items():
            yield ours, rival, work, aim


def name(contestant: str) -> str:
    """Its title, ours without the project's name."""
    return ENTRIES[contestant].title.removeprefix("nnbackprop, ")


def kernels(result: Result) -> str:
    """What tells a machine's column from another's."""
    return result.machine.kernel or result.machine.title


def table(results: Sequence[Result]) -> str:
    """A row an aim, a column a machine; what was reached is bold."""
    lines = [
        f"| ours | against | work | wanted | {' | '.join(map(kernels, results))} |",
        f"|---|---|---|---|{'---|' * len(results)}",
    ]
    for ours, rival, work, aim in each():
        found = [_shown(ratios(result, work, ours, rival), aim) for result in results]
        lines.append(f"| {name(ours)} | {name(rival)} | {work} | {aim:g} | {' | '.join(found)} |")
    return "\n".join(lines)


def ratios(result: Result, work: str, ours: str, rival: str) -> list[float]:
    """The rival's time divided by ours in every round that counts; none where one of them took no part."""
    timing = result.timing(work)
    return timing.ratios(rival, ours) if timing else []


def reached(ratio: float, aim: float) -> bool:
    """Whether it is so as it is shown, in two decimals."""
    return round(ratio, 2) >= aim


def _shown(found: Sequence[float], aim: float) -> str:
    """The median, bold where it reaches the aim, the least and the greatest."""
    if not found:
        return ""
    spread = Spread.of(found)
    middle = times(spread.median)
    bold = f"**{middle}**" if reached(spread.median, aim) else middle
    return f"{bold} ({times(spread.low)}..{times(spread.high)})"


def beside(found: Beside) -> str:
    """What training costs beside its steps, and what was wanted; what was reached is bold."""
    limits = [
        *((one.ratio - 1, OVERHEAD[one.work], f"{OVERHEAD[one.work]:.0%}") for one in found.overheads),
        (found.start.first_step, FIRST_STEP, f"{FIRST_STEP:g} s"),
        (found.start.whole, WHOLE, f"{WHOLE:g} s"),
        (found.memory.uint8, BYTES, f"{BYTES / 1e6:g} MB"),
        (found.memory.float32, FLOATS, f"{FLOATS / 1e6:g} MB"),
    ]
    lines = ["| | measured | wanted, at most |", "|---|---|---|"]
    for (what, figure), (value, limit, words) in zip(beside_rows(found), limits, strict=True):
        lines.append(f"| {what} | {f'**{figure}**' if value <= limit else figure} | {words} |")
    return "\n".join(lines)
