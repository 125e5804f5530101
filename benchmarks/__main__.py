"""Time the workloads on our backends and on every rival, in turn. Exit status 1 if one computes something else.

A full run on a CPU is kept in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape

from backends import BackendError, select
from nnbackprop._files import write_atomically
from nnbackprop._system_info import cores, set_num_threads
from nnbackprop.errors import NnbackpropError, UsageError

from . import to_accuracy
from .machine import Machine
from .profile import profile
from .report import failure, page
from .results import RESULTS, Result
from .suite import run_suite
from .workloads import WORKLOADS

out, err = Console(), Console(stderr=True)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    epilog = "Workloads: " + "; ".join(f"{name}: {workload.title}" for name, workload in WORKLOADS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=epilog)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, metavar="W", help="these, not all")
    parser.add_argument("--quick", action="store_true", help="three short rounds on a CPU")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--tf32", action="store_true", help="float32 products in TF32, on a GPU")
    parser.add_argument("--threads", type=int, default=cores(), help="of each rival on a CPU (default: all cores)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file")
    parser.add_argument(
        "--to", type=float, metavar="PERCENT", help="seconds to this accuracy on MNIST's test images"
    )
    parser.add_argument("--epochs", type=int, default=5, help="of the schedules of --to (default: 5)")
    parser.add_argument("--profile", choices=WORKLOADS, metavar="W", help="show where a step of W spends its time")
    parser.add_argument("--backend", default="numpy", help="of --profile (default: numpy)")
    options = parser.parse_args(argv)
    try:
        if not 1 <= options.threads <= cores():
            raise UsageError(f"--threads is 1 to {cores()}, the cores of this process; got {options.threads}.")
        if options.profile:
            set_num_threads(options.threads, later_imports=True)
            out.print(Markdown(profile(options.profile, options.backend)))
            return 0
        return _run_to_accuracy(options) if options.to is not None else _run_suite(options)
    except (NnbackpropError, BackendError) as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        return getattr(error, "exit_code", UsageError.exit_code)


def _run_suite(options: argparse.Namespace) -> int:
    on_cpu, workloads = options.device == "cpu", options.workloads or tuple(WORKLOADS)
    threads = options.threads if on_cpu else None
    flags = ["--quick"] * options.quick + (["--workloads", *workloads] if options.workloads else [])
    flags += ["--threads", str(threads)] if on_cpu else ["--device", options.device] + ["--tf32"] * options.tf32
    with err.status("starting") as status:
        timings, absent = run_suite(
            workloads,
            options.device,
            tf32=options.tf32,
            threads=threads,
            quick=options.quick,
            report=status.update,
        )
    command, date = " ".join(["python -m benchmarks", *flags]), datetime.now(UTC).date().isoformat()
    machine = Machine.here(options.threads, None if on_cpu else _description(options.device))
    result = Result(command, date, machine, timings, absent)
    out.print(Markdown(page(result)))
    full = on_cpu and not (options.quick or options.workloads) and result.passed
    if path := options.json or (RESULTS / result.machine.file_name if full else None):
        write_atomically(path, result.to_json().encode())
        err.print(f"Wrote {path}", highlight=False)
    for check in (check for timing in timings for check in timing.failed):
        err.print(f"[bold red]failed:[/] {failure(check)}", highlight=False)
    return int(not result.passed)


def _description(device: str) -> str | None:
    """The GPU, as CuPy or PyTorch knows it; None where both are missing."""
    for name in ("cupy", "torch"):
        with suppress(BackendError):
            return select(name, device).description
    return None


def _run_to_accuracy(options: argparse.Namespace) -> int:
    if not 0 < options.to < 100 or options.epochs < 1:
        raise UsageError(
            f"--to is a percentage below 100 and --epochs at least 1; got {options.to} and {options.epochs}."
        )
    flags = (
        f"--to {options.to:g} --epochs {options.epochs}{' --quick' * options.quick} --threads {options.threads}"
    )
    seeds = to_accuracy.SEEDS[:1] if options.quick else to_accuracy.SEEDS
    machine = Machine.here(options.threads)
    with err.status("starting") as status:
        trials, absent = to_accuracy.measure(
            options.to / 100, options.epochs, options.threads, seeds, status.update
        )
    found = {
        "command": f"python -m benchmarks {flags}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": str(machine),
        "target": options.to / 100,
        "trials": trials,
        "absent": absent,
    }
    out.print(Markdown(to_accuracy.table(found)))
    if path := options.json or (
        None if options.quick else to_accuracy.FOLDER / f"{options.to:g}-{machine.file_name}"
    ):
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
        err.print(f"Wrote {path}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
