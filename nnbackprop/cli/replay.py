"""The command `replay`: trains a run again and compares it with what it kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Optional

from cyclopts import Parameter

from .flags import AsJson, DeviceName, Run, RunsDir, err, print_result


def replay(
    run: Run,
    /,
    *,
    backend: Annotated[
        Optional[str],  # noqa: UP045
        Parameter(help="Array library; the run's own if not given.", env_var="NNBACKPROP_BACKEND"),
    ] = None,
    device: DeviceName = None,
    threads: Annotated[
        Optional[int], Parameter(help="Threads of a CPU's matrix products; the run's own if not given.")  # noqa: UP045
    ] = None,
    progress: Annotated[
        Literal["auto", "rich", "plain", "off"], Parameter(help="Display, on the standard error stream.")
    ] = "auto",
    runs_dir: RunsDir = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Train a run again from its config.toml and compare weights and metrics with those it kept; 1 if they differ.

    Where backend, versions, processor or threads differ now, float64 weights are to be within 1e-12, and the
    accuracy of a float32 run within chance.
    """
    from nnbackprop.diagnostics.replay import replay as train_again
    from nnbackprop.report.progress import progress as display
    from nnbackprop.report.replay import replay_report

    places = {"backend": backend, "device": device, "threads": threads}
    overrides = {name: value for name, value in places.items() if value is not None}
    found = train_again(run, overrides, runs_dir, lambda header: display(progress, err, header))
    print_result(found, replay_report, as_json)
    return int(not found.passed)
