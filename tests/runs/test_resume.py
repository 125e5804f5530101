"""A run resumed from any step ends as if it had never stopped; what does not belong to it is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from backends import Backend
from nnbackprop.errors import RunFolderError
from nnbackprop.nn.layers import Dense
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import OPTIMIZERS
from nnbackprop.optim.schedules import schedule
from nnbackprop.runs.checkpoint import Checkpoint, from_bytes, load, to_bytes
from nnbackprop.runs.trainer_state import CheckpointInfo, last_checkpoint, restore, scaling_of
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.trainer import Trainer
from tests.support.commands import run, said
from tests.support.small_runs import (
    EveryStep,
    assert_close_state,
    assert_equal_state,
    clouds,
    make_trainer,
    untimed,
)
from tests.torture.child_run import outcome
from tests.torture.damage import damage

EPOCHS, STEPS = 4, 3
SCHEDULES = ("constant", "step:2:0.5", "exponential:0.9", "cosine", "one-cycle", "warmup:4", "warmup:4+cosine")
TRAIN, VALIDATION = clouds(), clouds(30, seed=3)


class Saves(Callback):
    """Keeps a checkpoint, as bytes, after every step and after every epoch's end."""

    def __init__(self, best: EarlyStopping) -> None:
        self.best, self.files = best, []

    def chunk_end(self, trainer: Trainer, event: Any) -> None:
        self.files.append(to_bytes(last_checkpoint(trainer, self.best, {})))

    epoch_end = chunk_end


def uninterrupted(patience: int | None = None, **options: Any) -> tuple[Trainer, EarlyStopping, list[bytes]]:
    """A run to its end, its best weights, and the checkpoints it made on the way."""
    best = EarlyStopping(patience)
    saves = Saves(best)
    trainer = make_trainer(callbacks=[best, saves, EveryStep()], **options)
    trainer.fit(TRAIN, VALIDATION)
    return trainer, best, saves.files


def resumed(
    file: bytes, backend: Backend | None = None, patience: int | None = None, **options: Any
) -> tuple[Trainer, EarlyStopping]:
    """A new trainer that goes on from a checkpoint to the end."""
    best = EarlyStopping(patience)
    trainer = make_trainer(backend, callbacks=[best, EveryStep()], **options)
    restore(trainer, best, TRAIN, from_bytes(file))
    trainer.fit(TRAIN, VALIDATION)
    return trainer, best


def assert_resumes_exactly(**options: Any) -> tuple[Trainer, EarlyStopping]:
    """From every checkpoint of a run: the same bits of weights and optimizer, best weights, counters and rows."""
    whole, best, files = uninterrupted(**options)
    assert len(files) == len(whole.history) * (STEPS + 1)
    for file in files:
        other, its_best = resumed(file, **options)
        assert_equal_state(whole, other)
        assert (best.epoch, best.loss, best.wait) == (its_best.epoch, its_best.loss, its_best.wait)
        for name in ("epoch", "step", "planned_epochs"):
            assert getattr(whole.progress, name) == getattr(other.progress, name)
        assert whole.stop_reason == other.stop_reason
        rows = untimed(other.history)
        assert rows == untimed(whole.history)[len(whole.history) - len(rows) :]
    return whole, best


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resume_from_any_step_is_bit_identical_with_every_optimizer(optimizer: str) -> None:
    assert_resumes_exactly(optimizer=OPTIMIZERS[optimizer](), lr=0.02)


@pytest.mark.parametrize("word", SCHEDULES)
def test_resume_from_any_step_is_bit_identical_with_every_schedule(word: str) -> None:
    assert_resumes_exactly(lr=schedule(word, 0.05, EPOCHS * STEPS, STEPS))


def test_resume_goes_on_counting_epochs_without_improvement() -> None:
    """At a rate that overshoots the run stops early, some epochs after its best, with whose weights it ends."""
    whole, best = assert_resumes_exactly(lr=1.0, epochs=40, patience=3)
    assert (whole.stop_reason, best.wait) == ("early-stopping", 3)
    assert len(whole.history) == best.epoch + 3 < 40


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_run_begun_on_numpy_resumes_on_every_backend(backend: Backend, at: int) -> None:
    whole, _, files = uninterrupted()
    assert_close_state(whole, resumed(files[at], backend)[0])


@pytest.mark.parametrize("every", [2, 5, None])
def test_where_chunks_end_changes_no_bit_of_the_weights(every: int | None) -> None:
    class Every(Callback):
        steps_per_save = every

    other = make_trainer(callbacks=[Every()])
    other.fit(TRAIN, VALIDATION)
    whole = make_trainer(callbacks=[EveryStep()])
    whole.fit(TRAIN, VALIDATION)
    assert_equal_state(whole, other)


# Checkpoints that do not belong.


def test_a_checkpoint_of_another_network_is_refused() -> None:
    other = make_trainer(network=Sequential(Dense(9), Dense(3)))
    with pytest.raises(RunFolderError, match="another network"):
        restore(other, EarlyStopping(), TRAIN, from_bytes(uninterrupted()[2][0]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("progress", None),
        ("progress", {"epoch": 0}),
        ("progress", {"step": -1}),
        ("progress", {"step": 2**70}),
        ("progress", {"step": "7"}),
        ("progress", {"samples": len(TRAIN) + 1}),
        ("progress", {"rate": 0.0}),
        ("progress", {"norms": {"dense1": "large"}}),
        ("best", {"epoch": 1}),
        ("best", {"epoch": 1, "loss": [], "waited": 0}),
    ],
)
def test_impossible_counters_are_refused_even_with_a_right_digest(name: str, value: object) -> None:
    found = from_bytes(uninterrupted()[2][-1])
    changed = from_bytes(to_bytes(replace(found, meta={**found.meta, name: value})))
    with pytest.raises(RunFolderError, match=r"The checkpoint (does not say where|is 47 samples into)"):
        restore(make_trainer(), EarlyStopping(), TRAIN, changed)


@pytest.mark.parametrize("scale", [None, np.ones(3), np.ones((2, 2))])
def test_a_checkpoint_without_a_scaling_of_its_features_is_refused(scale: np.ndarray | None) -> None:
    info = structs.asdict(CheckpointInfo("0", "f", 2, ("a", "b", "c"), 1.0, None, {}))
    arrays = {} if scale is None else {"scaling/scale": scale}
    with pytest.raises(RunFolderError, match="no scaling of its inputs, or one of another number of features"):
        scaling_of(Checkpoint({**arrays, "scaling/shift": np.zeros(())}, info))


# train --resume.

SMALL = ["train", "mnist", "--data", "two.npz", "--hidden", "4", "--dropout", "0", "--progress", "off"]
SMALL += ["--backend", "numpy", "--batch-size", "7"]
FOLDER = Path("runs/a")
LAST = FOLDER / "checkpoints" / "last.safetensors"


def train(*words: str, name: str = "a") -> None:
    assert run(*SMALL, "--name", name, *words) == 0


def resume(*words: str) -> int:
    return run("train", "--resume", "a", "--progress", "off", *words)


def edit_config(before: str, after: str) -> None:
    path = FOLDER / "config.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.usefixtures("two_clouds")
class TestCommand:
    @pytest.mark.parametrize(
        ("before", "after", "values"),
        [
            ('activation = "relu"', 'activation = "tanh"', "activation = 'tanh', and {} was trained with 'relu'"),
            ("lr = 0.08", "lr = 5.0", "lr = 5.0, and {} was trained with 0.08"),
            ("seed = 0", "seed = 9", "seed = 9, and {} was trained with 0"),
            ("hidden = [\n    4,\n]", "hidden = [\n    5,\n]", "hidden = [5], and {} was trained with [4]"),
        ],
    )
    def test_a_changed_configuration_is_refused_with_both_values(
        self, before: str, after: str, values: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        train("--epochs", "2")
        edit_config(before, after)
        assert resume("--epochs", "3") == 5
        assert values.format(LAST) in said(capsys)
        assert run("evaluate", "a") == 5
        assert values.format(LAST.with_stem("best")) in said(capsys)
        edit_config(after, before)
        assert resume("--epochs", "3") == 0

    def test_a_checkpoint_of_another_run_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        train("--epochs", "2", "--seed", "1")
        train("--epochs", "2", "--seed", "2", name="b")
        shutil.copy("runs/b/checkpoints/last.safetensors", LAST)
        assert resume("--epochs", "3") == 5
        assert f"seed = 1, and {LAST} was trained with 2" in said(capsys)

    def test_flags_may_not_change_what_is_trained(self, capsys: pytest.CaptureFixture[str]) -> None:
        train("--epochs", "2")
        assert resume("--lr", "0.5") == 2
        assert "keeps its lr: it is 0.08 there, and 0.5 was asked for" in said(capsys)

    @pytest.mark.parametrize(
        "flags", [["--epochs", "0"], ["--patience", "0"], ["--max-time", "-1"], ["--epochs", "2"]]
    )
    def test_a_resume_that_is_refused_leaves_the_folder_as_it_was(self, flags: list[str]) -> None:
        train("--epochs", "3")
        before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
        assert resume(*flags) == 2
        assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before

    def test_epochs_that_end_before_the_present_step_are_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With a chunk a step and no time the run stops after the first step of its third epoch."""
        train("--epochs", "2")
        assert resume("--epochs", "5", "--save-every", "1", "--max-time", "1e-9") == 0
        at = load(LAST).meta["progress"]
        assert (at["epoch"], at["samples"] > 0) == (3, True)
        assert resume("--epochs", "2") == 2
        assert "has 2 epochs done, and is within epoch 3: --epochs 2 is less" in said(capsys)
        assert resume("--epochs", "3", "--max-time", "1000") == 0

    def test_missing_rows_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        train("--epochs", "5")
        metrics = FOLDER / "metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True)
        metrics.write_text("".join([lines[0], lines[2], lines[3], lines[4][:-20]]))  # and the last one cut
        assert resume("--epochs", "6") == 0
        assert f"{metrics} lacks 2 of its rows, of epoch 2 to 5: they are lost" in said(capsys)
        assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == [1, 3, 4, 6]

    @pytest.mark.parametrize("lost", [0, 1, 2])
    def test_resume_skips_damaged_checkpoints_and_ends_the_same(
        self, lost: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["--save-every", "7"]  # of 5 steps an epoch
        train(*flags, "--epochs", "9", name="whole")
        train(*flags, "--epochs", "4")
        paths = sorted(path for path in LAST.parent.iterdir() if path.stem != "best")
        bad = [LAST, *paths[:0:-1]][:lost]
        for path in bad:
            damage(path)
        said(capsys)
        assert resume("--epochs", "9") == 0
        messages = said(capsys)
        assert messages.count("skipped:") == lost
        assert all(f"skipped: {path} cannot be used as a checkpoint: its bytes" in messages for path in bad)
        assert outcome(FOLDER) == outcome(Path("runs/whole"))

    def test_a_resume_without_a_sound_checkpoint_changes_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        train("--save-every", "7", "--epochs", "4")
        paths = [path for path in LAST.parent.iterdir() if path.stem != "best"]
        assert len(paths) == 3
        for path in paths:
            damage(path)
        before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
        assert resume("--epochs", "9") == 5
        messages = said(capsys)
        assert all(f"{path} cannot be used" in messages for path in paths)
        assert {path: path.read_bytes() for path in before} == before

    def test_a_run_that_stopped_early_stays_stopped(self) -> None:
        rng = np.random.default_rng(0)
        np.savez("two.npz", X=rng.standard_normal((40, 3)), y=np.arange(40) % 2)
        train("--validation", "0.3", "--patience", "2", "--epochs", "300", "--lr", "2")
        first = json.loads((FOLDER / "summary.json").read_text())
        assert first["reason"] == "early-stopping"
        assert resume() == 0
        again = json.loads((FOLDER / "summary.json").read_text())
        timeless = {"seconds": 0, "samples_per_second": 0}
        assert {**again, **timeless} == {**first, **timeless}

    def test_lost_best_weights_come_back(self) -> None:
        train("--validation", "0.3", "--epochs", "3")
        best = LAST.with_stem("best")
        before = best.read_bytes()
        best.unlink()
        assert resume() == 0
        assert best.read_bytes() == before

    def test_last_weights_are_not_the_best_once_the_run_goes_on(self) -> None:
        train("--epochs", "2")
        assert resume("--epochs", "30") == 0
        ours, last = load(LAST.with_stem("best")).arrays, load(LAST).arrays
        assert all(np.array_equal(a, last[name]) for name, a in ours.items() if name.startswith("params/"))
