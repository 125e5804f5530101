"""Time the workloads on our backends and on every rival, in turn. Exit status 1 if one computes something else.

A full run keeps JSON and chart in benchmarks/results.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from nnbackprop._files import write_atomically
from nnbackprop._system_info import cores, use_threads
from nnbackprop.errors import NnbackpropError, UsageError

from .chart import draw
from .machine import Machine
from .profile import BACKENDS, profile, table
from .report import failure, page
from .results import RESULTS, Result
from .suite import run_suite
from .workloads import WORKLOADS

out, err = Console(), Console(stderr=True)


def main(words: list[str] | None = None) -> int:
    """The command."""
    epilog = "workloads: " + "; ".join(f"{name}: {workload.title}" for name, workload in WORKLOADS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=epilog)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, metavar="W", help="these, not all")
    parser.add_argument(
        "--quick", action="store_true", help="three short rounds: under three minutes on two cores"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--tf32", action="store_true", help="float32 products in TF32, on a GPU")
    parser.add_argument("--threads", type=int, help="of each rival on a CPU (default: all cores)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep JSON and chart here")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    parser.add_argument("--profile", choices=WORKLOADS, metavar="W", help="show where a step of W spends its time")
    parser.add_argument("--backend", default="numpy", help=f"of --profile: {' or '.join(BACKENDS)}")
    given = parser.parse_args(words)
    given.threads = cores() if given.threads is None else given.threads
    try:
        if not 1 <= given.threads <= cores():
            raise UsageError(f"--threads is 1 to {cores()}, the cores of this process, and was {given.threads}.")
        return _profile(given) if given.profile else _suite(given)
    except NnbackpropError as error:
        err.print(f"[bold red]error:[/] {error}", highlight=False)
        return error.exit_code


def _suite(given: argparse.Namespace) -> int:
    threads, cpu, workloads = given.threads, given.device == "cpu", given.workloads or tuple(WORKLOADS)
    options = {
        "device": given.device,
        "tf32": given.tf32,
        "threads": threads if cpu else None,
        "quick": given.quick,
    }
    with err.status("starting") as status:
        timings, absent = run_suite(workloads, say=status.update, **options)
    flags = ["--quick"] * given.quick + (["--workloads", *workloads] if given.workloads else [])
    flags += ["--threads", str(threads)] if cpu else ["--device", given.device] + ["--tf32"] * given.tf32
    command = " ".join(["python -m benchmarks", *flags])
    result = Result(command, datetime.now(UTC).date().isoformat(), Machine.here(threads), timings, absent)
    if given.json:
        print(result.to_json(), end="")
    else:
        out.print(Markdown(page(result)))
    whole = cpu and not (given.quick or given.workloads) and result.passed
    if folder := given.out or (RESULTS if whole else None):
        keep(result, folder)
    for check in (check for timing in timings for check in timing.failed):
        err.print(f"[bold red]failed:[/] {failure(check)}", highlight=False)
    return int(not result.passed)


def keep(result: Result, folder: Path) -> None:
    """Write JSON and chart."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.machine.file_name
    write_atomically(path, result.to_json().encode())
    draw(result, path.with_suffix(".png"))
    err.print(f"Kept: {path}", highlight=False)


def _profile(given: argparse.Namespace) -> int:
    use_threads(given.threads)
    with err.status(f"training {given.profile} on {given.backend}"):
        found = profile(given.profile, given.backend)
    out.print(
        Markdown(f"**{given.profile}**: {WORKLOADS[given.profile].title}, {given.backend}\n\n{table(found)}")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
