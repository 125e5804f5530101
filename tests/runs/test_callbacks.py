"""What a run writes as it goes: a row for every epoch, checkpoints at a pace, the best weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnbackprop.errors import UsageError
from nnbackprop.runs import callbacks
from nnbackprop.runs.callbacks import CheckpointCallback, SaveInterval
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.events import EpochEnd, Score, TrainEnd
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import clouds, make_trainer, run_callbacks


def epoch(number: int) -> EpochEnd:
    return EpochEnd(
        number, number, 0.1, Score(1.0, {"accuracy": 0.5}, 10), None, None, {"dense1": 2.0}, 0.001, 1e4
    )


@pytest.fixture
def saves(tmp_path: Path) -> CheckpointCallback:
    return run_callbacks(RunDir.create(tmp_path, "x"))


@pytest.fixture
def trainer() -> Trainer:
    built = make_trainer()
    built.initialize(clouds())
    return built


def test_ten_thousand_short_epochs_write_a_row_each_and_few_checkpoints(
    saves: CheckpointCallback, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which an epoch takes a millisecond: one checkpoint a second."""
    saved, now = [], [0.0]
    monkeypatch.setattr(CheckpointManager, "save_best", lambda *_: saved.append("best.safetensors"))
    monkeypatch.setattr(CheckpointManager, "save", lambda *_: saved.append("last.safetensors"))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    for number in range(1, 10_001):
        now[0] += 0.001
        saves.early_stopping.best_epoch = number  # better every time
        for callback in (saves.logger, saves):
            callback.epoch_end(trainer, epoch(number))
    saves.train_end(trainer, TrainEnd(10_000, 10_000, "finished", 10.0))
    assert [row["epoch"] for row in saves.logger.run_dir.read_metrics()] == list(range(1, 10_001))
    assert 10 <= saved.count("last.safetensors") <= 12
    assert saved.count("best.safetensors") <= 12


@pytest.mark.parametrize(
    ("train", "columns"),
    [
        (Score(1.0, {"accuracy": 0.5}, 10), {"loss": 1.0, "accuracy": 0.5}),
        (
            Score(4.0, {"rmse": 2.0, "mae": 1.5, "r2": 0.25}, 10),
            {"loss": 4.0, "rmse": 2.0, "mae": 1.5, "r2": 0.25},
        ),
    ],
)
def test_a_row_has_every_column(
    train: Score, columns: dict[str, float], saves: CheckpointCallback, trainer: Trainer
) -> None:
    row = EpochEnd(1, 1, 0.1, train, None, None, {"dense1": 2.0}, 0.001, 1e4)
    saves.logger.epoch_end(trainer, row)
    saves.logger.close(trainer)
    assert json.loads(saves.logger.run_dir.metrics_path.read_text(encoding="utf-8")) == {
        "epoch": 1,
        "step": 1,
        "lr": 0.1,
        **{f"train_{name}": value for name, value in columns.items()},
        **{f"{part}_{name}": None for part in ("validation", "test") for name in columns},
        "gradient_norms": {"dense1": 2.0},
        "seconds": 0.001,
        "samples_per_second": 1e4,
    }


@pytest.mark.parametrize(("reason", "there"), [("finished", True), ("max-time", True), ("interrupted", False)])
def test_without_validation_the_last_weights_are_the_best_of_a_run_that_ended(
    reason: str, there: bool, saves: CheckpointCallback, trainer: Trainer
) -> None:
    saves.train_end(trainer, TrainEnd(1, 1, reason, 1.0))
    last = load(saves.checkpoint_manager.last).arrays
    assert saves.checkpoint_manager.best.exists() == there
    if there:
        best = load(saves.checkpoint_manager.best).arrays
        assert best.keys() == {name for name in last if not name.startswith("optimizer/")}
        assert all(array.tobytes() == last[name].tobytes() for name, array in best.items())


def test_best_weights_are_those_of_the_epoch_with_the_least_validation_loss(tmp_path: Path) -> None:
    weights: dict[int, Any] = {}

    class Keep(Callback):
        def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
            weights[event.epoch] = trainer.host_params()[0]["W"]

    best = EarlyStopping()
    saves = run_callbacks(RunDir.create(tmp_path, "x"), early_stopping=best)
    trainer = make_trainer(lr=1.0, epochs=9, callbacks=[Keep(), best, saves.logger, saves])
    losses = [row.validation.loss for row in trainer.fit(clouds(), clouds(30, seed=3)) if row.validation]
    assert best.best_epoch == losses.index(min(losses)) + 1 < 9
    written = load(saves.checkpoint_manager.best)
    assert written.meta["best"] == {"epoch": best.best_epoch}
    assert written.arrays["params/0/W"].tobytes() == weights[best.best_epoch].tobytes()


@pytest.mark.parametrize(
    ("text", "every"), [(None, SaveInterval()), ("500", SaveInterval(500)), ("60s", SaveInterval(None, 60))]
)
def test_save_every_is_steps_or_seconds(text: str | None, every: SaveInterval) -> None:
    assert SaveInterval.parse(text) == every


@pytest.mark.parametrize("text", ["0", "5m", "-1", "1.5", ""])
def test_save_every_refuses_anything_else(text: str) -> None:
    with pytest.raises(
        UsageError, match=rf"number of steps, such as 500, or of seconds, such as 60s; got '{text}'"
    ):
        SaveInterval.parse(text)
