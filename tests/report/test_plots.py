"""Plots of weights, samples and mistakes, read back from the figures before they are saved; and their files."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import RunFolderError
from nnbackprop.report import plots
from nnbackprop.report.confusion_plot import confusion_by_epoch, confusion_history, most_confused_pairs
from nnbackprop.report.curves import gradient_norms, learning_curves
from nnbackprop.report.plot_process import Mistakes, PlotData, Predictions
from nnbackprop.report.plots import (
    attack_plot,
    calibration_plot,
    confusion_plot,
    draw_all,
    first_layer_plot,
    misclassified_plot,
    most_confused,
    surest_plot,
)
from nnbackprop.report.prediction_metrics import calibration
from nnbackprop.report.style import DPI, draw, printable, save, style
from nnbackprop.runs.saved_model import Attack
from tests.support.plot_rows import drawn_images, metrics_row, small_images

NAMES = (
    *("accuracy", "calibration", "confusion-matrix", "first-layer-weights", "gradient-norms", "loss"),
    *("surest-samples", "wrongest-samples"),
)


def text_lines(figure: Any) -> list[str]:
    """The lines of a figure of text."""
    return next(text.get_text() for text in figure.texts if text.get_family() == ["monospace"]).splitlines()


def assert_within_the_page(figure: Any) -> None:
    figure.draw_without_rendering()
    box, page = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 > -0.01
    assert box.y0 > -0.01
    assert box.x1 < page[0] + 0.01
    assert box.y1 < page[1] + 0.01


# The first layer.


def test_the_first_layer_has_an_upright_image_for_each_unit() -> None:
    weights = np.random.default_rng(0).standard_normal((6, 5))
    figure = first_layer_plot(weights.T.reshape(5, 2, 3))
    grid = drawn_images(figure)[0]
    assert grid.shape == (2 * 14, 3 * 20)  # magnified six times, with a line of space around each
    assert np.array_equal(grid[1:13:6, 21:39:6], weights[:, 1].reshape(2, 3))
    assert np.array_equal(grid[15:27:6, 1:19:6], weights[:, 3].reshape(2, 3))
    assert np.isfinite(grid).sum() == 5 * 6 * 36
    limit = np.abs(weights).max()
    assert figure.axes[0].images[0].get_clim() == (-limit, limit)


def test_a_thousand_units_are_cut_to_64_and_zeros_are_drawn() -> None:
    figure = first_layer_plot(np.ones((1000, 2, 3)))
    assert np.isfinite(drawn_images(figure)[0]).sum() == 64 * 6 * 36
    assert figure.get_suptitle().startswith("First-layer weights of 64 of 1,000 units")
    zero = first_layer_plot(np.zeros((4, 2, 3)))
    assert zero.axes[0].images[0].get_clim() == (-1.0, 1.0)


# The confusion matrix.


def test_confusion_by_epoch_has_each_class_and_the_pairs_confused_most_at_the_end() -> None:
    counts = np.array([[[5, 5, 0], [0, 8, 0], [0, 0, 0]], [[9, 0, 1], [2, 6, 0], [0, 0, 0]]])
    rows = [{"epoch": 4}, *({"epoch": 5 + i, "confusion": c.tolist()} for i, c in enumerate(counts))]
    found = confusion_history(rows, 3)
    assert found is not None
    wrong, pairs = drawn_images(confusion_by_epoch(*found, ("a", "b", "c")))
    np.testing.assert_allclose(wrong, [[0.5, 0.1], [0.0, 0.25], [np.nan, np.nan]])  # there is no sample of c
    assert most_confused_pairs(counts) == [(0, 1), (1, 0), (0, 2)]  # 5 / 2, 2 and 1 mistakes
    np.testing.assert_allclose(pairs, [[0.5, 0.0], [0.0, 0.25], [0.0, 0.1]])
    assert confusion_history(rows[:2], 3) is None
    assert confusion_history(rows, 4) is None


def test_confusion_by_epoch_without_mistakes_is_drawn() -> None:
    figure = confusion_by_epoch([1, 2], np.stack([np.eye(2, dtype=int)] * 2), ("a", "b"))
    assert len(figure.axes) == 1
    assert_within_the_page(figure)


def test_the_confusion_matrix_has_counts_and_row_shares_where_they_belong() -> None:
    targets, predicted = np.array([0] * 8 + [1] * 10), np.array([0] * 6 + [1] * 12)
    figure = confusion_plot(targets, predicted, ("a", "b"))
    places = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert places == {(0, 0): "6\n75.0%", (1, 0): "2\n25.0%", (1, 1): "10\n100.0%"}
    right, wrong = (np.ma.filled(image.get_array(), np.nan) for image in figure.axes[0].images)
    np.testing.assert_array_equal(right, [[0.75, np.nan], [np.nan, 1.0]])
    np.testing.assert_array_equal(wrong, [[np.nan, 0.25], [np.nan, np.nan]])
    assert figure.get_suptitle() == "Accuracy 88.89%: 2 of 18 misclassified"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_a_confusion_matrix_without_mistakes_or_without_samples_is_drawn() -> None:
    one_each, none = np.arange(3), np.zeros(0, np.int64)
    assert "Accuracy 100.00%" in confusion_plot(one_each, one_each, "abc").get_suptitle()
    assert "0 of 0" in confusion_plot(none, none, "abc").get_suptitle()


def test_a_hundred_classes_have_no_counts_written_in_and_few_names() -> None:
    axes = confusion_plot(np.arange(100), np.arange(100), tuple(map(str, range(100)))).axes[0]
    assert len(axes.texts) == 0
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(i) for i in range(0, 100, 4)]


def test_ten_thousand_classes_are_a_list_of_the_most_confused_pairs() -> None:
    """No array of 10,000 x 10,000, which alone would be 800 MB."""
    classes = tuple(f"c{i}" for i in range(10_000))
    targets = np.repeat(np.arange(10_000, dtype=np.int32), 2)
    predicted = targets.copy()
    predicted[[0, 1, 7]] = 4242, 4242, 17  # class 0 twice, class 3 once
    tracemalloc.start()
    figure = confusion_plot(targets, predicted, classes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25
    assert [line.split() for line in text_lines(figure)[1:]] == [
        ["c0", "c4242", "2", "100.00%"],
        ["c3", "c17", "1", "50.00%"],
    ]
    assert figure.get_suptitle() == "Accuracy 99.98%: 3 of 20,000 misclassified"
    assert len(most_confused(targets, (targets + 1) % 10_000, classes)) == 1 + 25  # as many as there is room for


def test_names_the_font_cannot_write_become_numbers() -> None:
    assert printable(("Ankle boot", "お", "$x$", "é")) == ["Ankle boot", "1", "$x$", "é"]


def test_mistakes_are_in_the_order_of_their_confidence() -> None:
    data = small_images()
    predicted = np.array([0, 0, 1, 1, 0, 0], np.int32)  # wrong: samples 1, 2 and 5
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.7, 0.3], [0.95, 0.05]])
    figure = misclassified_plot(Mistakes.of(data, predicted, probabilities), data.classes)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == ["one → zero   95.00%", "zero → one   80.00%", "one → zero   60.00%"]
    for image, i in zip(drawn_images(figure), (5, 2, 1), strict=True):
        assert np.array_equal(image, data.image(i))
    assert figure.get_suptitle() == "3 mistakes in 6 samples, the most confident first"


@pytest.mark.parametrize(
    ("predicted", "images", "title"),
    [
        (lambda t: 1 - t, 16, "The 16 most confident of 40 mistakes in 40 samples"),
        (lambda t: t, 0, "None of the 40 samples is misclassified"),
    ],
)
def test_at_most_sixteen_mistakes_are_shown(
    predicted: Callable[[np.ndarray], np.ndarray], images: int, title: str
) -> None:
    data = small_images(40)
    classes = predicted(data.targets)
    figure = misclassified_plot(Mistakes.of(data, classes, np.eye(2)[classes]), data.classes)
    assert len(drawn_images(figure)) == images
    assert figure.get_suptitle() == title


def test_the_surest_come_first_and_the_least_sure_last() -> None:
    data = small_images(40)
    confidence = np.random.default_rng(0).permutation(40) / 80 + 0.5
    predicted = data.targets.copy()
    predicted[np.argmax(confidence)] = 1 - predicted[np.argmax(confidence)]
    figure = surest_plot(Predictions.extremes_of(data, predicted, confidence), data.classes)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    order = np.argsort(-confidence)
    shown = [*order[:8], *order[-8:]]
    assert [title.split()[-1] for title in titles] == [f"{100 * confidence[i]:.2f}%" for i in shown]
    assert "→" in titles[0]
    assert not any("→" in title for title in titles[1:])
    assert all(np.array_equal(image, data.image(i)) for image, i in zip(drawn_images(figure), shown, strict=True))
    assert figure.get_suptitle() == "The 8 surest predictions, then the 8 least sure"


def test_of_few_samples_none_is_shown_twice() -> None:
    data = small_images(5)
    extremes = Predictions.extremes_of(data, data.targets, np.array([0.5, 0.9, 0.6, 0.8, 0.7]))
    assert extremes.confidence.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5]


# An attack.


def attacked(data: Dataset, moved: np.ndarray, before: np.ndarray, after: np.ndarray) -> Any:
    """The figure of an attack of 0.1."""
    return attack_plot(data, Attack(data.inputs.astype(float), moved, before, after, 1.0, 0.0), 0.1)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)], ids=["grey", "colour"])
def test_an_attack_shows_clean_added_and_attacked(
    shape: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    inputs = np.arange(6 * math.prod(shape), dtype=np.uint8).reshape(6, -1)
    data = Dataset(inputs, np.arange(6, dtype=np.int32) % 2, ("zero", "one"), image_shape=shape)
    clean = data.inputs.astype(float)
    moved = clean + 0.5
    after = np.where(np.arange(6) == 3, 0, data.targets).astype(np.int32)
    figure = attacked(data, moved, data.targets, after)
    want = [clean[3], np.full_like(clean[3], 0.5), moved[3]]
    if (
        len(shape) == 3
    ):  # colours in 0..1 of the clean ones' range; what is added is 5/16 lighter than the grey of 0
        first, last = ((x - clean[3].min()) / np.ptp(clean[3]) for x in (clean[3], moved[3]))
        want = [first, np.full_like(first, 0.5 + 5 / 16), last.clip(0, 1)]
    for image, values in zip(drawn_images(figure), want, strict=True):
        np.testing.assert_allclose(image, values.reshape(shape), rtol=1e-15)
    assert not caplog.records  # matplotlib's of colours beyond 1
    assert [axes.get_title() for axes in figure.axes] == ["one", "", "→ zero"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["clean", "added", "attacked"]
    low, high = figure.axes[1].images[0].get_clim()
    assert low == -high
    assert figure.get_suptitle() == "1 of 6 samples fooled by moving each input by 0.1 of its range"
    wrong = 1 - data.targets  # before the attack too: not fooled by it
    assert attacked(data, moved, wrong, wrong).get_suptitle().startswith("0 of 6 samples fooled")


# Files.


@pytest.mark.parametrize("rows", [[], [metrics_row(1)], [metrics_row(e, test_accuracy=0.5) for e in range(1, 40)]])
def test_all_plots_of_images_are_written(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    data = small_images()
    predicted = np.where(np.arange(6) == 3, 0, data.targets)
    args = np.ones((3, 2, 3)), data, predicted, np.eye(2)[predicted]
    assert draw_all(tmp_path / "plots", PlotData.of(rows, *args)) == []
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [f"{name}.png" for name in NAMES]
    for path in (tmp_path / "plots").iterdir():
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        pixels = imread(path)
        assert pixels.shape[1] > 600
        assert pixels[80:, :, :3].min() < 0.5  # something is drawn below the title
    assert imread(tmp_path / "plots" / "loss.png").shape[:2] == (4.5 * DPI, 7.5 * DPI)


def test_the_users_matplotlibrc_changes_nothing_and_is_left_alone(tmp_path: Path) -> None:
    zeros = np.zeros(6, int)
    draw_all(tmp_path, PlotData.of([metrics_row(1)], np.eye(6), small_images(), zeros, np.eye(2)[zeros]))
    plain = (tmp_path / "loss.png").read_bytes()
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "black", "font.size": 30}):
        with style():
            save(learning_curves([metrics_row(1)], "loss"), tmp_path / "loss.png")
        assert mpl.rcParams["font.size"] == 30
    assert (tmp_path / "loss.png").read_bytes() == plain


def test_no_name_overflows_its_plot() -> None:
    long = tuple(f"a class with a long name {i}" for i in range(5))
    with style():
        figures = [
            learning_curves([metrics_row(e, validation_loss=2 / e) for e in (1, 2)], "loss"),
            gradient_norms([metrics_row(e, gradient_norms={"a" * 30: 1.0}) for e in (1, 2)]),
            confusion_plot(np.arange(5), np.arange(5), long),
            first_layer_plot(np.ones((1, 2, 3))),
        ]
        for figure in figures:
            assert_within_the_page(figure)


def test_long_names_under_images_do_not_overlap() -> None:
    names = ("T-shirt/top with a long name", "Ankle boot, left and right")
    inputs = np.arange(120, dtype=np.uint8).reshape(20, 6)
    data = Dataset(inputs, np.arange(20, dtype=np.int32) % 2, names, image_shape=(2, 3))
    wrong = 1 - data.targets
    with style():
        for figure in (
            misclassified_plot(Mistakes.of(data, wrong, np.eye(2)[wrong]), names),
            attacked(data, inputs + 1, data.targets, wrong),
        ):
            figure.draw_without_rendering()
            boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
            assert len(boxes) >= 16
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
            assert_within_the_page(figure)


def test_no_pyplot_for_plots(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from nnbackprop.report.plots import PlotData, draw_all\n"
        "from nnbackprop.data.dataset import Dataset\n"
        "data = Dataset(np.zeros((2, 6)), np.zeros(2, np.int32), ('a', 'b'), (2, 3))\n"
        "drawn = PlotData.of([], np.ones((1, 2, 3)), data, data.targets, np.ones((2, 2)))\n"
        "assert not draw_all(Path(sys.argv[1]), drawn)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


TABLE = np.ones((4, 3))


@pytest.mark.parametrize(
    ("data", "metrics", "names"),
    [
        (
            Dataset(TABLE, np.ones((4, 1), np.float32)),
            ["rmse"],
            ["gradient-norms", "loss", "predicted-against-true", "residuals", "rmse"],
        ),
        (
            Dataset(TABLE, np.array([0, 1, 0, 1], np.int32), ("M", "F")),
            ["accuracy"],
            ["accuracy", "calibration", "confusion-matrix", "gradient-norms", "loss"],
        ),
    ],
    ids=["regression", "classes"],
)
def test_a_table_has_no_plots_of_images(
    data: Dataset, metrics: list[str], names: list[str], tmp_path: Path
) -> None:
    rows = [{k: v for k, v in metrics_row(e).items() if "accuracy" not in k} for e in (1, 2)]
    rows = [{**r, **{f"train_{name}": 0.5 for name in metrics}} for r in rows]
    predicted, outputs = (data.targets, np.eye(2)[data.targets]) if data.classes else (np.ones((4, 1)),) * 2
    assert draw_all(tmp_path, PlotData.of(rows, None, data, predicted, outputs)) == []
    assert sorted(path.stem for path in tmp_path.iterdir()) == names


def test_a_plot_that_fails_is_a_message_and_the_others_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 745 GiB")

    monkeypatch.setattr(plots, "first_layer_plot", fail)
    data = small_images()
    drawn = PlotData.of([metrics_row(1)], np.ones((6, 2, 3)), data, data.targets, np.eye(2)[data.targets])
    failed = draw_all(tmp_path, drawn)
    assert failed == [
        "The plot first-layer-weights.png could not be drawn: MemoryError: Unable to allocate 745 GiB"
    ]
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted({*NAMES} - {"first-layer-weights"})


def test_a_plots_folder_is_made_and_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "no" / "such" / "a.png", learning_curves, [metrics_row(1)], "loss")
    assert imread(tmp_path / "no" / "such" / "a.png").shape[:2] == (4.5 * DPI, 7.5 * DPI)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"a\.png could not be written .*: see that its folder is there"):
        draw(tmp_path / "file" / "a.png", learning_curves, [metrics_row(1)], "loss")


def test_a_plot_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "loss.png").write_bytes(b"the old one")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunFolderError, match="No space left"):
        save(learning_curves([metrics_row(1)], "loss"), tmp_path / "loss.png")
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]
    assert (tmp_path / "loss.png").read_bytes() == b"the old one"


def test_a_calibration_plot_has_a_point_for_each_bin_that_is_not_empty() -> None:
    right, confidence = np.array([True, False, True, True]), np.array([0.9, 0.9, 0.6, 0.6])
    figure = calibration_plot(calibration(right, confidence))
    np.testing.assert_allclose(figure.axes[0].lines[1].get_xydata(), [[0.6, 1], [0.9, 0.5]])
    assert figure.get_suptitle() == "Calibration: expected error 0.4000"


def test_outputs_that_are_no_probabilities_have_no_calibration(tmp_path: Path) -> None:
    data = small_images()
    drawn = PlotData.of([metrics_row(1)], None, data, data.targets, np.eye(2)[data.targets], calibrated=False)
    assert draw_all(tmp_path, drawn) == []
    assert {path.stem for path in tmp_path.iterdir()} == {*NAMES} - {
        "calibration",
        "first-layer-weights",
        "surest-samples",
    }
