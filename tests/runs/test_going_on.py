"""What a resume compares before it goes on, and what it says where something is not as the run left it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data.dataset import Dataset
from nnbackprop.nn.layers import Dense
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD
from nnbackprop.runs.checkpoint import load
from nnbackprop.training.trainer import Trainer
from tests.support.commands import run

TRAIN = [
    "train",
    "mnist",
    "--data",
    "two.npz",
    "--hidden",
    "4",
    "--dropout",
    "0",
    "--progress",
    "off",
    "--backend",
]
TRAIN += ["numpy", "--batch-size", "7"]
LAST = Path("runs/a/checkpoints/last.safetensors")

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own", "two_clouds")


@pytest.fixture
def two_clouds(in_a_folder_of_its_own: None) -> None:
    """A table that a line tells apart, in two.npz."""
    labels = np.arange(40) % 2
    np.savez("two.npz", X=np.random.default_rng(0).standard_normal((40, 3)) + 4 * labels[:, None], y=labels)


def resume(*words: str) -> int:
    return run("train", "--resume", "a", "--progress", "off", *words)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    both = capsys.readouterr()
    return " ".join((both.out + both.err).split())


def edit(before: str, after: str) -> None:
    path = Path("runs/a/config.toml")
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('activation = "relu"', 'activation = "tanh"', "activation = 'tanh', and {} was trained with 'relu'"),
        ("lr = 0.08", "lr = 5.0", "lr = 5.0, and {} was trained with 0.08"),
        ("seed = 0", "seed = 9", "seed = 9, and {} was trained with 0"),
        ("hidden = [\n    4,\n]", "hidden = [\n    5,\n]", "hidden = [5], and {} was trained with [4]"),
    ],
)
def test_a_configuration_that_was_changed_is_refused_with_both_values(
    before: str, after: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*TRAIN, "--epochs", "2", "--name", "a") == 0
    edit(before, after)
    assert resume("--epochs", "3") == 5
    assert words.format(LAST) in said(capsys)
    assert run("evaluate", "a") == 5
    assert words.format(LAST.with_stem("best")) in said(capsys)
    edit(after, before)
    assert resume("--epochs", "3") == 0


def test_data_may_have_moved(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TRAIN, "--epochs", "2", "--name", "a") == 0
    shutil.move("two.npz", "elsewhere.npz")
    assert resume("--epochs", "3") == 3
    edit("two.npz", "elsewhere.npz")
    assert resume("--epochs", "3") == 0


def test_a_checkpoint_of_another_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", "1"), ("b", "2")):
        assert run(*TRAIN, "--epochs", "2", "--name", name, "--seed", seed) == 0
    shutil.copy("runs/b/checkpoints/last.safetensors", LAST)
    assert resume("--epochs", "3") == 5
    assert f"seed = 1, and {LAST} was trained with 2" in said(capsys)


def test_epochs_that_end_before_the_step_the_run_is_at_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With a chunk a step and no time the run stops after the first step of its first epoch, and so on."""
    assert run(*TRAIN, "--epochs", "2", "--name", "a") == 0
    assert resume("--epochs", "5", "--save-every", "1", "--max-time", "1e-9") == 0
    at = load(LAST).meta["progress"]
    assert (at["epoch"], at["samples"] > 0) == (3, True)
    assert resume("--epochs", "2") == 2
    assert "has 2 epochs done, and is within epoch 3: --epochs 2 is less" in said(capsys)
    assert resume("--epochs", "3", "--max-time", "1000") == 0


def test_rows_that_were_taken_out_are_said_to_be_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TRAIN, "--epochs", "5", "--name", "a") == 0
    metrics = Path("runs/a/metrics.jsonl")
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join([lines[0], lines[2], lines[3], lines[4][:-20]]))  # and the last one cut
    assert resume("--epochs", "6") == 0
    assert f"{metrics} lacks 2 of its rows, of epoch 2 to 5: they are lost" in said(capsys)
    assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == [1, 3, 4, 6]


def test_a_signal_after_the_last_step_finds_a_run_that_is_finished() -> None:
    """While it is judged, say: what comes too late to stop it does not call it interrupted."""
    labels = (np.arange(12) % 2).astype(np.int32)
    data = Dataset(np.random.default_rng(0).standard_normal((12, 2)), labels, ("0", "1"))
    trainer = Trainer(Sequential(Dense(2)), SoftmaxCrossEntropy(), SGD(), lr=0.1, epochs=1)
    trainer.fit(data)
    trainer.stop()
    assert trainer.stopped == "finished"
