"""`train --norm batch` and `--norm layer`: running statistics in checkpoints, resume, microbatches and replay."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends import Backend
from nnbackprop import TrainedModel
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import BatchNorm, Dense, Dropout, Flatten, LayerNorm, Tanh
from nnbackprop.nn.sequential import Sequential
from nnbackprop.runs import build
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.config_files import resolve
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer
from tests.stress.child_run import assert_same_outcome
from tests.support.commands import run, said
from tests.support.small_runs import assert_close_state, clouds, make_trainer

NORMS = {"batch": BatchNorm, "layer": LayerNorm}


def normalized(norm: str, backend: Backend | None = None, **options: object) -> Trainer:
    network = Sequential(Dense(8, bias=False), NORMS[norm](), Tanh(), Dropout(0.3), Dense(3))
    return make_trainer(backend, network=network, **options)


def test_running_statistics_are_those_of_the_batches() -> None:
    """Linear layer, no update worth the name: mean and variance of z move by a tenth towards each batch's."""
    network = Sequential(Dense(3), BatchNorm(), Dense(3))
    trainer = make_trainer(network=network, lr=1e-300, epochs=2, shuffle=False)
    trainer.initialize(clouds())
    host = trainer.backend.to_numpy
    W, b = (np.array(host(trainer.params[0][name])) for name in ("W", "b"))
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(2):
        for begin in range(0, 46, 16):
            z = clouds().inputs[begin : begin + 16] @ W + b
            mean, var = 0.9 * mean + 0.1 * z.mean(axis=0), 0.9 * var + 0.1 * z.var(axis=0, ddof=1)
    trainer.fit(clouds())
    np.testing.assert_allclose(host(trainer.params[1]["mean"]), mean, rtol=1e-13)
    np.testing.assert_allclose(host(trainer.params[1]["var"]), var, rtol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
def test_training_is_the_same_on_every_backend(norm: str, backend: Backend) -> None:
    numpy, other = normalized(norm), normalized(norm, backend)
    for trainer in (numpy, other):
        trainer.fit(clouds(), clouds(30, seed=3))
    assert_close_state(numpy, other)
    losses = [[row.validation.loss for row in trainer.history if row.validation] for trainer in (numpy, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)


def test_layer_normalization_in_microbatches_has_the_gradients_of_the_batch() -> None:
    whole, parts = normalized("layer"), normalized("layer")
    parts.initialize(clouds())
    parts.train_step = replace(parts.train_step, n_microbatches=4)
    for trainer in (whole, parts):
        trainer.fit(clouds())
    assert_close_state(whole, parts)


@pytest.mark.parametrize("microbatches", [2, 5, 16])
def test_batch_normalization_in_microbatches_takes_the_statistics_of_each(microbatches: int) -> None:
    """Of two samples at least: no microbatch has a single one, whatever the batch."""
    trainer = normalized("batch")
    trainer.initialize(clouds())
    trainer.train_step = replace(trainer.train_step, n_microbatches=microbatches)
    trainer.fit(clouds())
    x = next(trainer.batch_schedule.batches(1, 0, 0))
    bounds = [begin for begin, *_ in trainer.train_step.microbatches(trainer.device_data.arrays, x)] + [16]
    assert min(np.diff(bounds)) >= 2
    assert len(bounds) - 1 == min(microbatches, 8)


@pytest.mark.parametrize(("samples", "batch"), [(46, 15), (46, 45), (46, 1)])
def test_a_last_batch_of_one_sample_is_refused_before_the_first_step(samples: int, batch: int) -> None:
    trainer = normalized("batch", batch_size=batch)
    with pytest.raises(UsageError, match=rf"{samples} training samples in batches of {batch} leave a batch of 1"):
        trainer.fit(clouds(samples))
    assert trainer.progress.step == 0
    normalized("layer", batch_size=batch, epochs=1).fit(clouds(samples))


def test_statistics_of_a_last_batch_of_one_image_are_those_of_its_pixels() -> None:
    """Ioffe and Szegedy, 2015, section 3.2: the values of a channel are those of all places."""
    images = np.random.default_rng(0).standard_normal((5, 3, 2, 2))
    data = Dataset(images, np.array([0, 1, 0, 1, 1]), ("a", "b"))
    network = Sequential(BatchNorm(), Flatten(), Dense(2))
    trainer = make_trainer(network=network, batch_size=2, epochs=1, shuffle=False)
    trainer.fit(data)
    params = trainer.host_params()[0]
    mean, var = np.zeros(2), np.ones(2)
    for batch in (images[:2], images[2:4], images[4:]):
        values = batch.reshape(-1, 2)
        mean, var = 0.9 * mean + 0.1 * values.mean(axis=0), 0.9 * var + 0.1 * values.var(axis=0, ddof=1)
    np.testing.assert_allclose(params["mean"], mean, rtol=1e-13)
    np.testing.assert_allclose(params["var"], var, rtol=1e-13)


def test_the_best_weights_bring_their_running_statistics() -> None:
    best = EarlyStopping()
    trainer = normalized("batch", lr=0.3, epochs=20, callbacks=[best])
    losses = [row.validation.loss for row in trainer.fit(clouds(), clouds(30, seed=3)) if row.validation]
    assert best.best_epoch < 20
    assert trainer.evaluate(clouds(30, seed=3)).loss == pytest.approx(min(losses), rel=1e-12)


# The command.

TRAIN = [
    "train",
    "mnist-original",
    "--data",
    "two.npz",
    "--hidden",
    "8",
    "6",
    "--dropout",
    "0.2",
    "--validation",
    "0.2",
]
TRAIN += [
    "--batch-size",
    "7",
    "--progress",
    "off",
    "--backend",
    "numpy",
    "--save-every",
    "3",
    "--optimizer",
    "adam",
]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.usefixtures("two_clouds")
class TestCommand:
    def train(self, norm: str, name: str, *words: str) -> Path:
        assert run(*TRAIN, "--norm", norm, "--lr", "0.01", "--name", name, *words) == 0
        return Path("runs") / name

    def test_resume_mid_epoch_is_bit_identical(self, norm: str) -> None:
        whole = self.train(norm, "whole", "--epochs", "6")
        part = self.train(norm, "part", "--epochs", "6")
        older = sorted((part / "checkpoints").glob("step-*"))[0]
        assert load(older).meta["progress"]["samples"] > 0  # within an epoch
        shutil.move(older, part / "checkpoints" / "last.safetensors")
        assert run("train", "--resume", "part", "--progress", "off") == 0
        assert_same_outcome(part, whole)
        arrays = load(part / "checkpoints" / "best.safetensors").arrays
        assert ("params/1/var" in arrays) == (norm == "batch")

    def test_evaluate_replay_and_doctor_agree_with_the_run(
        self, norm: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = self.train(norm, "a", "--epochs", "8", "--doctor")
        assert run("evaluate", "a") == 0
        assert "accuracy 1.0000" in said(capsys)
        assert run("replay", "a") == 0
        assert (folder / "doctor.json").is_file()
        model = TrainedModel.open("a")
        data = model.data()
        assert np.array_equal(model.predict(data.inputs), data.targets)

    def test_gradcheck_and_parity_of_the_recipe_pass(self, norm: str) -> None:
        pytest.importorskip("torch", reason="torch is not installed")
        words = ["weight-height", "--hidden", "5", "--norm", norm, "--batch-size", "4"]
        assert run("gradcheck", *words) == 0
        assert run("parity", *words) == 0


def test_a_layer_before_batch_normalization_has_no_bias() -> None:
    """It would be taken off with the mean."""
    for norm, biases in (("batch", [False, False, True]), ("layer", [True, True, True])):
        layers = build.network(resolve("mnist", {"norm": norm}), 10).layers
        assert [layer.bias for layer in layers if isinstance(layer, Dense)] == biases
