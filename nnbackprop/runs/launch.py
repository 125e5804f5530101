"""`--processes N` of train and search: starts mpiexec, passes on its output and signals, starts again if asked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from nnbackprop.distributed.environment import RUN_FILE, SECONDS_SPENT
from nnbackprop.errors import (
    DataError,
    DivergedError,
    OutOfMemoryError,
    RunFolderError,
    UsageError,
)

from .signals import SIGNALS

FINAL = {
    0,
    *(error.exit_code for error in (UsageError, DataError, DivergedError, RunFolderError, OutOfMemoryError)),
    *(128 + number for number in SIGNALS),
}
"""Exit statuses after which nothing is started again: the same would come of it, or somebody stopped it."""

BANNER_BEGIN, BANNER_END = b"=" * 60, b"Please see the FAQ page"
"""What MPICH's mpiexec prints where a process was killed."""
SIGNAL = re.compile(rb"\(signal (\d+)\)")


@dataclass(frozen=True)
class Launched:
    """How `mpiexec` ended: its exit status, 128 + `signal` where a process was killed by one."""

    status: int
    signal: int = 0


def launch(
    processes: int, restarts: int, words: Sequence[str], given: Mapping[str, Any] = MappingProxyType({})
) -> int:
    """Run `nnbackprop WORDS` in so many processes; the exit status. `given` are the settings of a resume in them.

    Up to `restarts` times they are started again where one was killed, crashed or did not answer: from the last
    checkpoint, on the library and device given, or anew where there is none.
    """
    mpiexec, began = _find_mpiexec(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "run"
        while True:
            command = [mpiexec, "-n", str(processes), sys.executable, "-m", "nnbackprop", *words]
            spent = time.monotonic() - began
            ended = _run(command, os.environ | {RUN_FILE: str(record), SECONDS_SPENT: str(spent)})
            go_on = _words_to_go_on(record, given)
            again = bool(restarts) and ended.status not in FINAL
            if ended.signal or again:
                left = restarts if again else 0
                print(_what_happened(ended, words[0], go_on, processes, left), file=sys.stderr, flush=True)
            if not again:
                return ended.status
            restarts -= 1
            words = go_on or words


def _find_mpiexec() -> str:
    """That of this Python's own environment, where the wheel of MPICH puts it, or the first of the PATH."""
    own = sysconfig.get_path("scripts")
    found = shutil.which("mpiexec", path=own) or shutil.which("mpiexec")
    if found is None:
        raise UsageError(
            f"--processes starts mpiexec, which is neither in {own} nor in the PATH: pip install mpi4py mpich, or "
            "load the MPI module of your cluster."
        )
    return found


def _run(command: Sequence[str], environment: dict[str, str]) -> Launched:
    """Run a command to its end, in a session of its own: signals reach it from here alone, and once."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        handlers = {number: signal.signal(number, lambda n, _: _send(process, n)) for number in SIGNALS}
        try:
            assert process.stdout is not None
            killed_by = _pass_on(process.stdout)
            status = process.wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if killed_by or status < 0:
        number = killed_by or -status
        return Launched(128 + number, number)
    return Launched(status)


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal on, but where a console has given its Ctrl-C to all processes already, as on Windows."""
    if sys.platform != "win32":
        process.send_signal(number)


def _pass_on(stream: IO[bytes]) -> int:
    """Print what processes print, but for the banner of mpiexec: returns the signal that it names, or 0."""
    banner, killed_by = False, 0
    for line in stream:
        banner = banner or line.startswith(BANNER_BEGIN)
        if banner:
            killed_by = int(found[1]) if (found := SIGNAL.search(line)) else killed_by
            banner = not line.startswith(BANNER_END)
            continue
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    return killed_by


def _words_to_go_on(record: Path, given: Mapping[str, Any]) -> list[str]:
    """The words that go on with the run that `record` names; none where it has no checkpoint.

    A run's configuration does not keep the library and device that a resume was given.
    """
    if not record.is_file():
        return []
    run = record.read_text(encoding="utf-8")
    if not any((Path(run) / "checkpoints").glob("*.safetensors")):
        return []
    place = [(f"--{name}", given[name]) for name in ("backend", "device") if name in given]
    return ["train", "--resume", run, *(word for pair in place for word in pair)]


def _what_happened(ended: Launched, command: str, go_on: Sequence[str], processes: int, restarts: int) -> str:
    name = signal.Signals(ended.signal).name if ended.signal else ""
    cause = f"was killed by signal {ended.signal} ({name})" if name else f"ended with status {ended.status}"
    memory = ", as the system does where memory runs out" if ended.signal == 9 else ""
    ending = f"error: One of the {processes} processes {cause}{memory}, and the others were stopped."
    if restarts:
        left = "from the last checkpoint" if go_on else "from the beginning"
        return f"{ending} They are started again {left}; after this, {restarts - 1} times more."
    if command == "search":
        return f"{ending} The same command goes on with the search."
    if go_on:
        words = shlex.join(["nnbackprop", *go_on, "--processes", str(processes)])
        return f"{ending} The last checkpoint is whole: {words}"
    return f"{ending} Nothing was saved before."
