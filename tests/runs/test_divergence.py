"""To which checkpoint a run goes back that diverges, by how far it got since the last time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data.dataset import Dataset
from nnbackprop.nn.layers import Dense
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Momentum
from nnbackprop.runs.callbacks import Recorder, SaveEvery
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.divergence_recovery import DivergenceRecovery
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.trainer_state import take_best, take_last
from nnbackprop.training.trainer import Trainer
from tests.torture.victim import sound

DATA = Dataset(np.random.default_rng(0).standard_normal((12, 2)), (np.arange(12) % 2).astype(np.int32), ("0", "1"))
EVERY = 5  # steps between saves; an epoch is one step

Go = Callable[[int], int]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Trains to the step given, calls that divergence, and returns the step the run was put back to."""
    folder = RunDir.create(tmp_path, "run")
    trainer = Trainer(
        Sequential(Dense(2)), SoftmaxCrossEntropy(), Momentum(), 0.1, batch_size=None, save_every=EVERY
    )
    trainer.build(DATA)
    shelf = CheckpointManager(folder.checkpoints)
    recorder = Recorder(
        folder,
        shelf,
        last=lambda: take_last(trainer, {}),
        best=lambda: take_best(trainer, {}),
        improved=lambda: False,
        every=SaveEvery(steps=EVERY),
    )
    recorder.epoch_end = lambda event: None  # type: ignore[method-assign] # which saves by the clock
    recorder.train_end = lambda event: None  # type: ignore[method-assign]
    trainer.callbacks = (recorder,)
    back = DivergenceRecovery(trainer, DATA, recorder)

    def to(step: int) -> int:
        rate = trainer.progress.rate
        trainer.epochs = step
        trainer.fit(DATA)
        (words,) = back.go()
        assert trainer.progress.rate == rate / 2
        assert words == f"Back to step {trainer.progress.step}, and on at {rate / 2:g} of the learning rate."
        if trainer.progress.step:  # where it began need not be on the shelf, and is saved as it goes on
            assert shelf.newest()[1].meta["progress"]["step"] == trainer.progress.step
        assert sound(folder)
        return trainer.progress.step

    return to


def test_it_goes_back_to_the_last_checkpoint(go: Go) -> None:
    assert go(12) == 10


def test_and_again_if_it_got_more_than_twice_as_far(go: Go) -> None:
    assert [go(12), go(15)] == [10, 15]  # 2 steps beyond 10, then 5


def test_and_to_the_one_before_if_not(go: Go) -> None:
    assert [go(17), go(19), go(14), go(11)] == [15, 10, 5, 0]  # 2 beyond 15, then 4; 4 beyond 10; 6 beyond 5


def test_and_where_it_began_if_there_is_none_before(go: Go) -> None:
    """Three are kept: of steps 20, 25 and 30."""
    assert [go(31), go(31), go(31), go(31), go(31)] == [30, 25, 20, 0, 0]


def test_what_it_had_come_to_there_is_what_it_goes_on_with(tmp_path: Path) -> None:
    """A run put back to its beginning is that run again, at another rate."""
    runs = []
    for diverges in (False, True):
        trainer = Trainer(Sequential(Dense(2)), SoftmaxCrossEntropy(), Momentum(), 0.1, batch_size=None, epochs=7)
        trainer.build(DATA)
        folder = RunDir.create(tmp_path, "run")
        recorder = Recorder(
            folder,
            CheckpointManager(folder.checkpoints),
            last=lambda: take_last(trainer, {}),  # noqa: B023
            best=lambda: take_best(trainer, {}),  # noqa: B023
            improved=lambda: False,
        )
        recorder.flush(0)
        back = DivergenceRecovery(trainer, DATA, recorder)
        if diverges:
            trainer.fit(DATA)
            back.go()
        trainer.progress.rate = 1.0
        trainer.fit(DATA)
        runs.append([layer["W"].tobytes() for layer in trainer.params])
    assert runs[0] == runs[1]
