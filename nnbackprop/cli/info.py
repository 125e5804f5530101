"""Commands about what is there: backends, recipes, data inspect, data convert."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .flags import DataFlags, given_settings, out

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
    flags: Annotated[DataFlags, Parameter(name="*")] = DataFlags(),  # type: ignore[valid-type]  # noqa: B008
    test_fraction: Annotated[
        float, Parameter(help="Share of a single table kept for the test; 0 for none.")
    ] = 0.2,
    seed: Annotated[int, Parameter(help="Decides that split.")] = 0,
    augment: Annotated[
        tuple[str, ...],
        Parameter(help="Transformations, as of `train`: also writes augmentation.png.", consume_multiple=True),
    ] = (),
) -> int:
    """Columns of a table with what they are used as; count, range, class balance; a few samples drawn upright."""
    from nnbackprop.data.catalog import data_options, load_splits, open_source
    from nnbackprop.data.inspect import describe
    from nnbackprop.data.inspect_table import describe_table
    from nnbackprop.data.tabular import TableSplits
    from nnbackprop.errors import ImageSizesError
    from nnbackprop.report.flags import with_flags

    options = data_options(**given_settings(flags))
    try:
        source = open_source(path, options)
    except ImageSizesError as error:
        out.print(
            f"{with_flags(str(error))} They are shown at {PREVIEW[0]} x {PREVIEW[1]}.",
            style="yellow",
            markup=False,
        )
        source = open_source(path, replace(options, size=PREVIEW))
    if isinstance(source, TableSplits):
        out.print(describe_table(source, with_flags))
    splits = load_splits(source, options, test_fraction, seed=seed)
    out.print(describe(splits))
    if augment:
        from nnbackprop.report.augmentation_plot import augmentation_plot
        from nnbackprop.report.style import draw

        draw(Path("augmentation.png"), augmentation_plot, splits.train, augment, seed)
        out.print("Picture: augmentation.png")
    return 0


def convert(
    path: Annotated[Path, Parameter(help="A table: Parquet, Arrow or CSV.")],
    out_folder: Annotated[Path, Parameter(name="out", help="The folder to write, which is new or empty.")],
    /,
    *,
    flags: Annotated[DataFlags, Parameter(name="*")] = DataFlags(),  # type: ignore[valid-type]  # noqa: B008
) -> int:
    """Write a table as X.npy and y.npy, or its images as images.npy and labels.npy, for training by memory map."""
    from nnbackprop.data.catalog import data_options
    from nnbackprop.data.convert import convert as convert_table
    from nnbackprop.report.flags import with_flags

    found = convert_table(path, out_folder, data_options(**given_settings(flags)))
    for name, text in found.roles.description.items():
        out.print(f"{name}: {with_flags(text)}", markup=False)
    shape = " x ".join(f"{size:,}" for size in found.shape)
    task = f" --task {found.roles.task}" if found.names_task else ""
    command = f"nnbackprop train {shlex.quote(str(found.folder))}{task}"
    out.print(f"{shape} {found.dtype} written. Train on them with: {command}", markup=False)
    return 0
