"""Write the benchmark's figures where the documents show them, from the results kept in benchmarks/results.

nnbackprop bench                 measures, and keeps this machine's results; so does `bench --growth`
python scripts/memory.py         measures a run's memory by stages, and keeps it
python scripts/besides.py        does so for what our step does besides a rival's
python scripts/gpu_check.py      does so on a GPU
python scripts/performance.py    writes docs/performance.md, README.md and docs/figures/performance.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pages import ROOT, write

sys.path.insert(0, str(ROOT))  # the benchmarks of this checkout
import aims
import besides
import memory
import missed
import performance_gpu

from benchmarks.beside import Beside
from benchmarks.chart import draw
from benchmarks.contestants import ENTRIES
from benchmarks.growth import KINDS
from benchmarks.growth import draw as draw_growth
from benchmarks.results import RESULTS, Kept, Result, Timing
from benchmarks.table import cells, remarks, times

CHART = ROOT / "docs" / "figures" / "performance.png"
GROWTH = ROOT / "docs" / "figures" / "growth.png"


def kept() -> list[Result]:
    """One result a machine: first those with kernels of OpenBLAS's own choice, and of these the newest."""
    assert RESULTS, "benchmarks/results is in a checkout"
    results = [Result.from_json(path.read_bytes()) for path in sorted(RESULTS.glob("*-cores*.json"))]
    return sorted(results, key=lambda result: (result.machine.coretype is None, result.date), reverse=True)


def everything(results: Sequence[Result]) -> str:
    """All machines, a table a work."""
    parts = []
    for result in results:
        parts.append(f"### {result.machine.title}")
        parts += [table(timing) for timing in result.timings]
        parts += [f"{absent.title} left out: {absent.reason}." for absent in result.absent]
        parts.append(made(result))
    return "\n\n".join(parts) + "\n"


def table(timing: Timing) -> str:
    """A work: seconds, times ours, the products' share; and what has to be said of them."""
    lines = [
        f"**{timing.work}** {timing.title}",
        "",
        f"| | s per {timing.unit} | times ours | products' share |",
        "|---|---|---|---|",
    ]
    for row in timing.rows:
        title = f"**{row.title}**" if row.kind == "ours" else row.title
        lines.append(f"| {title} | {' | '.join(cells(row))} |")
    notes = [f"{words.plain.rstrip('.')}." for words in remarks(timing)]
    return "\n".join([*lines, *([""] if notes else []), " ".join(notes)]).rstrip()


def summary(result: Result) -> str:
    """A row a contestant, a column a work: its time divided by ours."""
    works = {timing.work: {row.contestant: row for row in timing.rows} for timing in result.timings}
    lines = [f"| time divided by ours | {' | '.join(works)} |", f"|---|{'---|' * len(works)}"]
    for name, entry in ENTRIES.items():
        figures = [times(rows[name].ratio.median) if name in rows else "" for rows in works.values()]
        if any(figures):
            title = f"**{entry.title}**" if entry.ours else entry.title
            lines.append(f"| {title} | {' | '.join(figures)} |")
    legend = "; ".join(f"{timing.work}: {timing.title}" for timing in result.timings)
    return "\n".join([*lines, "", f"{legend}.", "", made(result)]) + "\n"


def aside() -> Beside | None:
    """What was last measured beside the contest."""
    assert RESULTS, "benchmarks/results is in a checkout"
    found = [Beside.from_json(path.read_bytes()) for path in (RESULTS / "beside").glob("*.json")]
    return max(found, key=lambda one: one.date, default=None)


def exponents(found: Beside) -> str:
    """A row for what grows, with the exponents over the upper half of its sizes."""
    lines = [
        "| grows | from | to | time a sample | over the products, a step | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for sweep in found.growth.sweeps:
        fits = [f"n^{sweep.exponents[kind]:.2f}" if kind in sweep.exponents else "" for kind in KINDS]
        sizes = f"{sweep.points[0].size:,} | {sweep.points[-1].size:,}"
        lines.append(f"| {sweep.against}: {sweep.title} | {sizes} | {' | '.join(fits)} |")
    return "\n".join([*lines, "", made(found)]) + "\n"


def figures(found: Beside) -> str:
    """What training costs beside its steps, and what was wanted."""
    return "\n\n".join([aims.beside(found), made(found)]) + "\n"


def obstacles(results: Sequence[Result], found: Beside | None) -> str:
    """What stands in the way of the aims that were missed."""
    stages = memory.kept()
    said = [made(one) for one in (besides.kept(), stages) if one]
    return "\n".join([missed.everything(results, found, stages), *(f"{words}\n" for words in said)])


def made(result: Kept) -> str:
    """The command, the machine, the date, the versions."""
    return f"Made by `{result.command}` on {result.machine.words}, {result.date}. {result.machine.versions}."


def blocks() -> dict[str, str]:
    """What the documents show, by the names of its places in them."""
    results, found = kept(), aside()
    shown = {}
    if results:
        shown = {"performance": everything(results), "performance-summary": summary(results[0])}
        shown["aims"] = "\n\n".join([aims.table(results), *map(made, results)]) + "\n"
        shown["missed"] = obstacles(results, found)
    around = {"growth": exponents(found), "beside": figures(found)} if found else {}
    return {**performance_gpu.blocks(), **shown, **around}


def main() -> None:
    """Fill the blocks and draw the charts of the first results."""
    results, found = kept(), aside()
    if not results:
        sys.exit("There are no results yet: `nnbackprop bench` keeps this machine's in benchmarks/results.")
    write(blocks())
    draw(results[0], CHART)
    if found:
        draw_growth(found.growth, GROWTH)


if __name__ == "__main__":
    main()
