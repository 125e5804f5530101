"""Plots of predicted numbers: against the true ones, and what is left over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import formatting
from .prediction_metrics import number_scores
from .style import GREY, PALETTE, new_plots, printable, shorten

MAX_TARGETS = 4  # shown side by side
MAX_POINTS = 3000  # samples up to which each is a point, beyond them their density is drawn
WIDTH = {1: 5.5, 2: 9.0, 3: 12.0, 4: 15.0}


def predicted_plot(targets: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> Figure:
    """Predictions (n, k) against the true numbers (n, k); right ones lie on the line."""
    figure, plots = _plots(targets, "Predicted against true")
    scores = number_scores(targets, predicted)
    for j, (axes, name) in enumerate(zip(plots, _short(names), strict=False)):
        t, y = targets[:, j], predicted[:, j]
        _draw_points(axes, t, y)
        ends = [min(t.min(), y.min()), max(t.max(), y.max())]
        axes.plot(ends, ends, color=GREY, lw=1, ls="--")
        axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        rmse, r2 = formatting.number(scores.rmse[j]), formatting.number(scores.r2[j])
        axes.set_title(f"RMSE {rmse}, R² {r2}", fontsize=9.5)
    return figure


def residual_plot(targets: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> Figure:
    """Residuals, true less predicted, against the prediction: a pattern is what the network has not learnt."""
    figure, plots = _plots(targets, "Residuals, true less predicted")
    for j, (axes, name) in enumerate(zip(plots, _short(names), strict=False)):
        residuals = targets[:, j] - predicted[:, j]
        _draw_points(axes, predicted[:, j], residuals)
        axes.axhline(0, color=GREY, lw=1, ls="--")
        axes.set(xlabel=f"predicted {name}", ylabel="residual")
        mean, spread = formatting.number(residuals.mean()), formatting.number(residuals.std())
        axes.set_title(f"mean {mean}, standard deviation {spread}", fontsize=9.5)
    return figure


def _plots(targets: np.ndarray, title: str) -> tuple[Figure, list[Axes]]:
    n, k = targets.shape
    shown = min(k, MAX_TARGETS)
    of = f", {shown} of {k} targets" if shown < k else ""
    return new_plots(f"{title}: {formatting.plural(n, 'sample')}{of}", shown, WIDTH[shown])


def _short(names: Sequence[str]) -> list[str]:
    return [shorten(name, 24) for name in printable(names)]


def _draw_points(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    if len(x) <= MAX_POINTS:
        axes.plot(x, y, "o", ms=3, mew=0, alpha=0.5, color=PALETTE[0])
    else:
        axes.hexbin(x, y, gridsize=60, bins="log", mincnt=1, cmap="Blues", linewidths=0.1)
    axes.grid(color="#E6E6E6")
