"""The command line: a function a command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import io
import os
import sys
from functools import partial

from cyclopts import App, CycloptsError
from rich.markup import escape

from backends import BackendError
from nnbackprop.distributed.environment import launched_size
from nnbackprop.errors import NnbackpropError, OutOfMemoryError, RunFolderError, UsageError

from .describe import describe
from .doctor import doctor
from .evaluate import attack, evaluate, explain, predict
from .export import export
from .flags import err
from .gradcheck import gradcheck
from .info import backends, convert, inspect, recipes
from .lab import lab
from .lr_find import lr_find
from .parity import parity
from .replay import replay
from .runs import compare, runs
from .search import search
from .train import train

app = App(
    suppress_keyboard_interrupt=False,
    name="nnbackprop",
    help="Neural networks trained with backpropagation derived by hand, on NumPy, PyTorch, JAX, CuPy or MLX.",
    version_flags=["--version"],
)
data = App(
    name="data",
    help="Look at data sets: mnist, mnist-20x20, weight-height, iris, house-prices, fashion-mnist, kmnist; or at "
    "files.",
)
COMMANDS = (
    *(train, search, evaluate, predict, explain, describe, export, attack, gradcheck, doctor, lr_find),
    *(lab, parity, replay, runs, compare, backends, recipes),
)
for command in COMMANDS:
    app.command(command)
app.command(data)
app.register_install_completion_command()
data.command(inspect)
data.command(convert)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its status; errors are one paragraph, and a traceback with --debug."""
    for stream in (sys.stdout, sys.stderr):  # a console of another encoding gets ? for what it has no sign for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    for name in ("NNBACKPROP_BACKEND", "NNBACKPROP_DEVICE"):
        if os.environ.get(name) == "":  # as good as not set
            del os.environ[name]
    argv = sys.argv[1:] if argv is None else list(argv)
    without_debug = [argument for argument in argv if argument != "--debug"]
    command = partial(_run, without_debug, debug=without_debug != argv)
    if launched_size() > 1:
        from nnbackprop.cli.ending import end_together

        end_together(command)
    sys.exit(command())


def _run(argv: list[str], debug: bool) -> int:
    try:
        if launched_size() > 1:
            check_takes_processes(argv)
        return int(app(argv, exit_on_error=False, print_error=False, result_action="return_value") or 0)
    except (NnbackpropError, BackendError, CycloptsError, OSError, MemoryError) as error:
        if debug:
            raise
        who = ""
        if launched_size() > 1:
            from nnbackprop.cli.ending import wait_for_first

            who = wait_for_first(error)
        from nnbackprop.report.flags import with_flags

        err.print(f"[bold red]error:[/] {who}{escape(with_flags(str(error))) or 'memory ran out'}")
        if isinstance(error, NnbackpropError):
            return error.exit_code
        if isinstance(error, MemoryError):
            return OutOfMemoryError.exit_code
        return RunFolderError.exit_code if isinstance(error, OSError) else UsageError.exit_code
    except KeyboardInterrupt:
        if launched_size() > 1:
            raise
        err.print("Stopped at once. What the run had saved is kept, if it had saved anything.")
        return 130


def check_takes_processes(argv: list[str]) -> None:
    """UsageError for a command that was started in several processes and works in one."""
    if argv[:1] not in (["train"], ["search"]):
        raise UsageError(
            f"nnbackprop {' '.join(argv[:1])} works in one process and was started in {launched_size()}: leave "
            "mpiexec or srun out. Only train and search take several."
        )
