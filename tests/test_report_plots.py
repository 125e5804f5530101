"""The pictures show what the numbers are: read back from the figures before they are saved, and from the files."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import RunFolderError
from nnbackprop.report import plots
from nnbackprop.report.canvas import legible, style
from nnbackprop.report.confusion import confusion_matrix
from nnbackprop.report.curves import curves, gradient_norms, spread
from nnbackprop.report.pictures import attack, confidence, first_layer, mosaic, wrongest

NAMES = ("accuracy", "confusion-matrix", "first-layer-weights", "gradient-norms", "loss", "wrongest-samples")


def row(epoch: int, **values: Any) -> dict[str, Any]:
    parts = ("train", "validation", "test")
    base = {f"{part}_{what}": None for part in parts for what in ("loss", "accuracy")}
    train = {"train_loss": 1 / epoch, "train_accuracy": 1 - 1 / epoch}
    return {"epoch": epoch, **base, **train, "gradient_norms": {"dense1": 2.0 / epoch, "dense2": 0.0}, **values}


def digits(n: int = 6) -> Dataset:
    inputs = np.arange(n * 6, dtype=np.uint8).reshape(n, 6)
    return Dataset(inputs, np.arange(n, dtype=np.int32) % 2, ("zero", "one"), image_shape=(2, 3))


def people() -> Dataset:
    return Dataset(np.array([[-2.0, -1.0], [25.0, 6.0]]), np.array([1, 0], np.int32), ("M", "F"))


def texts(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def shown(figure: Any) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


# Curves.


@pytest.mark.parametrize("epochs", [1, 5, 10_000])
def test_a_curve_is_its_rows_and_is_named_at_its_end(epochs: int) -> None:
    figure = curves([row(e, test_loss=3 / e) for e in range(1, epochs + 1)], "loss")
    train, test = figure.axes[0].get_lines()
    assert list(train.get_xdata()) == list(test.get_xdata()) == list(range(1, epochs + 1))
    assert list(train.get_ydata()) == [1 / e for e in range(1, epochs + 1)]
    assert list(test.get_ydata()) == [3 / e for e in range(1, epochs + 1)]
    ends = {1: ("1.0000", "3.0000"), 5: ("0.2000", "0.6000"), 10_000: ("1.00e-04", "3.00e-04")}[epochs]
    assert texts(figure) == [f"train {ends[0]}", f"test {ends[1]}"]


def test_a_single_epoch_is_a_dot() -> None:
    axes = curves([row(1)], "accuracy").axes[0]
    assert axes.get_lines()[0].get_marker() == "o"
    assert axes.get_xlim() == (0.5, 1.5)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 20, 10_000])
def test_epochs_are_marked_at_whole_numbers(epochs: int) -> None:
    axes = curves([row(e) for e in range(1, epochs + 1)], "loss").axes[0]
    assert all(tick == round(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize(("last", "scale"), [(0.05, "linear"), (0.01, "log"), (0.0, "linear")])
def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_scale(last: float, scale: str) -> None:
    assert curves([row(1), row(2, train_loss=last)], "loss").axes[0].get_yscale() == scale


def test_accuracies_are_marked_in_percent_up_to_a_hundred() -> None:
    axes = curves([row(1, train_accuracy=0.2), row(2, train_accuracy=1.0)], "accuracy").axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == "100%"
    assert texts(axes.figure) == ["train 100.00%"]


def test_labels_stand_at_the_height_of_their_lines_and_apart() -> None:
    rows = [row(1, test_loss=5.0, validation_loss=5.001), row(2, train_loss=0.0, test_loss=3, validation_loss=3)]
    axes = curves(rows, "loss").axes[0]
    low, high = axes.get_ylim()
    places = {text.get_text().split()[0]: text.xy[1] for text in axes.texts}
    assert places["train"] == pytest.approx((0 - low) / (high - low))
    assert min(places["validation"], places["test"]) == pytest.approx((3 - low) / (high - low))
    assert abs(places["validation"] - places["test"]) >= 1 / 16 - 1e-9


@pytest.mark.parametrize("places", [[0.0], [0.5, 0.5], [0.98, 0.99, 1.0], [0.0, 0.01, 0.99, 1.0], [0.5] * 40])
def test_labels_move_apart_and_stay_within_the_axes(places: list[float]) -> None:
    moved = spread(places, 1 / 16)
    gap = min(1 / 16, 1 / max(len(places) - 1, 1))
    assert np.diff(moved).min(initial=1.0) >= gap - 1e-9
    assert min(moved) >= -1e-9
    assert max(moved) <= 1 + 1e-9


def test_labels_that_are_apart_stay_where_they_are() -> None:
    assert spread([0.1, 0.5, 0.9], 1 / 16) == [0.1, 0.5, 0.9]


def test_values_that_are_missing_or_not_finite_are_gaps() -> None:
    rows = [row(1, train_loss=math.nan), row(2), row(3, train_loss=math.inf), row(4, train_loss=None)]
    figure = curves(rows, "loss")
    y = figure.axes[0].get_lines()[0].get_ydata()
    assert np.isnan(y).tolist() == [True, False, True, True]
    assert texts(figure) == ["train 0.5000"]


@pytest.mark.parametrize("values", [[], [math.nan], [None, math.inf]])
def test_no_value_at_all_is_said_in_words(values: list[float | None]) -> None:
    figure = curves([row(i + 1, train_loss=v) for i, v in enumerate(values)], "loss")
    assert texts(figure) == ["no finite value" if values else "no epoch was finished"]


def test_gradient_norms_are_on_a_logarithmic_scale_with_zero_as_a_gap() -> None:
    axes = gradient_norms([row(1), row(2)]).axes[0]
    first, second = axes.get_lines()
    assert axes.get_yscale() == "log"
    assert list(first.get_ydata()) == [2.0, 1.0]
    assert np.isnan(second.get_ydata()).all()
    assert texts(axes.figure) == ["dense1"]


def test_no_two_of_many_layers_look_alike() -> None:
    rows = [row(e, gradient_norms={f"dense{i}": 1.0 + i for i in range(20)}) for e in (1, 2)]
    lines = gradient_norms(rows).axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20


# The first layer.


def test_images_lie_side_by_side_row_by_row() -> None:
    images = np.arange(18.0).reshape(3, 2, 3)
    grid = mosaic(images, 2)
    assert grid.shape == (2 * 4, 2 * 5)
    assert np.array_equal(grid[1:3, 1:4], images[0])
    assert np.array_equal(grid[1:3, 6:9], images[1])
    assert np.array_equal(grid[5:7, 1:4], images[2])
    assert np.isfinite(grid).sum() == 18


def test_the_first_layer_shows_each_unit_upright_and_white_at_zero() -> None:
    weights = np.random.default_rng(0).standard_normal((6, 5))
    figure = first_layer(weights, (2, 3))
    grid = shown(figure)[0]
    assert np.array_equal(grid[1:3, 6:9], weights[:, 1].reshape(2, 3))
    assert np.array_equal(grid[5:7, 1:4], weights[:, 3].reshape(2, 3))
    limit = np.abs(weights).max()
    assert figure.axes[0].images[0].get_clim() == (-limit, limit)


def test_a_thousand_units_are_cut_to_64() -> None:
    figure = first_layer(np.ones((6, 1000)), (2, 3))
    assert np.isfinite(shown(figure)[0]).sum() == 64 * 6
    assert figure.get_suptitle().startswith("First-layer weights of 64 of 1,000 units")


def test_the_first_layer_of_no_image_is_one_heat_map_with_its_numbers() -> None:
    figure = first_layer(np.array([[1.5, -2.0], [0.0, 0.25]]), None)
    assert shown(figure)[0].tolist() == [[1.5, -2.0], [0.0, 0.25]]
    assert {text.get_position(): text.get_text() for text in figure.axes[0].texts} == {
        (0, 0): "1.5",
        (1, 0): "-2",
        (0, 1): "0",
        (1, 1): "0.25",
    }


def test_weights_all_zero_are_drawn() -> None:
    assert first_layer(np.zeros((6, 4)), (2, 3)).axes[0].images[0].get_clim() == (-1.0, 1.0)


# Who is taken for whom.


def test_the_confusion_matrix_has_counts_and_row_shares_where_they_belong() -> None:
    figure = confusion_matrix(np.array([[6, 2], [0, 10]]), ("a", "b"))
    places = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert places == {(0, 0): "6\n75.0%", (1, 0): "2\n25.0%", (1, 1): "10\n100.0%"}
    right, wrong = (np.ma.filled(image.get_array(), np.nan) for image in figure.axes[0].images)
    np.testing.assert_array_equal(right, [[0.75, np.nan], [np.nan, 1.0]])
    np.testing.assert_array_equal(wrong, [[np.nan, 0.25], [np.nan, np.nan]])
    assert figure.get_suptitle() == "88.89% right: 2 of 18 taken for another class"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_a_confusion_matrix_without_mistakes_or_without_samples_is_drawn() -> None:
    assert "100.00% right" in confusion_matrix(np.eye(3, dtype=int), "abc").get_suptitle()
    assert "0 of 0" in confusion_matrix(np.zeros((3, 3), int), "abc").get_suptitle()


def test_a_hundred_classes_have_no_counts_written_in_and_few_names() -> None:
    axes = confusion_matrix(np.eye(100, dtype=int), tuple(map(str, range(100)))).axes[0]
    assert len(axes.texts) == 0
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(i) for i in range(0, 100, 4)]


def test_names_the_font_cannot_write_become_numbers() -> None:
    assert legible(("Ankle boot", "お", "$x$", "é")) == ["Ankle boot", "1", "$x$", "é"]


def test_the_wrongest_samples_come_by_their_confidence() -> None:
    data = digits()
    predicted = np.array([0, 0, 1, 1, 0, 0], np.int32)  # wrong: samples 1, 2 and 5
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.7, 0.3], [0.95, 0.05]])
    figure = wrongest(data, predicted, probabilities)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == ["one → zero   95.00%", "zero → one   80.00%", "one → zero   60.00%"]
    for image, i in zip(shown(figure), (5, 2, 1), strict=True):
        assert np.array_equal(image, data.image(i))
    assert figure.get_suptitle() == "3 mistakes in 6 samples, the most confident first"


def test_sixteen_of_many_mistakes_are_shown() -> None:
    data = digits(40)
    predicted = 1 - data.labels
    figure = wrongest(data, predicted, np.eye(2)[predicted])
    assert len(shown(figure)) == 16
    assert figure.get_suptitle() == "The 16 most confident of 40 mistakes in 40 samples"


def test_a_single_output_is_the_probability_of_class_1() -> None:
    assert confidence(np.array([0, 1]), np.array([[0.2], [0.9]])).tolist() == [0.8, 0.9]


def test_no_mistakes_are_said_in_words() -> None:
    data = digits()
    figure = wrongest(data, data.labels, np.eye(2)[data.labels])
    assert figure.get_suptitle() == "None of the 6 samples is taken for another class"


def test_samples_that_are_no_images_are_listed() -> None:
    figure = wrongest(people(), np.array([0, 0]), np.array([[0.3], [0.1]]))
    assert [text.get_text() for text in figure.texts if text.get_family() == ["monospace"]] == [
        "F → M   70.00%  [-2. -1.]"
    ]


# An attack.


def test_an_attack_shows_clean_added_and_attacked() -> None:
    data = digits()
    clean = data.inputs.astype(float)
    moved = clean + 0.5
    after = np.where(np.arange(6) == 3, 0, data.labels).astype(np.int32)
    figure = attack(data, clean, moved, data.labels, after, 0.1)
    assert [a.ravel().tolist() for a in shown(figure)] == [clean[3].tolist(), [0.5] * 6, moved[3].tolist()]
    assert [axes.get_title() for axes in figure.axes] == ["one", "", "→ zero"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["clean", "added", "attacked"]
    low, high = figure.axes[1].images[0].get_clim()
    assert low == -high
    assert figure.get_suptitle() == "1 of 6 samples fooled by moving each input by 0.1 of its range"


def test_a_sample_mistaken_before_the_attack_was_not_fooled_by_it() -> None:
    data = digits()
    wrong = 1 - data.labels
    figure = attack(data, data.inputs, data.inputs, wrong, wrong, 0.1)
    assert figure.get_suptitle().startswith("0 of 6 samples fooled")


def test_an_attack_on_no_images_is_listed() -> None:
    data = people()
    figure = attack(data, data.inputs, data.inputs + 1, data.labels, 1 - data.labels, 0.1)
    lines = next(t.get_text() for t in figure.texts if t.get_family() == ["monospace"]).splitlines()
    assert [line.split("  ")[0] for line in lines if line[0] != " "] == ["F → M", "M → F"]
    assert [line[line.index("[") :] for line in lines] == ["[-2. -1.]", "[-1.  0.]", "[25.  6.]", "[26.  7.]"]


# Files.


@pytest.mark.parametrize("rows", [[], [row(1)], [row(e, test_accuracy=0.5) for e in range(1, 40)]])
def test_all_six_pictures_are_written(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    data = digits()
    args = np.ones((6, 3)), data, np.eye(2, dtype=int), data.labels, np.eye(2)[data.labels]
    plots.draw_all(tmp_path / "plots", rows, *args)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [f"{name}.png" for name in NAMES]
    for path in (tmp_path / "plots").iterdir():
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        pixels = imread(path)
        assert pixels.shape[1] > 600
        assert pixels[..., :3].min() < 0.5  # something is drawn
    assert imread(tmp_path / "plots" / "loss.png").shape[:2] == (4.5 * plots.DPI, 7.5 * plots.DPI)


def test_the_readers_own_settings_change_nothing_and_are_left_alone(tmp_path: Path) -> None:
    plots.draw_all(
        tmp_path, [row(1)], np.eye(6), digits(), np.eye(2, dtype=int), np.zeros(6, int), np.eye(2)[[0] * 6]
    )
    plain = (tmp_path / "loss.png").read_bytes()
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "black", "font.size": 30}):
        with style():
            plots.save(curves([row(1)], "loss"), tmp_path / "loss.png")
        assert mpl.rcParams["font.size"] == 30
    assert (tmp_path / "loss.png").read_bytes() == plain


def test_no_name_overflows_its_picture() -> None:
    long = tuple(f"a class with a long name {i}" for i in range(5))
    with style():
        figures = [
            curves([row(e, validation_loss=2 / e) for e in (1, 2)], "loss"),
            gradient_norms([row(e, gradient_norms={"a" * 30: 1.0}) for e in (1, 2)]),
            confusion_matrix(np.eye(5, dtype=int), long),
            first_layer(np.ones((6, 1)), (2, 3)),
        ]
        for figure in figures:
            figure.draw_without_rendering()
            box, page = figure.get_tightbbox(), figure.get_size_inches()
            assert box.x0 > -0.01
            assert box.y0 > -0.01
            assert box.x1 < page[0] + 0.01
            assert box.y1 < page[1] + 0.01


def test_matplotlib_waits_until_something_is_drawn_and_pyplot_for_ever(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from nnbackprop.report import plots\n"
        "from nnbackprop.data.dataset import Dataset\n"
        "assert 'matplotlib' not in sys.modules\n"
        "data = Dataset(np.zeros((2, 6)), np.zeros(2, np.int32), ('a', 'b'), (2, 3))\n"
        "plots.draw_all(__import__('pathlib').Path(sys.argv[1]), [], np.ones((6, 1)), data,"
        " np.eye(2, dtype=int), data.labels, np.ones((2, 2)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "loss.png").write_bytes(b"the old one")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunFolderError, match="No space left"):
        plots.save(curves([row(1)], "loss"), tmp_path / "loss.png")
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]
    assert (tmp_path / "loss.png").read_bytes() == b"the old one"
