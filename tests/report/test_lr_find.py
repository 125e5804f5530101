"""The range test in the terminal and as a plot."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from nnbackprop.report.curves import lr_plot
from nnbackprop.report.lr_find import bars, lr_find_report
from nnbackprop.training.lr_finder import LRFinderResult


def result(losses: list[float]) -> LRFinderResult:
    array = np.array(losses)
    return LRFinderResult(10.0 ** np.arange(-len(losses), 0), array + 0.01, array, exploded=True)


def text(found: LRFinderResult) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(lr_find_report(found))
    return console.file.getvalue()


def test_the_report_has_the_curve_and_a_flag_for_each_suggestion() -> None:
    """Losses at 1e-5 ... 0.1: the least is at 0.01, the steepest fall leads to 0.001."""
    shown = text(result([4.0, 3.5, 1.0, 0.5, 4.0]))
    assert "loss  █▇▂▁█" in shown
    assert "1e-05 to 0.1: the loss exploded there; least loss 0.5000 at 0.01" in shown
    assert [line.split("--lr ")[-1].strip() for line in shown.splitlines() if "--lr 0" in line] == ["0.001"] * 2


def test_the_report_of_a_loss_that_never_falls_suggests_nothing() -> None:
    shown = text(result([1.0, 1.0, 1.1]))
    assert "The loss falls at no learning rate" in shown
    assert "--lr" not in shown


@pytest.mark.parametrize(
    ("values", "columns", "shown"),
    [([0, 7], 9, "▁█"), ([3, 3], 9, "▁▁"), ([0, 0, 7, 7, 14, 14], 3, "▁▅█")],
)
def test_bars_span_the_range_of_the_values(values: list[float], columns: int, shown: str) -> None:
    assert bars(np.array(values, float), columns) == shown


def test_the_plot_marks_the_suggestions_on_a_logarithmic_axis() -> None:
    (axes,) = lr_plot(result([4.0, 3.5, 1.0, 0.5, 4.0])).axes
    assert axes.get_xscale() == "log"
    vertical = {line.get_label(): line.get_xdata()[0] for line in axes.get_lines()[2:]}
    assert vertical == {"least loss / 10: 0.001": pytest.approx(0.001), "steepest fall: 0.001": 0.001}
    assert axes.xaxis.get_major_formatter()(0.01, 0) == "0.01"
