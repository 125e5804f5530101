"""The command that searches over settings: search."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import AsJson, DeviceName, err, print_result
from .train import must_launch


def search(
    file: Annotated[str, Parameter(help="A recipe's TOML file with a table [search].")],
    /,
    *,
    name: Annotated[str | None, Parameter(help="Its name and its folder's; the file's if not given.")] = None,
    tags: Annotated[
        tuple[str, ...] | None, Parameter(help="Tags of the best recipe's runs.", consume_multiple=True)
    ] = None,
    processes: Annotated[
        int | None,
        Parameter(help="In so many processes, which mpiexec starts; each trains trials of its own."),
    ] = None,
    backend: Annotated[
        str | None, Parameter(help="Array library; the file's if not given.", env_var="NNBACKPROP_BACKEND")
    ] = None,
    device: DeviceName = None,
    as_json: AsJson = False,
) -> int:
    """Search over settings by Optuna; the same command again, at once or later, shares or goes on with the search.

    Status 1 if no trial was trained to its end.
    """
    from nnbackprop.distributed.mpi import communicator
    from nnbackprop.report.search import search_report, trial_line
    from nnbackprop.runs.launch import launch
    from nnbackprop.runs.search import search as run_search
    from nnbackprop.runs.search_space import load_search
    from nnbackprop.runs.settings import without_none

    if must_launch(processes):
        return launch(processes or 1, 0, sys.argv[1:])
    given = without_none({"name": name, "tags": tags, "backend": backend, "device": device})
    found = run_search(
        load_search(file, given),
        lambda row, planned: err.print(trial_line(row, planned), markup=False, highlight=False),
        communicator(),
    )
    if communicator().rank:
        return 0
    print_result(found, search_report, as_json)
    if found.importances:
        from nnbackprop.report.search_plot import search_plot
        from nnbackprop.report.style import draw

        plot = found.path / "importances.png"
        draw(plot, search_plot, found)
        err.print(f"Plot: {escape(str(plot))}")
    return int(found.best is None)
