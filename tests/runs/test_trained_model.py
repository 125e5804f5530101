"""A trained network out of its run folder: the classes it predicts and the inputs it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends import leaves
from nnbackprop import TrainedModel
from nnbackprop.data.readers.paths import read_table
from nnbackprop.data.table import DataOptions
from nnbackprop.errors import DataError, InputError
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.image_samples import read_image
from nnbackprop.runs.samples import rows_of_numbers
from nnbackprop.runs.train import start
from nnbackprop.runs.trainer_checkpoint import read_scaling
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import EpochEnd
from nnbackprop.training.trainer import Trainer
from tests.support.commands import run

pytestmark = pytest.mark.usefixtures("two_clouds")

TRAIN = [
    "train",
    "mnist-original",
    "--data",
    "two.npz",
    "--hidden",
    "8",
    "--dropout",
    "0",
    "--name",
    "a",
    "--progress",
    "off",
]


@pytest.mark.parametrize(
    "flags",
    [
        ["--loss", "mse", "--output-activation", "tanh", "--target-values", "-1", "1", "--n-outputs", "1"],
        ["--loss", "binary-cross-entropy", "--n-outputs", "1"],
        ["--loss", "mse", "--output-activation", "sigmoid"],
    ],
)
def test_predictions_are_those_of_the_test_accuracy(flags: list[str]) -> None:
    """One output decides by the middle of its two targets, or of its probability."""
    assert run(*TRAIN, "--epochs", "200", "--test-fraction", "0.5", *flags) == 0
    assert json.loads(Path("runs/a/summary.json").read_text(encoding="utf-8"))["test_accuracy"] == 1.0
    model = TrainedModel.open("a")
    data = model.data()
    assert np.array_equal(model.predict(data.inputs), data.targets)


class InterruptedAfter2Epochs(Callback):
    """Stops a run as Ctrl-C does."""

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        if event.epoch == 2:
            trainer.stop("interrupted")


def test_an_interrupted_run_opens_with_its_moving_average() -> None:
    """The loss is that of its row in metrics.jsonl, and of the trainer."""
    settings = {"data": "two.npz", "hidden": (8,), "ema": 0.99, "lr": 0.5, "dtype": "float64", "epochs": 9}
    with start(resolve("mnist-original", {"dropout": (), "name": "a", **settings})) as started:
        assert started.fit([InterruptedAfter2Epochs()]) is None
        average, trained = started.trainer.host_params(), started.trainer.state_dict()["params"]
    assert not started.run_dir.checkpoint_path("best").exists()
    model = TrainedModel.open("a")
    for found, want, other in zip(*map(leaves, (model.host_params(), average, trained)), strict=True):
        assert np.array_equal(found, want)
        assert not np.array_equal(found, other)
    assert model.evaluate(model.data()).loss == started.run_dir.read_metrics()[-1]["test_loss"]


def test_inputs_of_another_range_or_not_finite_are_refused() -> None:
    rng = np.random.default_rng(0)
    np.savez("two.npz", X=rng.integers(0, 256, (40, 4)), y=np.arange(40) % 2)
    assert run(*TRAIN, "--epochs", "1") == 0
    model = TrainedModel.open("a")
    with pytest.raises(DataError, match=r"values up to 0\.\d+ and this network was trained on up to 255"):
        model.predict(rng.random((3, 4)))
    with pytest.raises(InputError, match="not finite"):
        model.predict(np.full((3, 4), np.nan))
    with pytest.raises(DataError, match="5 numbers a sample and this network takes 4"):
        model.predict(np.full((3, 5), 255))


@pytest.mark.parametrize(("largest", "white"), [(1, 1.0), (16, 16.0), (255, 255.0), (200, 255.0)])
def test_images_come_into_the_range_of_the_training_images(largest: int, white: float) -> None:
    images = np.random.default_rng(0).integers(0, largest, (40, 4, 4), endpoint=True)
    np.savez("two.npz", X=images, y=np.arange(40) % 2)
    assert run(*TRAIN, "--epochs", "1") == 0
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save("white.png")
    assert np.all(read_image(Path("white.png"), TrainedModel.open("a"), as_is=True).inputs == white)


def test_inputs_without_features_are_refused_by_their_shape() -> None:
    assert run(*TRAIN) == 0
    with pytest.raises(DataError, match="0 numbers a sample and this network takes 3"):
        TrainedModel.open("last").predict(np.zeros((3, 0)))


def test_rows_of_numbers_are_read_with_or_without_labels_and_say_what_is_wrong() -> None:
    """A network of arrays has no names: a file for it is rows of as many numbers."""

    def rows(text: str) -> np.ndarray:
        Path("rows.csv").write_text(text, encoding="utf-8")
        return rows_of_numbers(read_table(Path("rows.csv"), DataOptions()), 2)

    assert rows("a,b\n1,2\n3,4.5\n").tolist() == [[1, 2], [3, 4.5]]
    assert rows("a,label,b\n1,7,2\n3,8,4\n").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"'x' is not a number. The network was trained on arrays of 2 numbers"):
        rows("a,b\nx,2\n")
    with pytest.raises(DataError, match=r"rows\.csv.*3.*: the value is missing. Fill it in"):
        rows("a,b\n1,2\n,4\n")
    with pytest.raises(DataError, match=r"has 3 numbers a row \(.*\) and this network takes 2"):
        rows("a,b,c\n1,2,3\n")


@pytest.mark.parametrize("shift", [np.zeros(3), np.zeros((1, 2))])
def test_a_scaling_of_targets_fits_the_outputs(shift: np.ndarray) -> None:
    arrays = {"scaling/scale": np.ones(()), "scaling/shift": np.zeros(())}
    arrays |= {"target_scaling/scale": np.full(2, 5.0), "target_scaling/shift": np.zeros(2)}
    target = read_scaling(arrays, (4,), 2).target_scaling
    assert target is not None
    assert target.scale.tolist() == [5, 5]
    for name, array in (("shift", shift), ("scale", np.array([0.0, 1.0]))):
        with pytest.raises(ValueError, match="of another number of outputs"):
            read_scaling(arrays | {f"target_scaling/{name}": array}, (4,), 2)
