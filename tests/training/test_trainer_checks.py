"""What a trainer refuses: options, data and inputs that cannot be right, before the first step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backends import leaves
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.data.split import Splits
from nnbackprop.errors import DataError, InputError, ShapeError, UsageError
from nnbackprop.nn.initializers import Normal
from nnbackprop.nn.layers import Dense, Sigmoid, Tanh
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.events import TrainBegin
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import clouds, make_trainer


class EventRecorder(Callback):
    """Keeps the event of a run that begins."""

    def __init__(self) -> None:
        self.events: list[TrainBegin] = []

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        self.events.append(event)


def test_initial_parameters_that_are_not_finite_name_their_layer_and_initializer() -> None:
    """1e308 overflows float32 alone; twice 1e308 float64 too."""
    wide = Sequential(Dense(8), Tanh(), Dense(3, weight_init=Normal(1e308)))
    recorder = EventRecorder()
    with pytest.raises(UsageError, match=r"layer dense2 begins with 24 of 24 .*float32.*Normal\(std=1e\+308"):
        make_trainer(network=wide, dtype="float32", callbacks=[recorder]).fit(clouds())
    with pytest.raises(UsageError, match=r"layer dense1 begins with 3 of 3 .*Normal\(std=1\.0, mean=1e\+39"):
        make_trainer(network=Sequential(Dense(3, bias_init=Normal(1.0, 1e39))), dtype="float32").initialize(
            clouds()
        )
    assert not recorder.events


def test_a_scaling_that_is_not_finite_is_refused_before_a_step() -> None:
    data, recorder = clouds(), EventRecorder()
    data.inputs[:, 1] *= 1e-40
    scaling = fit_scaling("per-feature", data)
    with pytest.raises(DataError, match="the scaling of feature 1"):
        make_trainer(scaling=scaling, dtype="float32", callbacks=[recorder]).fit(data)
    assert not recorder.events
    make_trainer(scaling=scaling, epochs=1).fit(data)  # float64 holds it


@pytest.mark.parametrize(("last", "said"), [(4, r"\(4,\)"), (1, r"\(1,\)")])
def test_outputs_that_do_not_match_the_classes_are_refused(last: int, said: str) -> None:
    with pytest.raises(ShapeError, match=said + r".* 3 classes"):
        make_trainer(network=Sequential(Dense(last))).fit(clouds())


def test_unknown_classes_are_refused_and_not_counted_wrong() -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(clouds())
    more = Dataset(np.zeros((4, 2)), np.array([0, 1, 2, 3], np.int32), ("a", "b", "c", "d"))
    with pytest.raises(DataError, match=r"classes d, which are not among the 3 known ones"):
        trainer.evaluate(more)


def test_a_network_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ShapeError, match="no parameters"):
        make_trainer(network=Sequential(Sigmoid())).fit(clouds())


def test_one_sample_must_be_a_row() -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(clouds())
    with pytest.raises(ShapeError, match=r"x\.reshape\(1, -1\)"):
        trainer.predict(clouds().inputs[0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lr": -0.5}, "above 0"),
        ({"lr": math.nan}, "finite"),
        ({"epochs": 0}, "count from 1"),
        ({"batch_size": 0}, "count from 1"),
        ({"dtype": "int8"}, "float32, float64"),
        ({"resident": "sometimes"}, "auto, yes or no"),
        ({"network": Dense(3)}, "Sequential"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_trainer(**wrong)


def test_patience_needs_a_validation_part_and_at_least_one_epoch() -> None:
    with pytest.raises(UsageError, match=r"count.* from 1"):
        EarlyStopping(patience=0)
    with pytest.raises(UsageError, match="no validation part"):
        make_trainer(callbacks=[EarlyStopping(patience=2)]).fit(clouds())


def test_fit_refuses_all_parts_in_one() -> None:
    with pytest.raises(UsageError, match=r"fit got Splits .*data\.train, test=data\.test"):
        make_trainer().fit(Splits(clouds()))


@pytest.mark.parametrize(
    ("inputs", "kind", "said"),
    [
        (np.zeros((2, 3)), ShapeError, r"\(2, 3\) and must be \(n, 2\)"),
        (np.array([[0.0, np.nan]]), InputError, "NaN or infinity"),
        ([["a", "b"]], DataError, "numbers are needed"),
    ],
)
def test_inputs_that_cannot_be_predicted_are_refused(inputs: Any, kind: type[Exception], said: str) -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(clouds())
    with pytest.raises(kind, match=said):
        trainer.predict(inputs)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, 1e39])
def test_loaded_parameters_that_are_not_finite_in_the_dtype_name_their_layer(bad: float) -> None:
    trainer = make_trainer(network=Sequential(Dense(3)), dtype="float32")
    trainer.initialize(clouds())
    before = trainer.host_params()
    with pytest.raises(UsageError, match="layer dense1 have 1 of 6 numbers that are NaN or infinite in float32"):
        trainer.load_params(({"W": np.diag([bad, 0, 0])[:2], "b": np.zeros(3)},))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(trainer.host_params()), leaves(before), strict=True))
