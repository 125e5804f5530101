"""The command that measures speed against others on this machine, and says where a step's time goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.markup import escape

from .flags import err, out

if TYPE_CHECKING:
    from benchmarks.results import Kept

Work = Literal["W1", "W1n", "W1a", "W2", "W3", "W4"]


def bench(
    *,
    quick: Annotated[
        bool, Parameter(negative="", help="Three short rounds: under three minutes on two cores.")
    ] = False,
    works: Annotated[
        tuple[Work, ...], Parameter(consume_multiple=True, negative="", help="These works, not all.")
    ] = (),
    threads: Annotated[int | None, Parameter(help="Of each contestant; all cores if not given.")] = None,
    out_folder: Annotated[
        Path | None,
        Parameter(name="--out", help="Keep JSON and chart here; a full run in a checkout has a place."),
    ] = None,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="The result as JSON, and nothing else.")
    ] = False,
    profile: Annotated[
        Work | None, Parameter(help="No contest: where a step of this work spends its time.")
    ] = None,
    growth: Annotated[
        bool,
        Parameter(negative="", help="No contest: how our cost grows, and what training costs beside its steps."),
    ] = False,
    backend: Annotated[str, Parameter(help="What --profile runs on: numpy or torch.")] = "numpy",
) -> int:
    """Time the works on our backends and on every rival installed, in turn; 1 if one computes something else."""
    from nnbackprop._system_info import cores
    from nnbackprop.errors import UsageError

    if threads is not None and not 1 <= threads <= cores():
        raise UsageError(f"--threads is 1 to {cores()}, the cores this process may use, and was {threads}.")
    if profile is not None:
        return _profile(profile, backend, threads, as_json)
    if growth:
        return _growth(threads or cores(), out_folder, as_json)
    return _contest(quick, works, threads or cores(), out_folder, as_json)


def _contest(quick: bool, works: tuple[str, ...], threads: int, folder: Path | None, as_json: bool) -> int:
    from benchmarks.chart import draw
    from benchmarks.contest import contest
    from benchmarks.results import RESULTS
    from benchmarks.table import failure, report
    from benchmarks.works import WORKS

    words = ["--quick"] * quick + (["--works", *works] if works else [])
    command = " ".join(["nnbackprop bench", *words, "--threads", str(threads)])
    with err.status("starting") as status:
        result = contest(works or tuple(WORKS), threads, quick, command, status.update)
    if as_json:
        print(result.to_json())
    else:
        out.print(report(result))
    if folder is None and not (quick or works) and result.passed:
        folder = RESULTS
    if folder is not None:
        draw(result, _keep(result, folder).with_suffix(".png"))
    for check in (check for timing in result.timings for check in timing.failed):
        err.print(f"[bold red]failed:[/] {escape(failure(check))}")
    return int(not result.passed)


def _keep(found: Kept, folder: Path) -> Path:
    from benchmarks.results import results_path
    from nnbackprop._files import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    path = results_path(found.machine, folder)
    write_atomically(path, found.to_json().encode())
    err.print(f"Kept: {escape(str(path))}")
    return path


def _growth(threads: int, folder: Path | None, as_json: bool) -> int:
    from benchmarks.beside import beside, report
    from benchmarks.results import RESULTS
    from nnbackprop._system_info import use_threads

    use_threads(threads)
    with err.status("training ever larger networks"):
        found = beside(f"nnbackprop bench --growth --threads {threads}", threads)
    if as_json:
        print(found.to_json())
    else:
        out.print(report(found))
    folder = folder or (RESULTS / "beside" if RESULTS else None)
    if folder is not None:
        _keep(found, folder)
    return 0


def _profile(work: str, backend: str, threads: int | None, as_json: bool) -> int:
    from benchmarks.profile import profile, report
    from nnbackprop._system_info import use_threads

    if threads is not None:
        use_threads(threads)
    with err.status(f"training {work} on {escape(backend)}"):
        found = profile(work, backend)
    if as_json:
        print(found.to_json())
    else:
        out.print(report(found))
    return 0
