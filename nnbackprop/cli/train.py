"""The command that trains a network: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import GROUPS, Flags, given, out


def train(
    recipe: Annotated[
        str | None,
        Parameter(help="A recipe's name, a TOML file, or a file or folder of data; mnist if not given."),
    ] = None,
    /,
    *,
    resume: Annotated[
        str | None, Parameter(group=GROUPS["Run"], help="Go on with this run, or `last`, in place.")
    ] = None,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Train a network by a recipe; every flag overrides one of its settings."""
    from nnbackprop.diagnostics.monitored_run import MonitoredRun
    from nnbackprop.errors import UsageError
    from nnbackprop.report.plot_process import draw_run
    from nnbackprop.report.progress import progress
    from nnbackprop.report.tables import diagnosis_report, summary_table
    from nnbackprop.runs import build
    from nnbackprop.runs import train as runs
    from nnbackprop.runs.config_files import apply_overrides, load_recipe, recipe_for

    overrides = given(flags)
    if resume is not None and recipe is not None:
        raise UsageError(f"--resume goes on with a run as it was configured: leave out the recipe {recipe!r}.")
    fitted_from = None  # the recipe, where its dropout was fitted to other hidden layers
    if resume is None:
        name, overrides = recipe_for(recipe, overrides)
        loaded = load_recipe(name)
        fitted_from = None if "dropout" in overrides else loaded
        opened = runs.start(apply_overrides(loaded, overrides))
    else:
        opened = runs.resume(resume, overrides, Path(overrides.get("runs_dir", "runs")), print_message)
    with opened as run:
        header = {**build.description(run.config, fitted_from), **run.data.description, **run.remarks()}
        monitored = MonitoredRun(run)
        try:
            summary = monitored.fit([progress(run.config.progress, out, header)], print_message)
        finally:
            if monitored.diagnosis and monitored.diagnosis.findings:
                out.print(diagnosis_report(monitored.diagnosis))
        path = escape(str(run.run_dir.path))
        if summary is None:
            out.print(f"Interrupted and saved. Go on with: nnbackprop train --resume {path}", soft_wrap=True)
            return 128 + run.signal
        for failed in draw_run(run):
            print_message(failed)
    if run.config.progress != "off":
        out.print(summary_table(summary))
    out.print(f"Run folder: {path}", soft_wrap=True)
    return 0


def print_message(message: str) -> None:
    """Print a message about the run as it goes."""
    out.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)
