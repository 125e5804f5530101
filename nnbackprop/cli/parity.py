"""The command `parity`: trains a recipe on several array libraries and compares them step by step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import AsJson, Flags, err, given_settings, print_result


def parity(
    recipe: Annotated[str, Parameter(help="A recipe's name or a TOML file.")] = "mnist",
    /,
    *,
    backends: Annotated[
        str, Parameter(help="Libraries, the first the one compared with.")
    ] = "numpy,torch,jax,mlx,cupy,strict",
    steps: Annotated[int, Parameter(help="Training steps.")] = 100,
    plot: Annotated[Path | None, Parameter(help="Plot the differences against the step to this PNG file.")] = None,
    as_json: AsJson = False,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Train on several libraries in lockstep and compare them, in float64 and float32; 1 if past a tolerance.

    --dtype compares in one of the two alone; --device is that of every library that has a choice.
    """
    from nnbackprop.diagnostics.parity.compare import DTYPES
    from nnbackprop.diagnostics.parity.compare import parity as compare
    from nnbackprop.errors import UsageError
    from nnbackprop.report.parity import parity_plot, parity_report
    from nnbackprop.report.style import draw
    from nnbackprop.runs.config_files import resolve

    # the idle thread pools of several libraries in one process take turns spinning: five times the time
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    overrides = given_settings(flags)
    if overrides.get("backend") not in (None, os.environ.get("NNBACKPROP_BACKEND")):
        raise UsageError(f"Parity runs on several: say --backends numpy,{overrides['backend']} for --backend.")
    dtypes = (overrides["dtype"],) if "dtype" in overrides else DTYPES
    names = [name.strip() for name in backends.split(",") if name.strip()]
    with err.status("training step by step on each library"):
        found = compare(resolve(recipe, overrides), names, steps, dtypes)
    print_result(found, parity_report, as_json)
    if plot is not None:
        draw(plot, parity_plot, found)
        err.print(f"Plot: {escape(str(plot))}")
    return int(not found.passed)
