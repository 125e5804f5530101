"""Prove what the project claims of itself: gradients, the naming of mistakes, false alarms, parity.

python scripts/verification.py    every part, some minutes; writes the figures of docs/verification.md

Exit status 1 if a gradient is wrong, a planted mistake is missed, or anything healthy is accused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two libraries' threads in one process would fight for the cores

from pages import ROOT, machine, write

from backends import available, select
from nnbackprop import gradcheck_function
from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck_recipe
from nnbackprop.diagnostics.parity import recipe as comparison
from nnbackprop.runs import config

sys.path.insert(0, str(ROOT))  # the planted mistakes and the healthy runs are those of the tests
from tests.support import healthy_runs, own_code

RECIPES = ("mnist", "ex4", "rashid", "weight-height")
LARGE = ("gradcheck", "mnist", "--hidden", "1000", "200", "--backend", "numpy")
STEPS = 100

Part = tuple[str, bool]
"""A table, and whether all of it holds."""


def gradients() -> Part:
    """The largest relative error of each recipe's gradients on each library here; a million numbers' time."""
    lines = ["| recipe | library | numbers | largest relative error |", "|---|---|---|---|"]
    good = True
    for recipe in RECIPES:
        for name in usable():
            report = gradcheck_recipe(config.resolve(recipe, {}), select(name))
            good = good and report.passed
            error = max(tensor.error for tensor in report.tensors)
            lines.append(f"| {recipe} | {name} | {report.numbers:,} | {error:.1e} |")
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "nnbackprop", *LARGE], capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    verdict = (done.stdout or done.stderr).strip().splitlines()[-1]
    words = f"`nnbackprop {' '.join(LARGE)}`, start and import included, takes **{seconds:.1f} s**: {verdict}."
    return "\n".join([*lines, "", words]), good and done.returncode == 0


def usable() -> list[str]:
    """The libraries that work here."""
    return [row.name for row in available() if row.usable]


def mistakes() -> Part:
    """Planted mistakes by id: how many, how many caught, how many named rightly at the first guess."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in own_code.wrong():
        report = gradcheck_function(example.loss_fn, example.grad_fn, example.params)
        row = counts[str(example.expected)]
        row["planted"] += 1
        row["caught"] += not report.passed
        row["named"] += [m.id for m in report.mistakes][:1] == [example.expected]
    accused = [p.name for p in own_code.right() if not gradcheck_function(p.loss_fn, p.grad_fn, p.params).passed]
    total = sum(counts.values(), Counter())
    lines = ["| mistake | planted | caught | named at the first guess |", "|---|---|---|---|"]
    for id, row in counts.items():
        lines.append(f"| {id} | {row['planted']} | {row['caught']} | {row['named']} |")
    lines.append(
        f"| **all {len(counts)}** | **{total['planted']}** | **{total['caught']}** | **{total['named']}** |"
    )
    words = f"Of {len(own_code.right())} right networks **{len(accused)}** were accused."
    good = not accused and total["caught"] == total["planted"]  # names: tests/diagnostics/test_mistakes.py
    return "\n".join([*lines, "", words]), good


def alarms() -> Part:
    """What the doctor says of healthy runs, by recipe."""
    runs: Counter[str] = Counter()
    levels: dict[str, Counter[str]] = defaultdict(Counter)
    for run in healthy_runs.RUNS:
        runs[run.recipe] += 1
        _, monitor = healthy_runs.trained(run)
        levels[run.recipe].update(finding.level for finding in monitor.diagnosis.findings)
    lines = ["| recipe | healthy runs | warnings | faults |", "|---|---|---|---|"]
    for recipe, count in runs.items():
        row = levels[recipe]
        lines.append(f"| {recipe} | {count} | {row['warning']} | {row['fault']} |")
    total = sum(levels.values(), Counter())
    lines.append(f"| **all** | **{sum(runs.values())}** | **{total['warning']}** | **{total['fault']}** |")
    return "\n".join(lines), not (total["warning"] or total["fault"])


def parity() -> Part:
    """The default recipe for a hundred steps on every library here, each against the first."""
    result = comparison.parity(config.resolve("mnist", {}), usable(), STEPS)
    lines = [
        "| library | dtype | steps begin from | largest relative difference | tolerance "
        "| left out (kinks, rounding) |",
        "|---|---|---|---|---|---|",
    ]
    for row in result.comparisons:
        judged = [difference for difference in row.differences if not difference.excuse]
        worst = max(judged, key=lambda difference: difference.relative)
        limit = "reported only" if row.tolerance is None else f"{row.tolerance:g}"
        where = f"{worst.relative:.1e}, {worst.tensor} after step {worst.step}"
        left_out = f"{len(row.differences) - len(judged)} of {len(row.differences):,}"
        lines.append(f"| {row.library} | {row.dtype} | {row.begin} | {where} | {limit} | {left_out} |")
    return "\n".join(lines), result.passed


def learner() -> Part:
    """What docs/learner.py prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "learner.py"], check=True, capture_output=True, text=True
    )
    return f"```\n{done.stdout.strip()}\n```", True


PARTS: dict[str, Callable[[], Part]] = {
    "gradients": gradients,
    "mistakes": mistakes,
    "alarms": alarms,
    "parity": parity,
    "learner": learner,
}


def main() -> int:
    """Run every part, print it, and write it where the documents show it."""
    made = f"Made by `python scripts/verification.py` on {machine()}, {datetime.now(UTC).date().isoformat()}."
    blocks: dict[str, Any] = {}
    failed = []
    for name, part in PARTS.items():
        text, good = part()
        print(f"{name}\n\n{text}\n", flush=True)
        blocks[name] = f"{text}\n\n{made}\n"
        failed += [] if good else [name]
    (ROOT / "docs" / "verification.json").write_text(json.dumps(blocks, indent=2) + "\n")
    write(blocks)
    if failed:
        print(f"does not hold: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
