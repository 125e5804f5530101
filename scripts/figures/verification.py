"""What the project claims of its gradients, and of two libraries' agreement; what docs/learner.py prints."""

from __future__ import annotations

import subprocess
import sys
import time

from backends import available, select
from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck_recipe
from nnbackprop.diagnostics.parity.compare import parity as compare
from nnbackprop.runs.config_files import resolve

from . import ROOT, machine, one_thread, table, today

RECIPES = ("mnist", "mnist-original", "ex4", "rashid", "weight-height", "cnn")
LARGE = ("gradcheck", "mnist", "--hidden", "1000", "200", "--backend", "numpy")
STEPS = 100


def measure() -> dict[str, str]:
    """The blocks; SystemExit if a gradient is wrong or libraries differ."""
    command = "python scripts/make_figures.py --run verification"
    made = f"Made by `{command}` on {machine()}, {today()}."
    with one_thread():  # two libraries' threads in one process would fight for the cores
        blocks = {"gradients": gradients(), "parity": parity(), "learner": learner()}
    return {name: f"{text}\n\n{made}\n" for name, text in blocks.items()}


def gradients() -> str:
    """The largest relative error of each recipe's gradients on each library here; a million numbers' time."""
    rows = [gradient_row(recipe, name) for recipe in RECIPES for name in usable()]
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "nnbackprop", *LARGE], capture_output=True, text=True, check=True)
    seconds, verdict = time.perf_counter() - begin, done.stdout.strip().splitlines()[-1]
    timing = f"`nnbackprop {' '.join(LARGE)}`, start and import included, takes **{seconds:.1f} s**: {verdict}."
    return f"{table(('recipe', 'library', 'numbers', 'largest relative error'), rows)}\n\n{timing}"


def gradient_row(recipe: str, library: str) -> tuple[str, str, str, str]:
    """A recipe on a library; SystemExit if a gradient is wrong."""
    report = gradcheck_recipe(resolve(recipe, {}), select(library))
    if not report.passed:
        sys.exit(f"{recipe} on {library}: a gradient is wrong.\n{report}")
    return recipe, library, f"{report.numbers:,}", f"{max(tensor.error for tensor in report.tensors):.1e}"


def usable() -> list[str]:
    """The libraries that work here."""
    return [row.name for row in available() if row.usable]


def parity() -> str:
    """The default recipe for a hundred steps on every library here, each against the first."""
    result, rows = compare(resolve("mnist", {}), usable(), STEPS), []
    if not result.passed:
        sys.exit("A library differs by more than the tolerance: see `nnbackprop parity`.")
    for one in result.comparisons:
        judged = [difference for difference in one.differences if not difference.excuse]
        worst = max(judged, key=lambda difference: difference.relative)
        where = f"{worst.relative:.1e}, {worst.tensor} after step {worst.step}"
        left_out = f"{len(one.differences) - len(judged)} of {len(one.differences):,}"
        rows.append((one.library, one.dtype, one.begin, where, f"{one.tolerance:g}", left_out))
    head = ("library", "dtype", "steps begin from", "largest relative difference", "tolerance")
    return table((*head, "not judged (kinks, rounding)"), rows)


def learner() -> str:
    """What docs/learner.py prints."""
    command = [sys.executable, str(ROOT / "docs" / "learner.py")]
    return f"```text\n{subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}\n```"
