"""The pictures show what the numbers are: read back from the figures before they are saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import RunFolderError
from nnbackprop.report import plots


def row(epoch: int, **values: Any) -> dict[str, Any]:
    base = {f"{part}_{what}": None for part in plots.PARTS for what in ("loss", "accuracy")}
    train = {"train_loss": 1 / epoch, "train_accuracy": 1 - 1 / epoch}
    return {"epoch": epoch, **base, **train, "gradient_norms": {"dense1": 2.0 / epoch, "dense2": 0.0}, **values}


def digits(n: int = 6) -> Dataset:
    inputs = np.arange(n * 6, dtype=np.uint8).reshape(n, 6)
    return Dataset(inputs, np.arange(n, dtype=np.int32) % 2, ("zero", "one"), image_shape=(2, 3))


def texts(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("epochs", [1, 5, 10_000])
def test_a_curve_is_its_rows_and_is_named_at_its_end(epochs: int) -> None:
    rows = [row(e, test_loss=3 / e) for e in range(1, epochs + 1)]
    figure = plots.curves(rows, "loss", "Loss")
    lines = figure.axes[0].get_lines()
    assert [np.array_equal(line.get_xdata(), np.arange(1, epochs + 1)) for line in lines] == [True, True]
    assert list(lines[0].get_ydata()) == [1 / e for e in range(1, epochs + 1)]
    assert list(lines[1].get_ydata()) == [3 / e for e in range(1, epochs + 1)]
    assert texts(figure) == [f"train {1 / epochs:.4g}", f"test {3 / epochs:.4g}"]


def test_labels_stand_at_the_height_of_their_lines_and_apart() -> None:
    rows = [
        row(1, test_loss=5.0, validation_loss=5.001),
        row(2, train_loss=0.0, test_loss=5.0, validation_loss=5.001),
    ]
    axes = plots.curves(rows, "loss", "Loss").axes[0]
    low, high = axes.get_ylim()
    places = {text.get_text().split()[0]: text.xy[1] for text in axes.texts}
    assert places["train"] == pytest.approx((0 - low) / (high - low))
    assert places["test"] == pytest.approx((5 - low) / (high - low), abs=1e-3)
    assert places["validation"] - places["test"] >= 1 / 16 - 1e-9


def test_values_that_are_missing_or_not_finite_are_gaps() -> None:
    rows = [row(1, train_loss=math.nan), row(2), row(3, train_loss=math.inf)]
    figure = plots.curves(rows, "loss", "Loss")
    assert np.isnan(figure.axes[0].get_lines()[0].get_ydata()[0])


def test_a_gradient_of_zero_is_a_gap_on_the_logarithmic_scale() -> None:
    axes = plots.gradient_norms([row(1), row(2)]).axes[0]
    first, second = axes.get_lines()
    assert axes.get_yscale() == "log"
    assert list(first.get_ydata()) == [2.0, 1.0]
    assert np.isnan(second.get_ydata()).all()


def test_first_layer_shows_each_unit_upright_and_white_at_zero() -> None:
    weights = np.random.default_rng(0).standard_normal((6, 5))
    panels = [axes for axes in plots.first_layer(weights, (2, 3)).axes if axes.images]
    assert len(panels) == 5
    for k, axes in enumerate(panels):
        image = axes.images[0]
        assert np.array_equal(image.get_array(), weights[:, k].reshape(2, 3))
        assert image.get_clim() == (-np.abs(weights[:, k]).max(), np.abs(weights[:, k]).max())


def test_first_layer_of_no_image_is_one_heat_map() -> None:
    figure = plots.first_layer(np.eye(2), None)
    assert np.array_equal(figure.axes[0].images[0].get_array(), np.eye(2))


def test_a_thousand_units_are_cut_to_64() -> None:
    figure = plots.first_layer(np.ones((6, 1000)), (2, 3))
    assert sum(bool(axes.images) for axes in figure.axes) == 64


def test_the_confusion_matrix_has_its_counts_where_they_belong() -> None:
    figure = plots.confusion_matrix(np.array([[8, 2], [0, 10]]), ("a", "b"))
    places = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert places == {(0, 0): "8", (1, 0): "2", (1, 1): "10"}
    assert figure.axes[0].images[0].get_array().tolist() == [[0.8, 0.2], [0.0, 1.0]]
    assert "90.00% right" in figure.axes[0].get_title(loc="left")


def test_a_hundred_classes_have_no_counts_written_in() -> None:
    figure = plots.confusion_matrix(np.eye(100, dtype=int), tuple(map(str, range(100))))
    assert len(figure.axes[0].texts) == 0


def test_the_wrongest_samples_come_by_their_confidence() -> None:
    data = digits()
    predicted = np.array([0, 0, 1, 1, 0, 0], np.int32)  # wrong: samples 1, 2 and 5
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.7, 0.3], [0.95, 0.05]])
    panels = [axes for axes in plots.wrongest(data, predicted, probabilities).axes if axes.images]
    assert [axes.get_title() for axes in panels] == [
        "one taken for zero, 95.00%",
        "zero taken for one, 80.00%",
        "one taken for zero, 60.00%",
    ]
    assert [
        np.array_equal(p.images[0].get_array(), data.image(i)) for p, i in zip(panels, (5, 2, 1), strict=True)
    ] == [True] * 3


def test_a_single_output_is_the_probability_of_class_1() -> None:
    assert plots.confidence(np.array([0, 1]), np.array([[0.2], [0.9]])).tolist() == [0.8, 0.9]


def test_no_mistakes_are_said_in_words() -> None:
    data = digits()
    figure = plots.wrongest(data, data.labels, np.eye(2)[data.labels])
    assert "None of the 6 samples" in figure.texts[0].get_text()


def test_samples_that_are_no_images_are_listed() -> None:
    data = Dataset(np.array([[-2.0, -1.0], [25.0, 6.0]]), np.array([1, 0], np.int32), ("M", "F"))
    figure = plots.wrongest(data, np.array([0, 0]), np.array([[0.3], [0.1]]))
    assert "[-2. -1.]   F taken for M, 70.00%" in figure.texts[0].get_text()


def test_an_attack_shows_before_difference_and_after() -> None:
    data = digits()
    clean = data.inputs.astype(float)
    moved = clean + 0.5
    after = np.where(np.arange(6) == 3, 0, data.labels).astype(np.int32)
    figure = plots.attack(data, clean, moved, data.labels, after, 0.1)
    panels = [axes for axes in figure.axes if axes.images]
    arrays = [np.asarray(axes.images[0].get_array()) for axes in panels]
    assert [a.ravel().tolist() for a in arrays] == [clean[3].tolist(), [0.5] * 6, moved[3].tolist()]
    assert panels[0].get_title() == "one → zero"


@pytest.mark.parametrize("rows", [[], [row(1)], [row(e, test_accuracy=None) for e in range(1, 40)]])
def test_all_six_pictures_are_written(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    data = digits()
    args = np.ones((6, 3)), data, np.eye(2, dtype=int), data.labels, np.eye(2)[data.labels]
    plots.draw_all(tmp_path / "plots", rows, *args)
    pictures = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert pictures == [
        "accuracy.png",
        "confusion-matrix.png",
        "first-layer-weights.png",
        "gradient-norms.png",
        "loss.png",
        "wrongest-samples.png",
    ]
    for path in (tmp_path / "plots").iterdir():
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 100
        assert pixels[..., :3].min() < 0.9  # something is drawn


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunFolderError, match="No space left"):
        plots.save(plots.curves([row(1)], "loss", "Loss"), tmp_path / "loss.png")
    assert list(tmp_path.iterdir()) == []
