"""The picture of a search, read back from the figure."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from nnbackprop.report.search_plot import search_plot
from nnbackprop.runs.search_result import SearchResult, TrialRow

IMPORTANCES = {"lr": 0.5, "hidden": 0.25, "l2": 0.15, "batch_size": 0.1}


def row(number: int, outcome: str, loss: float, lr: float, hidden: list[int], l2: float = 0.0) -> TrialRow:
    return TrialRow(number, outcome, loss, 1, 1, {"lr": lr, "hidden": hidden, "l2": l2, "batch_size": 8})


TRIALS = (
    row(0, "complete", 0.5, 1e-4, [4]),
    row(1, "complete", 0.25, 1e-2, [8, 4], 0.1),
    row(2, "pruned", 2.0, 0.1, [4]),
    row(3, "diverged", math.inf, 0.3, [4]),
    row(4, "pruned", math.nan, 0.2, [4]),
)


def drawn(trials: tuple[TrialRow, ...] = TRIALS) -> Figure:
    return search_plot(SearchResult(Path("runs/small"), 5, trials, IMPORTANCES))


def test_bars_are_the_importances_the_greatest_on_top() -> None:
    bars = drawn().axes[0]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([10, 15, 25, 50])
    assert [label.get_text() for label in bars.get_yticklabels()] == ["batch-size", "l2", "hidden", "lr"]


def test_each_trial_with_a_loss_is_a_point_at_its_value() -> None:
    figure = drawn()
    lr, hidden, l2 = figure.axes[1:]
    assert [axes.get_xlabel() for axes in (lr, hidden, l2)] == ["lr", "hidden", "l2"]
    pruned, complete = lr.collections
    np.testing.assert_array_equal(pruned.get_offsets(), [[0.1, 2.0]])
    np.testing.assert_array_equal(complete.get_offsets(), [[1e-4, 0.5], [1e-2, 0.25]])
    assert [group.get_label() for group in lr.collections] == ["pruned", "complete"]
    np.testing.assert_array_equal(
        np.concatenate([c.get_offsets()[:, 1] for c in hidden.collections]), [2, 0.5, 0.25]
    )
    figure.draw_without_rendering()
    assert [label.get_text() for label in hidden.get_xticklabels()] == ["[4]", "[8, 4]"]


def test_only_positive_numbers_that_span_much_lie_on_a_logarithmic_axis() -> None:
    assert [axes.get_xscale() for axes in drawn().axes[1:]] == ["log", "linear", "linear"]
    assert (
        drawn(tuple(row(i, "complete", 1.0, lr, [4]) for i, lr in enumerate((0.01, 0.3)))).axes[1].get_xscale()
        == "linear"
    )
