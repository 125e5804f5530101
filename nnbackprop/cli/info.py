"""Commands that print information: backends, recipes, data inspect."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from .flags import out

PREVIEW = (28, 28)  # rows and columns of images whose sizes differ


def backends() -> int:
    """List the array libraries, which work here, and how to fix those that do not."""
    from backends import available
    from nnbackprop.report.tables import backends_table

    out.print(backends_table(available()))
    return 0


def recipes() -> int:
    """List the recipes that come with the package."""
    from nnbackprop.report.tables import recipes_table
    from nnbackprop.runs.config_files import load_recipe
    from nnbackprop.runs.config_files import recipes as recipe_paths

    out.print(recipes_table([load_recipe(name) for name in recipe_paths()]))
    return 0


def inspect(
    path: Annotated[str, Parameter(help="A data set's name, or a file or folder.")],
    /,
    *,
    test_fraction: Annotated[
        float, Parameter(help="Share of a single table kept for the test; 0 for none.")
    ] = 0.2,
    seed: Annotated[int, Parameter(help="Decides that split.")] = 0,
    size: Annotated[
        str | None, Parameter(help="Rows x columns to which the images of a folder are resized, such as 28x28.")
    ] = None,
    channels: Annotated[
        Literal["auto", "grey", "rgb"], Parameter(help="Of the images of a folder; auto is grey where all are.")
    ] = "auto",
) -> int:
    """Count, range, class balance, and a few samples drawn upright."""
    from functools import partial

    from nnbackprop.data import load
    from nnbackprop.data.inspect import describe
    from nnbackprop.errors import ImageSizesError

    read = partial(load, path, test_fraction=test_fraction, seed=seed, split=test_fraction > 0, channels=channels)
    try:
        splits = read(size=size)
    except ImageSizesError as error:
        out.print(f"{error} They are shown at {PREVIEW[0]} x {PREVIEW[1]}.", style="yellow", markup=False)
        splits = read(size=PREVIEW)
    out.print(describe(splits))
    return 0
