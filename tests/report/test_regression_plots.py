"""Plots of predicted numbers: a point a sample, one plot a target, density where samples are many."""

from __future__ import annotations

import numpy as np
import pytest

from nnbackprop.report.regression_plots import MAX_POINTS, predicted_plot, residual_plot
from nnbackprop.report.style import style
from tests.report.test_plots import assert_within_the_page


def numbers(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.normal(1e5, 2e4, (n, k))
    return targets, targets + rng.normal(0, 1e3, (n, k))


def test_points_are_predictions_over_true_numbers_and_residuals_over_predictions() -> None:
    t, y = np.array([[1.0], [2.0], [4.0]]), np.array([[1.5], [2.0], [3.0]])
    points = predicted_plot(t, y, ["price"]).axes[0].lines[0].get_xydata()
    np.testing.assert_array_equal(points, np.concatenate([t, y], axis=1))
    points = residual_plot(t, y, ["price"]).axes[0].lines[0].get_xydata()
    np.testing.assert_array_equal(points, np.concatenate([y, t - y], axis=1))


def test_labels_name_the_target_and_titles_have_its_scores() -> None:
    t, y = np.array([[1.0], [2.0], [4.0]]), np.array([[1.5], [2.0], [3.0]])
    axes = predicted_plot(t, y, ["price"]).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true price", "predicted price")
    assert axes.get_title() == "RMSE 0.64550, R² 0.73214"  # sqrt(1.25 / 3), 1 - 1.25 / (14 / 3)


@pytest.mark.parametrize(("k", "shown"), [(1, 1), (3, 3), (9, 4)])
def test_four_targets_at_most_are_shown(k: int, shown: int) -> None:
    with style():
        for plot in (predicted_plot, residual_plot):
            figure = plot(*numbers(20, k), [f"a target with a long name, number {i}" for i in range(k)])
            assert len(figure.axes) == shown
            assert ("4 of 9 targets" in figure.get_suptitle()) == (k == 9)
            assert_within_the_page(figure)


def test_many_samples_are_drawn_as_density() -> None:
    assert not predicted_plot(*numbers(MAX_POINTS, 1), ["t"]).axes[0].collections
    assert predicted_plot(*numbers(MAX_POINTS + 1, 1), ["t"]).axes[0].collections[0].get_array().sum() > 0
