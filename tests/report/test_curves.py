"""Curves: lines, gaps, scales and labels, read back from the figures before they are saved."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnbackprop.report.curves import comparison_plot, gradient_norms, learning_curves
from nnbackprop.report.style import png, style
from nnbackprop.runs.run_table import RunInfo, RunTable
from tests.support.plot_rows import axes_texts, legend_texts, metrics_row


@pytest.mark.parametrize("epochs", [1, 5, 10_000])
def test_a_curve_is_its_rows_and_the_legend_has_its_last_value(epochs: int) -> None:
    figure = learning_curves([metrics_row(e, test_loss=3 / e) for e in range(1, epochs + 1)], "loss")
    train, test = figure.axes[0].get_lines()
    assert list(train.get_xdata()) == list(test.get_xdata()) == list(range(1, epochs + 1))
    assert list(train.get_ydata()) == [1 / e for e in range(1, epochs + 1)]
    assert list(test.get_ydata()) == [3 / e for e in range(1, epochs + 1)]
    ends = {1: ("1.0000", "3.0000"), 5: ("0.2000", "0.6000"), 10_000: ("1.00e-04", "3.00e-04")}[epochs]
    assert legend_texts(figure) == [f"test  {ends[1]}", f"train  {ends[0]}"]


def test_a_single_epoch_has_a_marker() -> None:
    axes = learning_curves([metrics_row(1)], "accuracy").axes[0]
    assert axes.get_lines()[0].get_marker() == "o"
    assert axes.get_xlim() == (0.5, 1.5)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 20, 10_000])
def test_epochs_have_ticks_at_whole_numbers(epochs: int) -> None:
    axes = learning_curves([metrics_row(e) for e in range(1, epochs + 1)], "loss").axes[0]
    assert all(tick == round(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize(("last", "scale"), [(0.05, "linear"), (0.01, "log"), (0.0, "linear")])
def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_scale(last: float, scale: str) -> None:
    assert learning_curves([metrics_row(1), metrics_row(2, train_loss=last)], "loss").axes[0].get_yscale() == scale


def test_accuracies_have_ticks_in_percent_up_to_a_hundred_and_other_metrics_plain_numbers() -> None:
    axes = learning_curves(
        [metrics_row(1, train_accuracy=0.2), metrics_row(2, train_accuracy=1.0)], "accuracy"
    ).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == "100%"
    assert axes.get_ylim()[1] == 1
    assert legend_texts(axes.figure) == ["train  100.00%"]
    figure = learning_curves([metrics_row(e, train_rmse=2.5 / e, test_rmse=3.0 / e) for e in (1, 2)], "rmse")
    assert legend_texts(figure) == ["test  1.5000", "train  1.2500"]
    assert figure.axes[0].get_ylabel() == "rmse"
    assert not any("%" in label.get_text() for label in figure.axes[0].get_yticklabels())


def test_the_legend_is_in_the_order_and_the_colours_of_the_lines_ends() -> None:
    rows = [
        metrics_row(1, test_loss=5.0, validation_loss=1.0),
        metrics_row(2, train_loss=0.0, test_loss=3, validation_loss=4),
    ]
    figure = learning_curves(rows, "loss")
    assert [label.split()[0] for label in legend_texts(figure)] == ["validation", "test", "train"]
    colours = {str(line.get_label()): line.get_color() for line in figure.axes[0].get_lines()}
    written = {text.get_text().split()[0]: text.get_color() for text in figure.legends[0].get_texts()}
    assert written == colours


def test_values_that_are_missing_or_not_finite_are_gaps() -> None:
    rows = [
        metrics_row(1, train_loss=math.nan),
        metrics_row(2),
        metrics_row(3, train_loss=math.inf),
        metrics_row(4, train_loss=None),
    ]
    figure = learning_curves(rows, "loss")
    y = figure.axes[0].get_lines()[0].get_ydata()
    assert np.isnan(y).tolist() == [True, False, True, True]
    assert legend_texts(figure) == ["train  0.5000"]


@pytest.mark.parametrize("values", [[], [math.nan], [None, math.inf]])
def test_a_plot_without_values_has_a_message(values: list[float | None]) -> None:
    figure = learning_curves([metrics_row(i + 1, train_loss=v) for i, v in enumerate(values)], "loss")
    assert axes_texts(figure) == ["no finite value" if values else "no epoch was finished"]


@pytest.mark.parametrize(
    ("norms", "scale"), [([1e-2, 1e-4, 1e-6], "log"), ([1.0, 0.5, 0.0], "symlog"), ([0.0, 0.0, 0.0], "linear")]
)
def test_gradient_norms_are_on_a_logarithmic_scale_unless_all_are_zero(norms: list[float], scale: str) -> None:
    rows = [metrics_row(e, gradient_norms={"dense1": g, "dense2": math.nan}) for e, g in enumerate(norms, start=1)]
    axes = gradient_norms(rows).axes[0]
    assert axes.get_yscale() == scale
    assert list(axes.get_lines()[0].get_ydata()) == norms
    assert legend_texts(axes.figure) == ["dense1"]


@pytest.mark.parametrize("ratio", [2, 20, 2000, 1e9])
def test_a_logarithmic_axis_has_at_least_three_labels(ratio: float) -> None:
    axes = gradient_norms([metrics_row(e, gradient_norms={"a": g}) for e, g in ((1, 0.8), (2, 0.8 * ratio))]).axes[
        0
    ]
    low, high = axes.get_ylim()
    assert sum(low <= y <= high for y in axes.get_yticks()) >= 3
    assert axes.get_yscale() == "log"


def test_zero_gradients_are_at_the_foot_of_the_scale() -> None:
    dying = {1: 1.0, 2: 0.5, 3: 0.0, 4: 0.0}
    axes = gradient_norms([metrics_row(e, gradient_norms={"a": 1e-4, "b": g}) for e, g in dying.items()]).axes[0]
    assert list(axes.get_lines()[1].get_ydata()) == [1.0, 0.5, 0.0, 0.0]
    places = axes.transAxes.inverted().transform(axes.transData.transform([(1, y) for y in (0, 1e-4, 1e-2, 1)]))
    assert places[0, 1] == pytest.approx(0)
    assert np.diff(places[2:, 1]) == pytest.approx(np.diff(places[1:3, 1]))  # logarithmic from 1e-4 up


def test_many_layers_have_different_lines() -> None:
    rows = [metrics_row(e, gradient_norms={f"dense{i}": 1.0 + i for i in range(20)}) for e in (1, 2)]
    lines = gradient_norms(rows).axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20


def test_a_comparison_has_a_colour_a_run_and_its_training_part_dashed() -> None:
    """A run is drawn by its validation part, or else its test part; the legend names each run once."""
    long = [metrics_row(e, validation_loss=2 / e, validation_accuracy=0.5) for e in (1, 2, 3)]
    short = [metrics_row(1, test_loss=0.5)]
    figure = comparison_plot(
        RunTable((RunInfo("a", "finished", 0.0, rows=long), RunInfo("b", "empty", 0.0, rows=short)))
    )
    loss, accuracy = figure.axes
    drawn = [(line.get_label(), line.get_linestyle(), list(line.get_ydata())) for line in loss.get_lines()]
    assert drawn == [
        ("a", "--", [row["train_loss"] for row in long]),
        ("a", "-", [2.0, 1.0, pytest.approx(2 / 3)]),
        ("b", "--", [short[0]["train_loss"]]),
        ("b", "-", [0.5]),
    ]
    colours = [line.get_color() for line in loss.get_lines()]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert legend_texts(figure) == ["a", "b"]
    assert accuracy.get_ylabel() == "accuracy"


@pytest.mark.filterwarnings("error")
def test_a_comparison_names_every_run_by_what_the_font_can_write() -> None:
    rows = [metrics_row(e) for e in (1, 2)]
    names = ("_x", "\u5b9e\u9a8c", "\u00e9t\u00e9")
    with style():
        figure = comparison_plot(RunTable(tuple(RunInfo(name, "finished", 0.0, rows=rows) for name in names)))
        png(figure)
    assert legend_texts(figure) == ["_x", "run 2", "\u00e9t\u00e9"]
