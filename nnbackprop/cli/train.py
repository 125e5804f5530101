"""The command that trains a network: train."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from nnbackprop.distributed.environment import RUN_FILE, launched_size
from nnbackprop.report.terminal import Terminal

from .flags import GROUPS, Flags, err, given_settings, out

if TYPE_CHECKING:
    from nnbackprop.loggers.registry import LoggerFactory
    from nnbackprop.runs.config import Config
    from nnbackprop.runs.train import Run


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
    dry_run: Annotated[
        bool,
        Parameter(
            group=GROUPS["Run"],
            negative="",
            help="Show the configuration, layers, and estimates of memory and time; train and write nothing.",
        ),
    ] = False,
    processes: Annotated[
        int | None,
        Parameter(group=GROUPS["Run"], help="Train in so many processes, which mpiexec starts: data-parallel."),
    ] = None,
    restarts: Annotated[
        int,
        Parameter(
            group=GROUPS["Run"],
            help="With --processes: so often start again from the last checkpoint where one is killed or lost.",
        ),
    ] = 0,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Train a network by a recipe; every flag overrides one of its settings."""
    from nnbackprop.runs.launch import launch

    overrides = given_settings(flags)
    if must_launch(processes, restarts, dry_run):
        return launch(processes or 1, restarts, sys.argv[1:], {} if resume is None else overrides)
    if resume is None:
        return begin(recipe, overrides, dry_run)
    check_resume(recipe, resume, dry_run)
    return go_on(resume, overrides)


def begin(recipe: str | None, overrides: dict[str, Any], dry_run: bool) -> int:
    """Train a new run, or show what it would be."""
    from nnbackprop.distributed.mpi import communicator
    from nnbackprop.loggers.registry import load_loggers
    from nnbackprop.runs.config_files import apply_overrides, load_recipe, recipe_for
    from nnbackprop.runs.train import start

    name, overrides = recipe_for(recipe, overrides)
    loaded = load_recipe(name)
    config = apply_overrides(loaded, overrides)
    if dry_run:
        return show_dry_run(config)
    if communicator().rank:
        return work(asdict(config))
    dropout_from = None if "dropout" in overrides else loaded
    loggers = load_loggers(config.log)
    return fit(start(config, communicator()), message_console(config.progress), loggers, dropout_from)


def go_on(run: str, overrides: dict[str, Any]) -> int:
    """Resume a run."""
    from nnbackprop.distributed.mpi import communicator
    from nnbackprop.loggers.registry import load_loggers
    from nnbackprop.runs.config_files import load_run_config
    from nnbackprop.runs.resume import resume
    from nnbackprop.runs.run_dir import RunDir

    if communicator().rank:
        return work({"resume": run, **overrides})
    runs_dir = Path(overrides.get("runs_dir", "runs"))
    saved = load_run_config(RunDir.open(runs_dir, run).config_path)
    console = message_console(overrides.get("progress", saved.progress))
    loggers = load_loggers(overrides.get("log", saved.log))
    opened = resume(run, overrides, runs_dir, message_printer(console), communicator())
    return fit(opened, console, loggers)


def check_resume(recipe: str | None, run: str, dry_run: bool) -> None:
    """UsageError for what does not go with --resume."""
    from nnbackprop.errors import UsageError

    if recipe is not None:
        raise UsageError(
            f"--resume {run} goes on with a run as it was configured: leave out the recipe {recipe!r}."
        )
    if dry_run:
        raise UsageError(
            f"--dry-run is of a run that has not begun, and --resume {run} goes on with one: leave one out."
        )


def must_launch(processes: int | None, restarts: int = 0, dry_run: bool = False) -> bool:
    """Whether mpiexec is to be started; UsageError where the two options cannot be."""
    from nnbackprop.errors import UsageError

    if (processes is not None and processes < 1) or restarts < 0:
        raise UsageError(f"--processes counts from 1 and --restarts from 0; got {processes} and {restarts}.")
    started = launched_size()
    if started > 1 or RUN_FILE in os.environ:
        if processes not in (None, started):
            raise UsageError(f"--processes {processes} was asked for and {started} were started: leave it out.")
        return False
    if restarts and processes is None:
        raise UsageError(
            "--restarts starts processes again that --processes has started: give that too, or let who started "
            "mpiexec start it again with --resume."
        )
    return not dry_run and processes is not None and (processes > 1 or restarts > 0)


def work(options: Mapping[str, Any]) -> int:
    """Take part in a run as one of its processes that is not the first."""
    from nnbackprop.distributed.mpi import communicator
    from nnbackprop.runs.worker import join_run

    worker = join_run(communicator(), options)
    return 0 if worker.fit() else 128 + worker.signal


def fit(
    opened: AbstractContextManager[Run],
    console: Terminal,
    loggers: Sequence[LoggerFactory],
    dropout_from: Config | None = None,
) -> int:
    """Train a run to its end, with a display and the loggers, and print its summary.

    `opened` is a run that `start` or `resume` has opened. `dropout_from` is the recipe whose dropout rates were
    brought to the number of hidden layers asked for.
    """
    from nnbackprop.diagnostics.monitored_run import MonitoredRun
    from nnbackprop.report.flags import with_flags
    from nnbackprop.report.plot_process import draw_run
    from nnbackprop.report.progress import progress
    from nnbackprop.report.tables import diagnosis_report, summary_table
    from nnbackprop.runs.header import describe_config, describe_machine

    print_message = message_printer(console)
    with opened as run:
        transferred = {} if run.transferred is None else run.transferred.description
        header = {
            **describe_config(run.config, dropout_from),
            **transferred,
            **{subject: with_flags(text) for subject, text in run.data.description.items()},
            **describe_machine(run),
        }
        monitored = MonitoredRun(run)
        try:
            display = progress(run.config.progress, out, header)
            summary = monitored.fit([display, *(make(run) for make in loggers)], print_message)
        finally:
            if monitored.diagnosis and monitored.diagnosis.findings:
                console.print(diagnosis_report(monitored.diagnosis))
        path = str(run.run_dir.path)
        if summary is None:
            command = f"nnbackprop train --resume {shlex.quote(path)}"
            console.print(f"Interrupted and saved. Go on with: {escape(command)}", soft_wrap=True)
            return 128 + run.signal
        for failed in draw_run(run):
            print_message(failed)
    if run.config.progress != "off":
        console.print(summary_table(summary))
    console.print(f"Run folder: {escape(path)}", soft_wrap=True)
    return 0


def show_dry_run(config: Config) -> int:
    """Print what a run would be; a logger that it could not have is refused."""
    from nnbackprop.loggers.registry import load_loggers
    from nnbackprop.report.dry_run import dry_run_report
    from nnbackprop.runs.dry_run import dry_run

    load_loggers(config.log)
    out.print(dry_run_report(dry_run(config), out.width), soft_wrap=True)  # the TOML as a file would have it
    return 0


def message_console(progress: str) -> Terminal:
    """Where a run's messages go: with --progress json the standard output has JSON alone."""
    return err if progress == "json" else out


def message_printer(console: Terminal) -> Callable[[str], None]:
    """A function that prints a message about the run as it goes."""
    from nnbackprop.report.flags import with_flags

    styled = partial(console.print, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return lambda text: styled(with_flags(text))
