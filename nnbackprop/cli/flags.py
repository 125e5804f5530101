"""What commands have in common: the settings as flags, the choice of a run and of a backend, two consoles."""

from __future__ import annotations

import os
import signal
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_args, get_type_hints

from cyclopts import Parameter

from backends import select
from nnbackprop.report.formatting import Terminal
from nnbackprop.runs.config import NO_FLAGS, Config

if TYPE_CHECKING:
    from nnbackprop.runs.trained_model import TrainedModel


class Output(Terminal):
    """The standard output, whose reader may leave before its end, as `head` does."""

    def on_broken_pipe(self) -> None:
        """A run under way is saved and stopped, as where a terminal is closed; all else ends as programs do."""
        if not hasattr(signal, "SIGPIPE"):  # Windows
            super().on_broken_pipe()
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python's last flush would complain
        if callable(signal.getsignal(signal.SIGHUP)):
            signal.raise_signal(signal.SIGHUP)
        else:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.raise_signal(signal.SIGPIPE)


out = Output()
err = Terminal(stderr=True, soft_wrap=True)


def _optional(hint: Any) -> Any:
    kind, *notes = get_args(hint)
    return Annotated[(Optional[kind], *notes)]  # noqa: UP045 (kind is a value here)


_HINTS = get_type_hints(Config, include_extras=True)
Flags = make_dataclass(
    "Flags",
    [(f.name, _optional(_HINTS[f.name]), field(default=None)) for f in fields(Config) if f.name not in NO_FLAGS],
    frozen=True,
)
Flags.__doc__ = "A setting each, None where it was not given."
Flags.__module__ = __name__  # cyclopts takes a class of the module `types` for a builtin

RunsDir = Annotated[Path, Parameter(help="Where run folders are kept.")]
Run = Annotated[str, Parameter(help="A run folder, its name, or `last`.")]
BackendName = Annotated[str, Parameter(help="Array library.", env_var="NNBACKPROP_BACKEND")]
DeviceName = Annotated[Optional[str], Parameter(help="Its device.", env_var="NNBACKPROP_DEVICE")]  # noqa: UP045


def given(flags: Any) -> dict[str, Any]:
    """The settings that were given as flags, by name."""
    return {f.name: value for f in fields(flags) if (value := getattr(flags, f.name)) is not None}


def open_run(run: str, runs: Path, name: str, device: str | None) -> TrainedModel:
    """A run's network on a backend; where that was chosen for the caller, what and why."""
    from nnbackprop.runs.trained_model import TrainedModel

    chosen = select(name, device)
    trained = TrainedModel.open(run, runs, chosen)
    if name == "auto":
        err.print(chosen.why, style="dim")
    return trained
