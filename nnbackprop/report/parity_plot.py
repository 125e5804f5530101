"""How far libraries are apart, step by step, as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from nnbackprop.diagnostics.parity.results import OWN, Comparison, Parity

from .plots import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ZERO, INFINITE = 1e-18, 1e3
"""Where no difference at all is drawn, and one without bound: a logarithmic axis has no place for either."""

DASHES = {("float64", True): "-", ("float32", False): "-.", ("float32", True): ":"}
"""By dtype, and whether a library goes on from its own weights."""


def draw_apart(parity: Parity, path: Path) -> None:
    """Write the picture as PNG; RunFolderError if it cannot be written."""
    from .style import style

    with style():
        save(apart(parity), path)


def apart(parity: Parity) -> Figure:
    """The largest relative difference of each step, a line a comparison, kinks as circles, tolerances dashed."""
    from matplotlib.ticker import MaxNLocator

    from .style import PALETTE, canvas

    first = parity.libraries[0].name
    figure, axes = canvas(f"Largest difference from {first}, {parity.recipe}, by step")
    colours = {library.name: PALETTE[i % len(PALETTE)] for i, library in enumerate(parity.libraries[1:])}
    for comparison in parity.comparisons:
        _line(axes, comparison, colours[comparison.library])
    _tolerances(axes, parity)
    axes.set(xlabel="step", ylabel=f"||a - b|| / ||b||, none drawn at {ZERO:g}", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.grid(color="#E6E6E6")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _line(axes: Axes, comparison: Comparison, colour: str) -> None:
    values = {step: min(max(value, ZERO), INFINITE) for step, value in comparison.by_step()}
    own = comparison.begin == OWN
    label = f"{comparison.library} {comparison.dtype}, {comparison.begin}"
    dashes, alone = DASHES[comparison.dtype, own], "o" if len(values) == 1 else ""
    axes.plot(list(values), list(values.values()), label=label, color=colour, ls=dashes, lw=1.4, marker=alone)
    kinks = sorted({kink.step for kink in comparison.kinks} & set(values))
    axes.plot(kinks, [values[step] for step in kinks], "o", mfc="none", color=colour)


def _tolerances(axes: Axes, parity: Parity) -> None:
    from .style import GREY

    for dtype, tolerance in {(c.dtype, c.tolerance) for c in parity.comparisons}:
        if tolerance is not None and math.isfinite(tolerance):
            axes.axhline(tolerance, ls="--", lw=1, color=GREY)
            words, place = f"tolerance {dtype}", (0.995, tolerance)
            axes.annotate(words, place, xycoords=("axes fraction", "data"), ha="right", va="bottom", color=GREY)
