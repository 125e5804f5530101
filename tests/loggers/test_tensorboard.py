"""TensorBoard's own reader gets back what was logged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backends import Backend
from nnbackprop.data.dataset import Dataset
from nnbackprop.loggers.tensorboard import TensorBoardLogger
from nnbackprop.nn.layers import BatchNorm, Dense, ReLU
from nnbackprop.nn.losses import MeanSquaredError
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import draw_no_plots, run
from tests.support.small_runs import EveryStep, assert_equal_state, clouds, make_trainer

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
)


def read(log_dir: Path) -> Any:
    found = accumulator.EventAccumulator(str(log_dir), size_guidance={"histograms": 0, "scalars": 0, "images": 0})
    return found.Reload()


def scalars(log_dir: Path, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in read(log_dir).Scalars(tag)}


def digits(n: int = 30) -> Dataset:
    """Images of 4 x 5, two classes."""
    labels = (np.arange(n) % 2).astype(np.int32)
    images = np.random.default_rng(0).integers(0, 100, (n, 4, 5)) + 100 * labels[:, None, None]
    return Dataset(images.reshape(n, 20).astype(np.uint8), labels, ("a", "b"), (4, 5))


def test_scalars_are_those_of_chunks_and_epochs(tmp_path: Path, backend: Backend) -> None:
    """To float32, which event files have; steps are counted from the run's beginning."""
    trainer = make_trainer(backend, callbacks=[EveryStep(), TensorBoardLogger(tmp_path)])
    rows = trainer.fit(clouds(), test=clouds(seed=1))
    assert scalars(tmp_path, "loss/train") == pytest.approx({row.step: row.train.loss for row in rows}, rel=1e-6)
    assert scalars(tmp_path, "epoch") == {3: 1, 6: 2, 9: 3, 12: 4}
    tests = {row.step: row.test.accuracy for row in rows if row.test}
    assert scalars(tmp_path, "accuracy/test") == pytest.approx(tests, rel=1e-6)
    norms = {row.step: row.gradient_norms["dense1"] for row in rows}
    assert scalars(tmp_path, "gradient_norm/dense1") == pytest.approx(norms, rel=1e-6)
    assert list(scalars(tmp_path, "loss/chunk")) == list(range(1, 13))
    assert list(scalars(tmp_path, "lr").values()) == pytest.approx([0.05] * 12)


def test_histograms_are_those_of_the_weights_after_an_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(epochs=1, callbacks=[TensorBoardLogger(tmp_path)])
    trainer.fit(clouds())
    found = read(tmp_path)
    assert set(found.Tags()["histograms"]) == {
        f"{kind}/{layer}/{name}"
        for kind in ("weights", "gradients")
        for layer in ("dense1", "dense2")
        for name in "Wb"
    }
    (weights,) = found.Histograms("weights/dense1/W")
    W = trainer.host_params()[0]["W"]
    got = weights.histogram_value
    assert (weights.step, got.num, got.min, got.max) == (3, W.size, W.min(), W.max())
    assert (got.sum, got.sum_squares) == (pytest.approx(W.sum()), pytest.approx((W**2).sum()))
    assert np.sum(got.bucket) == W.size


def test_the_logged_gradient_is_that_of_the_first_step(tmp_path: Path) -> None:
    """Its norm over a layer is the one that the trainer records at the end of a chunk of one step."""

    class FirstNorms(EveryStep):
        norms: dict[str, float] = {}  # noqa: RUF012

        def chunk_end(self, trainer: Any, event: Any) -> None:
            if event.step == 1:
                self.norms.update(event.gradient_norms)

    first = FirstNorms()
    make_trainer(epochs=1, callbacks=[first, TensorBoardLogger(tmp_path)]).fit(clouds())
    found = read(tmp_path)
    for layer, norm in first.norms.items():
        squares = [found.Histograms(f"gradients/{layer}/{name}")[0].histogram_value.sum_squares for name in "Wb"]
        assert np.sqrt(sum(squares)) == pytest.approx(norm, rel=1e-12)


def test_a_logged_run_has_the_bits_of_one_that_is_not(tmp_path: Path, backend: Backend) -> None:
    logged, plain = (make_trainer(backend, callbacks=c) for c in ([TensorBoardLogger(tmp_path, clouds())], []))
    for trainer in (logged, plain):
        trainer.fit(clouds(), test=clouds(seed=1))
    assert_equal_state(logged, plain)


def test_images_are_the_first_layers_weights_and_the_confusion_matrix(tmp_path: Path) -> None:
    data = digits()
    trainer = make_trainer(
        network=Sequential(Dense(6), Dense(2)), lr=1e-3, epochs=1, callbacks=[TensorBoardLogger(tmp_path, data)]
    )
    trainer.fit(data)
    found = read(tmp_path)
    assert set(found.Tags()["images"]) == {"first_layer_weights", "confusion_matrix"}
    for tag in found.Tags()["images"]:
        (image,) = found.Images(tag)
        picture = Image.open(io.BytesIO(image.encoded_image_string))
        assert picture.size == (image.width, image.height)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_nested_layers_running_statistics_and_regression_are_logged(tmp_path: Path) -> None:
    """Statistics have histograms, and no gradients; a data set without classes and images has no pictures."""
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((24, 3)), rng.standard_normal((24, 1)))
    network = Sequential(Dense(3), Residual(Dense(3), BatchNorm(), ReLU()), Dense(1))
    options = {"network": network, "loss": MeanSquaredError(), "epochs": 1, "batch_size": 8}
    make_trainer(**options, callbacks=[TensorBoardLogger(tmp_path, data)]).fit(data)
    tags = read(tmp_path).Tags()
    assert not tags["images"]
    assert {tag for tag in tags["histograms"] if "mean" in tag and tag.startswith("weights/")}
    assert not {tag for tag in tags["histograms"] if "mean" in tag and tag.startswith("gradients/")}


def test_long_runs_have_about_100_histograms_of_a_tensor(tmp_path: Path) -> None:
    trainer = make_trainer(batch_size=None, epochs=250, callbacks=[TensorBoardLogger(tmp_path)])
    trainer.fit(clouds())
    steps = [event.step for event in read(tmp_path).Histograms("weights/dense1/W")]
    assert steps == [1, *range(3, 250, 3), 250]


def test_steps_that_a_resumed_run_makes_again_are_shown_once(tmp_path: Path) -> None:
    """Killed after 4 epochs, resumed from a state after 2: the reader drops what the first file has beyond."""
    first = make_trainer(epochs=2, callbacks=[TensorBoardLogger(tmp_path)])
    first.fit(clouds())
    saved = first.state_dict()
    first.set_options(epochs=4)
    first.fit(clouds())
    resumed = make_trainer(epochs=4, lr=1e-3, callbacks=[TensorBoardLogger(tmp_path)])
    resumed.initialize(clouds())
    resumed.load_state_dict(saved)
    rows = resumed.fit(clouds())
    events = [(event.step, event.value) for event in read(tmp_path).Scalars("loss/train")]
    assert [step for step, _ in events] == [3, 6, 9, 12]
    assert [value for _, value in events[2:]] == pytest.approx([row.train.loss for row in rows], rel=1e-6)


def test_hyperparameters_are_the_configuration_of_the_run(
    two_clouds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    draw_no_plots(monkeypatch)
    words = (
        "--data",
        "two.npz",
        "--validation",
        "0",
        "--hidden",
        "4",
        "3",
        "--epochs",
        "2",
        "--lr",
        "0.25",
        "--progress",
        "off",
    )
    assert run("train", *words, "--log", "tensorboard", "--name", "a", "--backend", "numpy") == 0
    found = read(Path("runs/a"))
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["lr"].number_value == 0.25
    assert hparams["hidden"].string_value == "4 3"
    assert hparams["optimizer"].string_value == "adam"
    rows = RunDir(Path("runs/a")).read_metrics()
    logged = scalars(Path("runs/a"), "loss/test")
    assert logged == pytest.approx({row["step"]: row["test_loss"] for row in rows}, rel=1e-6)
    assert "confusion_matrix" in found.Tags()["images"]
