"""What commands have in common: the settings as flags, other shared parameters, two consoles, output as JSON."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Optional, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

from nnbackprop._json import to_json_text
from nnbackprop.report.terminal import Terminal
from nnbackprop.runs.config import DATA_OPTIONS, NO_FLAGS, Config, Setting
from nnbackprop.runs.settings import RENAMED_SETTINGS


class Output(Terminal):
    """The standard output, whose reader may leave before its end, as `head` does."""

    def on_broken_pipe(self) -> None:
        """A run under way is saved and stopped, as where a terminal is closed; all else ends as programs do."""
        if sys.platform == "win32":
            super().on_broken_pipe()
            return
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python's last flush would complain
        if callable(signal.getsignal(signal.SIGHUP)):
            signal.raise_signal(signal.SIGHUP)
        else:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.raise_signal(signal.SIGPIPE)


out = Output()
err = Terminal(stderr=True, soft_wrap=True)


GROUPS = {
    name: Group(name, sort_key=i) for i, name in enumerate(("Common", "Network", "Learning", "Data", "Run"), 1)
}


_HINTS = get_type_hints(Config, include_extras=True)
FORMER_FLAGS = {name: f"--{former}" for former, name in RENAMED_SETTINGS.items()}


def _flag(name: str) -> Any:
    """A setting's type and how it is shown, as cyclopts wants them: optional, and None if not given."""
    kind, *annotations = get_args(_HINTS[name])
    several = True if get_origin(kind) is tuple else None
    shown = [
        Parameter(
            group=GROUPS[s.group],
            help=s.help,
            env_var=s.env_var,
            consume_multiple=several,
            alias=FORMER_FLAGS.get(name),
        )
        if isinstance(s, Setting)
        else s
        for s in annotations
    ]
    return Annotated[(Optional[kind], *shown)]  # noqa: UP045 (kind is a value here)


Flags = make_dataclass(
    "Flags",
    [(f.name, _flag(f.name), field(default=None)) for f in fields(Config) if f.name not in NO_FLAGS],
    frozen=True,
)
DataFlags = make_dataclass(
    "DataFlags", [(name, _flag(name), field(default=None)) for name in DATA_OPTIONS], frozen=True
)
DataFlags.__doc__ = "An option of a table or of images each, None where it was not given."
DataFlags.__module__ = __name__
Flags.__doc__ = "A setting each, None where it was not given."
Flags.__module__ = __name__  # cyclopts takes a class of the module `types` for a builtin

RunsDir = Annotated[Path, Parameter(help="Where run folders are kept.")]
Run = Annotated[str, Parameter(help="A run folder, its name, or `last`.")]
BackendName = Annotated[str, Parameter(help="Array library.", env_var="NNBACKPROP_BACKEND")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Everything as JSON, and nothing else.")]
DeviceName = Annotated[Optional[str], Parameter(help="Its device.", env_var="NNBACKPROP_DEVICE")]  # noqa: UP045


def given_settings(flags: Any) -> dict[str, Any]:
    """The settings that were given as flags, by name."""
    return {f.name: value for f in fields(flags) if (value := getattr(flags, f.name)) is not None}


def print_result(found: Any, report: Callable[[Any], Any], as_json: bool) -> None:
    """Print what a command found, as its `report` or as JSON, NaN as null."""
    if as_json:
        print(to_json_text(found.to_json(), indent=2))
    else:
        out.print(report(found))
