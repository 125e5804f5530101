"""The process that draws a run's plots: what the run's own does not import, and that no end of it fails a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data.dataset import Dataset
from nnbackprop.report import plot_process
from nnbackprop.report.plot_process import Mistakes, PlotData, most_wrong
from tests.support.commands import run, said
from tests.support.plot_rows import metrics_row, small_images

SMALL_RUN = "train", "weight-height", "--epochs", "2", "--runs-dir"


def test_a_small_run_is_drawn_and_imports_no_matplotlib_numba_jax_or_gradcheck(tmp_path: Path) -> None:
    code = (
        "import json, sys\n"
        "from nnbackprop.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(json.dumps(list(sys.modules)))\n"
    )
    words = [*SMALL_RUN, str(tmp_path), "--progress", "off"]
    output = subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.PIPE).stdout
    imported = set(json.loads(output.splitlines()[-1]))
    assert "nnbackprop.report.plot_process" in imported
    heavy = {"matplotlib", "numba", "jax", "torch", "cupy", "nnbackprop.diagnostics.gradcheck"}
    assert imported & heavy == set()
    plots = {path.name for path in (tmp_path / "weight-height" / "plots").iterdir()}
    assert plots == {"loss.png", "accuracy.png", "gradient-norms.png", "confusion-matrix.png"}


KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(
            KILLED,
            "The plots could not be drawn: their process was ended by SIGKILL.",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
        ),
        (
            "import sys; sys.stdin.buffer.read(); raise MemoryError('no memory')",
            "The plots could not be drawn: their process ended with status 1: MemoryError: no memory.",
        ),
        ("import os; os._exit(3)", "The plots could not be drawn: their process ended with status 3: no message."),
    ],
    ids=["killed", "raises", "exits"],
)
def test_a_finished_run_survives_the_end_of_the_plots_process(
    command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plot_process, "COMMAND", command)
    assert run(*SMALL_RUN, str(tmp_path)) == 0
    assert message in said(capsys)
    assert json.loads((tmp_path / "weight-height" / "summary.json").read_text(encoding="utf-8"))["epochs"] == 2
    assert not (tmp_path / "weight-height" / "plots").exists()


def test_a_finished_run_survives_a_plots_process_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert run(*SMALL_RUN, str(tmp_path)) == 0
    assert "The plots could not be drawn: [Errno 2] No such file" in said(capsys)


def test_predictions_that_do_not_fit_in_memory_are_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 745 GiB")

    monkeypatch.setattr("nnbackprop.training.trainer.Trainer.predict_proba_or_values", fail)
    assert run(*SMALL_RUN, str(tmp_path)) == 0
    assert "The plots could not be drawn: Unable to allocate 745 GiB" in said(capsys)


def test_of_the_samples_only_the_mistakes_shown_are_sent() -> None:
    data = small_images(1000)
    wrong = 1 - data.targets
    drawn = PlotData.of([metrics_row(1)], None, data, wrong, np.eye(2)[wrong])
    assert drawn.mistakes is not None
    assert drawn.mistakes.images.shape == (16, 2, 3)
    assert (drawn.mistakes.wrong, drawn.mistakes.samples) == (1000, 1000)


def test_a_single_output_is_the_probability_of_class_1() -> None:
    data = small_images(4)
    predicted = np.array([1, 0, 1, 0], np.int32)
    mistakes = Mistakes.of(data, predicted, np.array([[0.9], [0.2], [0.7], [0.4]]))
    right = data.targets == predicted
    expected = np.sort(np.array([0.9, 0.8, 0.7, 0.6])[~right])[::-1]
    np.testing.assert_allclose(mistakes.confidence, expected)


def test_the_most_wrong_is_the_surest_mistake_or_else_the_least_sure_sample() -> None:
    data = small_images(4)  # of classes 0, 1, 0, 1
    probabilities = np.array([[0.4, 0.6], [0.8, 0.2], [0.9, 0.1], [0.45, 0.55]])
    assert most_wrong(data, np.array([1, 0, 0, 1]), probabilities) == 1
    assert most_wrong(data, data.targets, probabilities[[2, 0, 2, 3]]) == 3


@pytest.mark.parametrize("classes", [(), ("ä", "two\nlines")], ids=["numbers", "classes"])
def test_plot_data_comes_back_from_bytes(classes: tuple[str, ...]) -> None:
    images = small_images()
    data = Dataset(images.inputs, images.targets if classes else np.ones((6, 1)), classes, (2, 3))
    rows = [metrics_row(1, train_loss=float("inf"))]
    weights = np.random.default_rng(0).standard_normal((6, 5)).T.reshape(5, 2, 3)
    predicted = 1 - images.targets if classes else np.zeros((6, 1))
    drawn = PlotData.of(rows, weights, data, predicted, np.full((6, 2), 0.5))
    back = PlotData.from_bytes(drawn.to_bytes())
    assert (back.rows, tuple(back.classes)) == (rows, classes)
    assert (back.mistakes is None) == (back.extremes is None) == (drawn.mistakes is None) == (not classes)
    for one, other in (
        (drawn, back),
        (drawn.mistakes, back.mistakes),
        (drawn.extremes, back.extremes),
    ):
        for name, value in vars(one).items() if one else ():
            if isinstance(value, np.ndarray):
                found = getattr(other, name)
                assert found.dtype == value.dtype
                np.testing.assert_array_equal(found, value)
