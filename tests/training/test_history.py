"""The history of a training: a list of epochs, columns for a data frame, and their curves."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import nnbackprop as nb
from nnbackprop.errors import UsageError
from nnbackprop.training.history import History
from tests.support.small_runs import clouds, make_trainer


def test_a_history_is_a_data_frame_of_a_row_an_epoch() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    trainer = make_trainer(epochs=3)
    history = trainer.fit(clouds(), validation=clouds(30, seed=3))
    frame = pandas.DataFrame(history.to_dict())
    assert frame.columns.tolist() == [
        *("epoch", "step", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
        *("seconds", "samples_per_second", "gradient_norm_dense1", "gradient_norm_dense2"),
    ]
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["train_loss"].tolist() == [event.train.loss for event in history]
    assert frame["gradient_norm_dense2"].tolist() == [event.gradient_norms["dense2"] for event in history]
    assert all(kind.kind in "if" for kind in frame.dtypes)


def test_fit_returns_its_own_epochs_and_the_trainer_keeps_all() -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(clouds())
    trainer.set_options(epochs=3)
    assert trainer.fit(clouds()).to_dict()["epoch"] == [2, 3]
    assert trainer.history.to_dict()["epoch"] == [1, 2, 3]
    assert copy.deepcopy(trainer).history.to_dict() == trainer.history.to_dict()
    assert History().to_dict() == {}


def test_plot_draws_the_loss_and_each_metric_of_each_part() -> None:
    history = make_trainer(epochs=2).fit(clouds(), test=clouds(30, seed=3))
    figure = nb.plot(history)
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    train, test = loss.get_lines()
    assert list(train.get_ydata()) == [event.train.loss for event in history]
    assert list(test.get_ydata()) == [event.test.loss for event in history if event.test]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "test"]


@pytest.mark.parametrize("wrong", [None, [], History(), {"loss": [1.0]}])
def test_plot_takes_a_history(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"plot got .* pass what trainer\.fit"):
        nb.plot(wrong)
