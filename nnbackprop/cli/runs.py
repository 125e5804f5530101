"""Commands about several runs: runs, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import AsJson, RunsDir, err, out, print_result


def runs(
    *,
    tags: Annotated[
        tuple[str, ...], Parameter(help="Only runs that have all of these tags.", consume_multiple=True)
    ] = (),
    runs_dir: RunsDir = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """List the runs in a folder, the newest last: status, best score, time and age."""
    from nnbackprop.report.runs import runs_table
    from nnbackprop.runs.run_table import list_runs

    found = list_runs(runs_dir, tags)
    if tags and not (as_json or found.runs) and list_runs(runs_dir).runs:
        out.print(
            f"No run in {escape(str(runs_dir))} has all of the tags {escape(', '.join(tags))}.", soft_wrap=True
        )
    else:
        print_result(found, runs_table, as_json)
    return 0


def compare(
    runs: Annotated[list[str], Parameter(help="Run folders, their names, or `last`.", negative="")],
    /,
    *,
    plot: Annotated[Path | None, Parameter(help="Plot loss and metric by epoch to this PNG file.")] = None,
    runs_dir: RunsDir = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Compare runs: their scores, their loss by epoch, and the settings in which they differ."""
    from nnbackprop.report.runs import comparison_report
    from nnbackprop.runs.run_table import compare_runs

    found = compare_runs(runs, runs_dir)
    print_result(found, comparison_report, as_json)
    if plot is not None:
        from nnbackprop.report.curves import comparison_plot
        from nnbackprop.report.style import draw

        draw(plot, comparison_plot, found)
        err.print(f"Plot: {escape(str(plot))}")
    return 0
