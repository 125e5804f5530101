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
    from nnbackprop.runs import build, config
    from nnbackprop.runs import train as runs

    overrides = given(flags)
    if resume is not None and recipe is not None:
        raise UsageError(f"--resume goes on with a run as it was configured: leave out the recipe {recipe!r}.")
    named = config.recipe_for(recipe, overrides)
    opened = (
        runs.start(config.resolve(*named))
        if resume is None
        else runs.resume(resume, overrides, Path(overrides.get("runs_dir", "runs")), say)
    )
    with opened as run:
        fitted = {} if resume else build.dropout_remark(run.config, *named)
        header = {**build.description(run.config), **run.data.description, **fitted, **run.remarks()}
        monitored = MonitoredRun(run)
        try:
            summary = monitored.fit([progress(run.config.progress, out, header)], say)
        finally:
            if monitored.diagnosis and monitored.diagnosis.findings:
                out.print(diagnosis_report(monitored.diagnosis))
        path = escape(str(run.folder.path))
        if summary is None:
            out.print(f"Interrupted and saved. Go on with: nnbackprop train --resume {path}", soft_wrap=True)
            return 128 + run.signal
        for failed in draw_run(run):
            say(failed)
    if run.config.progress != "off":
        out.print(summary_table(summary))
    out.print(f"Run folder: {path}", soft_wrap=True)
    return 0


def say(message: str) -> None:
    """Print a message about the run as it goes."""
    out.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)
