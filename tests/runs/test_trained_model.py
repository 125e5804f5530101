"""A trained network out of its run folder: the classes it predicts and the inputs it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnbackprop import TrainedModel
from nnbackprop.errors import DataError
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


def test_inputs_of_another_range_or_not_finite_are_refused() -> None:
    rng = np.random.default_rng(0)
    np.savez("two.npz", X=rng.integers(0, 256, (40, 4)), y=np.arange(40) % 2)
    assert run(*TRAIN, "--epochs", "1") == 0
    model = TrainedModel.open("a")
    with pytest.raises(DataError, match=r"values up to 0\.\d+ and this network was trained on up to 255"):
        model.predict(rng.random((3, 4)))
    with pytest.raises(DataError, match="not finite"):
        model.predict(np.full((3, 4), np.nan))
    with pytest.raises(DataError, match="5 numbers a sample and this network takes 4"):
        model.predict(np.full((3, 5), 255))
