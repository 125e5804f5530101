"""ReduceLROnPlateau: PyTorch's sequence of learning rates, in an ordinary training; what it cannot monitor."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Dense
from nnbackprop.nn.losses import MeanSquaredError
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim.schedules import CosineDecay
from nnbackprop.training.callbacks import Callback, ReduceLROnPlateau
from nnbackprop.training.events import EpochEnd, Score
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import clouds, make_trainer

EPOCHS, LR = 60, 0.3


class Given(Callback):
    """Tells another callback that each epoch's score was the next of a list, and keeps the epoch's rate."""

    def __init__(self, callback: ReduceLROnPlateau, values: list[float]) -> None:
        self.callback, self.values, self.rates = callback, values, []

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        self.rates.append(event.lr)
        value = self.values[event.epoch - 1]
        score = Score(loss=value, metrics={"accuracy": value}, n_samples=30)
        self.callback.epoch_end(trainer, replace(event, train=score, validation=score))


@pytest.mark.parametrize(
    ("patience", "factor", "min_lr"), [(1, 0.5, 0.0), (2, 0.1, 0.0), (3, 0.3, 0.01), (4, 0.9, 0.2), (10, 0.1, 0.0)]
)
@pytest.mark.parametrize(
    ("monitor", "mode"), [("validation_loss", "min"), ("train_loss", "min"), ("validation_accuracy", "max")]
)
def test_every_rate_is_pytorchs(patience: int, factor: float, min_lr: float, monitor: str, mode: Any) -> None:
    """PyTorch reduces after more than `patience` epochs, Keras and this callback after as many."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    values = np.random.default_rng(patience).choice(9, EPOCHS) + np.linspace(3, 0, EPOCHS).round(1)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    judge = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor, patience - 1, threshold=0, min_lr=min_lr
    )
    want = []
    for value in values:
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        judge.step(value)
    given = Given(ReduceLROnPlateau(monitor, factor, patience, min_lr), values.tolist())
    make_trainer(lr=LR, epochs=EPOCHS, batch_size=None, callbacks=[given]).fit(clouds())
    assert given.rates == pytest.approx(want, rel=1e-12)
    assert len(set(want)) > 1


def test_a_schedule_is_multiplied() -> None:
    schedule = CosineDecay(LR, 8)
    given = Given(ReduceLROnPlateau(factor=0.5, patience=2), [1.0, 2, 2, 2, 2, 0, 0, 0])
    make_trainer(lr=schedule, epochs=8, batch_size=None, callbacks=[given]).fit(clouds())
    factors = [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert given.rates == [factor * schedule(step) for step, factor in enumerate(factors)]


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"factor": 0.0}, {"patience": 0}, {"min_lr": -1.0}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="factor lies between 0 and 1"):
        ReduceLROnPlateau(**options)


@pytest.mark.parametrize("monitor", ["validation_loss", "test_loss", "train_rmse", "loss"])
def test_what_the_training_has_not_is_refused(monitor: str) -> None:
    fit = partial(make_trainer(callbacks=[ReduceLROnPlateau(monitor)]).fit, clouds(), test=clouds(30))
    with pytest.raises(UsageError, match="this training has train_loss, train_accuracy: name one"):
        fit()


def test_two_of_them_are_refused() -> None:
    both = [ReduceLROnPlateau("train_loss"), ReduceLROnPlateau("train_accuracy")]
    with pytest.raises(UsageError, match="leave one in"):
        make_trainer(callbacks=both).fit(clouds())


def test_a_metric_that_is_nan_is_refused_after_the_first_epoch() -> None:
    """r2 of a single row: it would reduce the rate again and again."""
    x = np.random.default_rng(0).normal(size=(30, 2))
    trainer = make_trainer(
        network=Sequential(Dense(1)), loss=MeanSquaredError(), callbacks=[ReduceLROnPlateau("validation_r2")]
    )
    with pytest.raises(UsageError, match=r"validation_r2, which is NaN after epoch 1 .*: monitor validation_loss"):
        trainer.fit(Dataset(x, x[:, :1]), Dataset(x[:1], x[:1, :1]))
    assert trainer.progress.lr_factor == 1
