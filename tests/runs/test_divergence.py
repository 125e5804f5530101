"""Divergence: its step and layer are named; a run may go back to a checkpoint and on at half the learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnbackprop import TrainedModel
from nnbackprop.errors import DivergedError
from nnbackprop.nn.layers import Dense
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Momentum
from nnbackprop.runs.divergence_recovery import DivergenceRecovery, lr_halvings_exhausted
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.trainer_checkpoint import make_best_checkpoint
from nnbackprop.training.callbacks import Callback, EarlyStopping, TimeLimit
from nnbackprop.training.events import ChunkEnd
from nnbackprop.training.trainer import Trainer
from tests.stress.child_run import checkpoint_files
from tests.stress.damage import damage
from tests.support.commands import run, said
from tests.support.small_runs import assert_equal_state, clouds, make_trainer, run_callbacks

DATA = clouds(12)
SAVE_EVERY = 5  # steps between saves; an epoch is one step

DivergeAt = Callable[[int], int]


def descent() -> Trainer:
    return make_trainer(network=Sequential(Dense(3)), optimizer=Momentum(), lr=0.1, batch_size=None, epochs=7)


@pytest.fixture
def diverge_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DivergeAt:
    """Trains to the step given, calls that divergence, and returns the step the run was put back to."""
    run_dir, best, trainer = RunDir.create(tmp_path, "run"), EarlyStopping(), descent()
    trainer.initialize(DATA)
    saves = run_callbacks(run_dir, SAVE_EVERY, best)
    for method in ("epoch_end", "train_end"):  # which save by the clock
        monkeypatch.setattr(saves, method, lambda *_: None)
    trainer.set_options(callbacks=(saves.logger, saves))
    recovery = DivergenceRecovery(trainer, best, DATA, run_dir, saves)

    def train_to(step: int) -> int:
        factor = trainer.progress.lr_factor
        trainer.set_options(epochs=step)
        trainer.fit(DATA)
        (message,) = recovery.recover()
        progress = trainer.progress
        assert progress.lr_factor == factor / 2
        assert message == f"Back to step {progress.step}, and on at {factor / 2:g} of the learning rate."
        if progress.step:  # the beginning may have been removed, and is saved again when the run goes on
            assert saves.checkpoint_manager.load_newest()[1].meta["progress"]["step"] == progress.step
        assert [row["epoch"] for row in run_dir.read_metrics()] == list(range(1, progress.epoch))
        assert checkpoint_files(run_dir)
        return progress.step

    return train_to


@pytest.mark.parametrize(
    ("diverges", "back"),
    [
        ([12], [10]),
        ([12, 15], [10, 15]),  # 2 steps beyond 10, then 5, which is more than twice as far
        ([17, 19, 14, 11], [15, 10, 5, 0]),  # 2 beyond 15, then 4; 4 beyond 10; 6 beyond 5
        ([31, 31, 31, 31, 31], [30, 25, 20, 0, 0]),  # three are kept: of steps 20, 25 and 30
    ],
)
def test_a_run_that_gets_no_further_goes_back_further(
    diverges: list[int], back: list[int], diverge_at: DivergeAt
) -> None:
    assert [diverge_at(step) for step in diverges] == back


def test_a_resumed_run_never_goes_forward_to_where_it_was_resumed(tmp_path: Path) -> None:
    """It diverges 1 step after 20, where it was resumed, then 1 after 15 and 1 after 10, the oldest checkpoint."""
    trainer, best, run_dir = descent(), EarlyStopping(), RunDir.create(tmp_path, "run")
    trainer.initialize(DATA)
    saves = run_callbacks(run_dir, early_stopping=best)

    def train_to(step: int) -> None:
        trainer.set_options(epochs=step)
        trainer.fit(DATA)

    for step in (10, 15, 20):
        train_to(step)
        saves.save(trainer, step)
    recovery = DivergenceRecovery(trainer, best, DATA, run_dir, saves)
    back = []
    for step in (21, 21, 16, 11, 11):
        train_to(step)
        recovery.recover()
        back.append(trainer.progress.step)
    assert back == [20, 15, 10, 10, 10]
    assert trainer.progress.lr_factor == 0.5**5


def test_a_damaged_checkpoint_on_the_way_back_is_skipped_and_named(tmp_path: Path) -> None:
    trainer, best, run_dir = descent(), EarlyStopping(), RunDir.create(tmp_path, "run")
    trainer.initialize(DATA)
    saves = run_callbacks(run_dir, early_stopping=best)
    for step in (0, 5, 7):
        trainer.set_options(epochs=step or 1)
        if step:
            trainer.fit(DATA)
        saves.save(trainer, step)
    recovery = DivergenceRecovery(trainer, best, DATA, run_dir, saves)
    damaged, _ = saves.checkpoint_manager.older()
    damage(damaged)
    recovery.recover()
    assert trainer.progress.step == 7
    skipped, message = recovery.recover()
    assert skipped.startswith(f"skipped: {damaged}")
    assert message.startswith("Back to step 0")
    assert saves.checkpoint_manager.load_newest()[1].meta["progress"]["step"] == 0


def test_a_run_put_back_to_its_beginning_repeats_bit_for_bit(tmp_path: Path) -> None:
    again, whole = descent(), descent()
    whole.fit(DATA)
    again.initialize(DATA)
    best, run_dir = EarlyStopping(), RunDir.create(tmp_path, "run")
    saves = run_callbacks(run_dir, early_stopping=best)
    saves.save(again, 0)
    recovery = DivergenceRecovery(again, best, DATA, run_dir, saves)
    again.fit(DATA)
    recovery.recover()
    assert again.progress.step == 0
    again.progress.lr_factor = 1.0
    again.fit(DATA)
    assert_equal_state(whole, again)


def test_the_best_weights_of_steps_that_are_undone_are_removed(tmp_path: Path) -> None:
    trainer, best, run_dir = descent(), EarlyStopping(), RunDir.create(tmp_path, "run")
    trainer.initialize(DATA)
    saves = run_callbacks(run_dir, early_stopping=best)
    saves.save(trainer, 0)
    recovery = DivergenceRecovery(trainer, best, DATA, run_dir, saves)
    trainer.set_options(callbacks=(best,))
    trainer.fit(DATA, validation=DATA)
    assert best.best_params is not None
    saves.checkpoint_manager.save_best(make_best_checkpoint(trainer, best, {}))
    recovery.recover()
    assert best.best_params is None
    assert not saves.checkpoint_manager.best.exists()


def test_plateaus_use_up_none_of_the_halvings_after_divergences() -> None:
    trainer = descent()
    trainer.scale_lr(1e-4)
    assert not lr_halvings_exhausted(trainer)
    trainer.progress.lr_halvings = 10
    assert lr_halvings_exhausted(trainer)


def test_a_time_limit_counts_on_after_a_divergence_and_anew_after_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which each step takes 6 of 10 seconds."""
    now = [100.0]
    monkeypatch.setattr("nnbackprop.training.callbacks.time.monotonic", lambda: now[0])

    class Diverges(Callback):
        chunk_ends_every = 1

        def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
            now[0] += 6
            if event.step == 1:
                raise DivergedError.at_step(1)

    trainer = make_trainer(epochs=10, callbacks=(Diverges(), TimeLimit(10)))
    with pytest.raises(DivergedError):
        trainer.fit(DATA)
    trainer.fit(DATA)
    assert (trainer.stop_reason, now) == ("max-time", [112])
    trainer.fit(DATA)
    assert (trainer.stop_reason, now) == ("max-time", [124])


# train --on-nan.

DIVERGES = [
    "train",
    "mnist-original",
    "--data",
    "two.npz",
    "--loss",
    "half-mse",
    "--dropout",
    "0",
    "--epochs",
    "30",
]
DIVERGES += ["--lr", "2", "--name", "a"]
"""Outputs without an activation, at a rate that overshoots until it is halved often enough."""


@pytest.mark.usefixtures("two_clouds")
class TestCommand:
    def test_without_recovery_the_run_ends_with_4_and_keeps_its_checkpoint(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(*DIVERGES) == 4
        message = said(capsys)
        assert "Training diverged. Step " in message
        assert "dense" in message
        assert not Path("runs/a/summary.json").exists()
        model = TrainedModel.open("a")
        assert np.isfinite(model.evaluate(model.data()).loss)

    def test_a_last_update_that_diverges_is_noticed(self) -> None:
        words = ["--data", "two.npz", "--epochs", "1", "--lr", "1e30", "--dropout", "0", "--progress", "off"]
        assert run("train", "mnist-original", *words, "--name", "a") == 4
        assert not Path("runs/a/summary.json").exists()
        assert "NaN" not in Path("runs/a/metrics.jsonl").read_text(encoding="utf-8")

    def test_with_recovery_the_rate_is_halved_until_the_run_ends(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(*DIVERGES, "--on-nan", "restore-and-halve-lr", "--progress", "off") == 0
        messages = said(capsys)
        assert "Training diverged. Step " in messages
        rates = [
            json.loads(line)["lr"]
            for line in Path("runs/a/metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert len(rates) == 30
        assert rates[-1] < 2
        assert set(rates) <= {2 * 0.5**k for k in range(11)}
        assert f"on at {rates[-1] / 2:g} of the learning rate" in messages
        assert "not-finite" not in messages  # it is over
        assert not Path("runs/a/doctor.json").exists()
        assert np.isfinite(json.loads(Path("runs/a/summary.json").read_text(encoding="utf-8"))["train_loss"])
        assert run("train", "--resume", "a", "--epochs", "31", "--progress", "off") == 0  # which keeps the rate
        assert (
            json.loads(Path("runs/a/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["lr"]
            == rates[-1]
        )

    @pytest.mark.parametrize("every", ["1", "2", "3"])
    def test_checkpoints_whose_weights_had_grown_too_far_are_left_behind(
        self, every: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Saved so often, the last three are all finite and past saving."""
        flags = ["--on-nan", "restore-and-halve-lr", "--save-every", every, "--progress", "off"]
        assert run(*DIVERGES, *flags) == 0
        assert "Back to step 0, and on at 0.0625 of the learning rate" in said(capsys)
