"""The command that trains a network: train."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from nnbackprop.report.terminal import Terminal

from .flags import GROUPS, Flags, err, given, out

if TYPE_CHECKING:
    from nnbackprop.runs.config import Config
    from nnbackprop.runs.train import Run


def train(
    recipe: Annotated[str | None, Parameter(help="A recipe's name or a TOML file; mnist if not given.")] = None,
    /,
    *,
    resume: Annotated[
        str | None, Parameter(group=GROUPS["Run"], help="Go on with this run, or `last`, in place.")
    ] = None,
    dry_run: Annotated[
        bool,
        Parameter(
            group=GROUPS["Run"],
            negative="",
            help="Show the configuration, layers, and estimates of memory and time; train and write nothing.",
        ),
    ] = False,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Train a network by a recipe; every flag overrides one of its settings."""
    from nnbackprop.errors import UsageError
    from nnbackprop.runs import config
    from nnbackprop.runs import train as runs
    from nnbackprop.runs.run_dir import RunDir

    overrides = given(flags)
    if resume is None:
        settings = config.resolve(recipe or "mnist", overrides)
        if dry_run:
            return show_dry_run(settings)
        return fit(runs.start(settings), recipe or "mnist", overrides, console_for(settings.progress))
    if recipe is not None:
        raise UsageError(f"--resume goes on with a run as it was configured: leave out the recipe {recipe!r}.")
    if dry_run:
        raise UsageError("--dry-run is of a run that has not begun, and --resume goes on with one: leave one out.")
    runs_dir = Path(overrides.get("runs_dir", "runs"))
    kept = config.of_run(RunDir.open(runs_dir, resume).config)
    console = console_for(overrides.get("progress", kept.progress))
    return fit(runs.resume(resume, overrides, runs_dir, notifier(console)), None, overrides, console)


def fit(
    opened: AbstractContextManager[Run], recipe: str | None, overrides: dict[str, Any], console: Terminal
) -> int:
    """Train a run to its end and print its summary; `recipe` is None where it is resumed."""
    from nnbackprop.diagnostics.monitored_run import MonitoredRun
    from nnbackprop.report.plot_process import draw_run
    from nnbackprop.report.progress import progress
    from nnbackprop.report.tables import diagnosis_report, summary_table
    from nnbackprop.runs import build

    say = notifier(console)
    with opened as run:
        fitted = build.dropout_remark(run.config, recipe, overrides) if recipe else {}
        header = {**build.description(run.config), **fitted, **run.remarks()}
        monitored = MonitoredRun(run)
        try:
            summary = monitored.fit([progress(run.config.progress, out, header)], say)
        finally:
            if monitored.diagnosis and monitored.diagnosis.findings:
                console.print(diagnosis_report(monitored.diagnosis))
        path = escape(str(run.folder.path))
        if summary is None:
            console.print(f"Interrupted and saved. Go on with: nnbackprop train --resume {path}", soft_wrap=True)
            return 128 + run.signal
        for failed in draw_run(run):
            say(failed)
    if run.config.progress != "off":
        console.print(summary_table(summary))
    console.print(f"Run folder: {path}", soft_wrap=True)
    return 0


def show_dry_run(config: Config) -> int:
    """Print what a run would be."""
    from nnbackprop.report.dry_run import dry_run_report
    from nnbackprop.runs.dry_run import dry_run

    out.print(dry_run_report(dry_run(config), out.width))
    return 0


def console_for(progress: str) -> Terminal:
    """Where a run's messages go: with --progress json the standard output has JSON alone."""
    return err if progress == "json" else out


def notifier(console: Terminal) -> Callable[[str], None]:
    """Prints messages about the run as it goes."""

    def say(message: str) -> None:
        console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)

    return say
