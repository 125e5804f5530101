"""The largest difference between libraries, step by step, as a plot."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnbackprop.diagnostics.parity.results import OWN, Comparison, Parity

from .style import GREY, PALETTE, save, single, style

ZERO, INFINITE = 1e-18, 1e3
"""Where no difference is drawn, and an infinite one: a logarithmic axis has no place for either."""

DASHES = {("float64", True): "-", ("float32", False): "-.", ("float32", True): ":"}
"""By dtype, and whether a library goes on from its own weights."""


def draw_parity(parity: Parity, path: Path) -> None:
    """Write the plot as PNG; RunFolderError if it cannot be written."""
    with style():
        save(parity_plot(parity), path)


def parity_plot(parity: Parity) -> Figure:
    """The largest relative difference of each step, a line a comparison, kinks as circles, tolerances dashed."""
    first = parity.libraries[0].name
    figure, axes = single(f"Largest difference from {first}, {parity.recipe}, by step")
    colours = {library.name: PALETTE[i % len(PALETTE)] for i, library in enumerate(parity.libraries[1:])}
    for comparison in parity.comparisons:
        _line(axes, comparison, colours[comparison.library])
    for dtype, tolerance in {(c.dtype, c.tolerance) for c in parity.comparisons}:
        if tolerance is not None and math.isfinite(tolerance):
            axes.axhline(tolerance, ls="--", lw=1, color=GREY)
            label, place = f"tolerance {dtype}", (0.995, tolerance)
            axes.annotate(label, place, xycoords=("axes fraction", "data"), ha="right", va="bottom", color=GREY)
    axes.set(xlabel="step", ylabel=f"||a - b|| / ||b||, none drawn at {ZERO:g}", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.grid(color="#E6E6E6")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _line(axes: Axes, comparison: Comparison, colour: str) -> None:
    values = {step: min(max(value, ZERO), INFINITE) for step, value in comparison.by_step().items()}
    label = f"{comparison.library} {comparison.dtype}, {comparison.begin}"
    dashes, alone = DASHES[comparison.dtype, comparison.begin == OWN], "o" if len(values) == 1 else ""
    axes.plot(list(values), list(values.values()), label=label, color=colour, ls=dashes, lw=1.4, marker=alone)
    kinks = sorted({kink.step for kink in comparison.kinks} & set(values))
    axes.plot(kinks, [values[step] for step in kinks], "o", mfc="none", color=colour)
