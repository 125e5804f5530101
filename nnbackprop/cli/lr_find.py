"""The command that looks for a learning rate: lr-find."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import AsJson, Flags, err, given_settings, print_result


def lr_find(
    recipe: Annotated[
        str | None, Parameter(help="A recipe's name, a TOML file, or data; mnist if not given.")
    ] = None,
    /,
    *,
    steps: Annotated[
        int | None, Parameter(help="Training steps; 200 if not given, up to 2,000 for batches of a few samples.")
    ] = None,
    plot: Annotated[
        Path | None, Parameter(help="Plot the loss against the learning rate to this PNG file.")
    ] = None,
    as_json: AsJson = False,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Suggest a learning rate by a range test (Smith 2017): it grows from 1e-7 to 10 until the loss explodes.

    Keeps nothing, and changes no run. `nnbackprop train --lr auto` begins with the same test. Status 1 if the loss
    falls at no learning rate.
    """
    from nnbackprop.report.lr_find import lr_find_report
    from nnbackprop.runs.config_checks import check_config
    from nnbackprop.runs.config_files import recipe_for, resolve
    from nnbackprop.runs.lr_find import find_lr
    from nnbackprop.runs.run_data import RunData
    from nnbackprop.runs.train import open_backend

    config = resolve(*recipe_for(recipe, given_settings(flags)))
    check_config(config)
    backend = open_backend(config)
    if config.backend == "auto":
        err.print(backend.selection_reason, style="dim")
    with err.status("training with a growing learning rate"):
        found = find_lr(config, backend, RunData.load(config), steps)
    print_result(found, lr_find_report, as_json)
    if plot is not None:
        from nnbackprop.report.curves import lr_plot
        from nnbackprop.report.style import draw

        draw(plot, lr_plot, found)
        err.print(f"Plot: {escape(str(plot))}")
    return int(not found.fell)
