"""The picture of a search: how much each setting mattered, and the loss against those that mattered most."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from nnbackprop.runs.search_result import SearchResult

from .style import GREY, PALETTE, new_plots, printable, shorten

SHOWN = 3  # settings with a plot of their own
LOG_RATIO = 30  # values that span more than this factor lie on a logarithmic axis


def search_plot(found: SearchResult) -> Figure:
    """Bars of the importances, and a plot of loss against value for each of the first settings."""
    names = list(found.importances)
    shown = names[:SHOWN]
    columns = 1 + len(shown)
    figure, (bars, *plots) = new_plots("What mattered in the search", columns, 3.2 * columns, 3.6)
    labels = [shorten(name.replace("_", "-"), 20) for name in reversed(names)]
    bars.barh(range(len(names)), [100 * found.importances[name] for name in reversed(names)], color=PALETTE[0])
    bars.set_yticks(range(len(names)), printable(labels))
    bars.set_xlabel("importance, %")
    complete = [row for row in found.trials if row.outcome == "complete" and math.isfinite(row.loss)]
    pruned = [row for row in found.trials if row.outcome == "pruned" and math.isfinite(row.loss)]
    for axes, name in zip(plots, shown, strict=True):
        numeric = all(type(row.params[name]) in (int, float) for row in complete)
        for group, colour, label in ((pruned, GREY, "pruned"), (complete, PALETTE[0], "complete")):
            values = [row.params[name] if numeric else shorten(str(row.params[name]), 12) for row in group]
            axes.scatter(values, [row.loss for row in group], s=14, color=colour, label=label)
        if numeric:
            _scale(axes, [row.params[name] for row in (*complete, *pruned)])
        axes.set_xlabel(name.replace("_", "-"))
    if plots:
        plots[0].set_ylabel("validation loss")
        if pruned:
            plots[-1].legend(frameon=False)
    return figure


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis for positive values that span much."""
    if min(values) > 0 and max(values) > LOG_RATIO * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
