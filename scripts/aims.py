"""The speed this project set out for, and what it came to: a rival's time divided by ours, aim by aim."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from benchmarks.contestants import ENTRIES, US
from benchmarks.results import Result

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


def table(results: Sequence[Result]) -> str:
    """A row an aim, a column a machine; what was reached is bold."""
    kernels = [result.machine.kernel or result.machine.title for result in results]
    lines = [
        f"| ours | against | work | wanted | {' | '.join(kernels)} |",
        f"|---|---|---|---|{'---|' * len(results)}",
    ]
    for ours, rivals in groupby(AIMS, key=lambda pair: pair[0]):
        for _, rival in rivals:
            for work, aim in AIMS[ours, rival].items():
                found = [_shown(reached(result, work, ours, rival), aim) for result in results]
                title = ENTRIES[ours].title.removeprefix("nnbackprop, ")
                lines.append(f"| {title} | {ENTRIES[rival].title} | {work} | {aim:g} | {' | '.join(found)} |")
    return "\n".join(lines)


def reached(result: Result, work: str, ours: str, rival: str) -> float | None:
    """The quotient of the two medians; None where one of them took no part."""
    seconds = {r.contestant: r.seconds.median for t in result.timings if t.work == work for r in t.rows}
    return seconds[rival] / seconds[ours] if {ours, rival} <= seconds.keys() else None


def _shown(found: float | None, aim: float) -> str:
    if found is None:
        return ""
    return f"**{found:.2f}**" if round(found, 2) >= aim else f"{found:.2f}"
