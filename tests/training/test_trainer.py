"""The training loop: what it learns, what it reports, where it stops, and that it resumes exactly."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends import Backend, leaves, select, tree_map
from nnbackprop.data.dataset import Dataset, Splits
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.errors import DataError, DivergedError, ShapeError, UsageError
from nnbackprop.nn.initializers import Normal
from nnbackprop.nn.layers import Dense, Dropout, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam
from nnbackprop.training.callbacks import (
    Callback,
    ChunkEnd,
    EarlyStopping,
    EpochEnd,
    TimeLimit,
    TrainBegin,
    TrainEnd,
)
from nnbackprop.training.trainer import Trainer


def clouds(n: int = 90, seed: int = 0, spread: float = 0.3) -> Dataset:
    """Three clouds of points in the plane, one a class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3).astype(np.int32)
    centres = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return Dataset(centres[labels] + spread * rng.standard_normal((n, 2)), labels, ("a", "b", "c"))


def make(backend: Backend | None = None, **settings: Any) -> Trainer:
    given = {"epochs": 5, "batch_size": 16, "dtype": "float64", "seed": 1, **settings}
    network = given.pop("network", Sequential(Dense(8), Tanh(), Dropout(0.1), Dense(3)))
    loss, optimizer, lr = (
        given.pop("loss", SoftmaxCrossEntropy()),
        given.pop("optimizer", SGD()),
        given.pop("lr", 0.3),
    )
    return Trainer(network, loss, optimizer, lr, backend=backend or select("numpy"), **given)


class Recorder(Callback):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name.endswith(("_begin", "_end")):
            return lambda trainer, event: self.events.append(event)
        return super().__getattribute__(name)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [trainer.backend.to_numpy(a) for a in leaves(trainer.params)]


def same(a: Trainer, b: Trainer) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_three_clouds_are_told_apart_on_every_backend(backend: Backend) -> None:
    trainer = make(backend, epochs=20)
    trainer.fit(clouds())
    assert trainer.evaluate(clouds(300, seed=9)).accuracy > 0.97


def test_a_step_is_the_textbook_update() -> None:
    """Full batch, no hidden layer: W - lr x^T (softmax - onehot) / n, by hand in NumPy."""
    data = clouds(12)
    trainer = make(network=Sequential(Dense(3)), batch_size=None, epochs=1, lr=0.5)
    trainer.build(clouds())
    W, b = (np.array(a) for a in weights(trainer))
    trainer.fit(data)
    z = data.inputs @ W + b
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    delta = (p - np.eye(3)[data.targets]) / 12
    got = weights(trainer)
    np.testing.assert_allclose(got[0], W - 0.5 * data.inputs.T @ delta, rtol=1e-13)
    np.testing.assert_allclose(got[1], b - 0.5 * delta.sum(axis=0), rtol=1e-13, atol=1e-16)


def test_every_sample_is_seen_once_an_epoch_the_ragged_batch_included() -> None:
    recorder = Recorder()
    make(batch_size=16, epochs=2, callbacks=[recorder]).fit(clouds(90))
    for row in recorder.of(EpochEnd):
        assert row.train.samples == 90
    assert sum(event.samples for event in recorder.of(ChunkEnd)) == 180
    assert recorder.of(EpochEnd)[-1].step == 2 * math.ceil(90 / 16)


@pytest.mark.parametrize("batch", [1, None])
def test_batches_of_one_and_of_all(batch: int | None) -> None:
    trainer = make(batch_size=batch, epochs=2)
    trainer.fit(clouds(30))
    assert trainer.progress.step == (60 if batch == 1 else 2)


def test_the_first_epochs_loss_is_the_mean_over_its_batches() -> None:
    """lr so small that nothing moves: the epoch's row must equal an evaluation."""
    trainer = make(network=Sequential(Dense(3)), lr=1e-300, epochs=1, batch_size=7)
    (row,) = trainer.fit(clouds(90))
    score = trainer.evaluate(clouds(90))
    assert row.train.loss == pytest.approx(score.loss, rel=1e-12)
    assert row.train.accuracy == score.accuracy


def test_gradient_norms_are_those_of_the_last_step() -> None:
    recorder = Recorder()
    data = clouds(12)
    trainer = make(network=Sequential(Dense(3)), batch_size=None, epochs=1, callbacks=[recorder])
    trainer.build(clouds())
    params = tree_map(np.array, trainer.params)
    trainer.fit(data)
    grads = trainer.step.objective.gradients(trainer.backend.xp, params, data.inputs, data.targets, None).grads
    norm = math.sqrt(sum(float(np.sum(g**2)) for g in leaves(grads)))
    assert recorder.of(EpochEnd)[0].gradient_norms == {"dense1": pytest.approx(norm, rel=1e-12)}


def test_resident_and_streamed_data_train_alike(backend: Backend) -> None:
    a, b = (make(backend, resident=resident) for resident in ("yes", "no"))
    a.fit(clouds())
    b.fit(clouds())
    assert same(a, b)


def test_the_same_seed_repeats_and_another_does_not() -> None:
    a, b, c = make(), make(), make(seed=2)
    for trainer in (a, b, c):
        trainer.fit(clouds())
    assert same(a, b)
    assert not same(a, c)


def test_without_shuffling_the_order_is_the_datas() -> None:
    """Undoing by hand the shuffle a run would make gives the run that does not shuffle."""
    data = clouds(64)
    inverse = np.argsort(permutation(1, 1, 64))
    shuffled, straight = make(epochs=1), make(epochs=1, shuffle=False)
    shuffled.fit(data.take(inverse))
    straight.fit(data)
    assert same(shuffled, straight)


def test_validation_chooses_the_best_and_patience_stops() -> None:
    recorder, stopping = Recorder(), EarlyStopping(patience=3)
    trainer = make(lr=3.0, epochs=60, optimizer=Adam(), callbacks=[stopping, recorder])
    history = trainer.fit(clouds(60, spread=1.0), validation=clouds(60, seed=5, spread=1.0))
    losses = [row.validation.loss for row in history if row.validation]
    best = int(np.argmin(losses))
    assert trainer.stop_reason == "early-stopping"
    assert len(losses) == best + 1 + 3
    assert stopping.epoch == best + 1
    assert trainer.evaluate(clouds(60, seed=5, spread=1.0)).loss == pytest.approx(losses[best], rel=1e-12)
    assert recorder.of(TrainEnd)[0].reason == "early-stopping"


def test_the_test_part_chooses_nothing() -> None:
    stopping = EarlyStopping()
    seen, unseen = make(lr=3.0, optimizer=Adam(), callbacks=[stopping]), make(lr=3.0, optimizer=Adam())
    history = seen.fit(clouds(60, spread=1.0), test=clouds(60, seed=5, spread=1.0))
    unseen.fit(clouds(60, spread=1.0))
    assert same(seen, unseen)
    assert stopping.params is None
    assert all(row.test is not None and row.validation is None for row in history)


def test_max_time_ends_the_run() -> None:
    trainer = make(epochs=10**6, callbacks=[TimeLimit(0.2)])
    trainer.fit(clouds())
    assert trainer.stop_reason == "max-time"
    assert trainer.progress.epoch < 10**6


def test_begin_tells_the_sizes() -> None:
    recorder = Recorder()
    make(callbacks=[recorder]).fit(clouds(90), test=clouds(30))
    (begin,) = recorder.of(TrainBegin)
    assert begin.samples == {"train": 90, "validation": 0, "test": 30}
    assert begin.steps_per_epoch == 6
    assert [(row.name, row.parameters, row.bytes) for row in begin.layers if row.parameters] == [
        ("dense1", 2 * 8 + 8, 8 * 24),
        ("dense2", 8 * 3 + 3, 8 * 27),
    ]
    assert begin.layers[0].flops == 2 * 2 * 8 + 8


@pytest.mark.parametrize("optimizer", [SGD(), Adam()])
@pytest.mark.parametrize("stop_at", [1, 4, 6, 7, 13])
def test_a_run_stopped_anywhere_goes_on_exactly(
    optimizer: Any, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a callback after any step, taken to a checkpoint, restored, finished: the same bits."""
    monkeypatch.setattr("nnbackprop.training.trainer.chunk_length", lambda *_: 1)

    class Stop(Callback):
        def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
            if event.step >= stop_at:
                trainer.stop()

    whole = make(optimizer=optimizer)
    whole.fit(clouds(), validation=clouds(30, seed=3))
    first = make(optimizer=optimizer, callbacks=[Stop()])
    first.fit(clouds(), validation=clouds(30, seed=3))
    assert first.stop_reason == "interrupted"
    assert first.progress.step == stop_at
    second = make(optimizer=optimizer)
    second.build(clouds())
    second.load_state_dict(first.state_dict())
    second.fit(clouds(), validation=clouds(30, seed=3))
    assert same(whole, second)
    whole_rows = [replace(row, seconds=0, samples_per_second=0) for row in whole.history]
    rows = [replace(row, seconds=0, samples_per_second=0) for row in (*first.history, *second.history)]
    assert rows == whole_rows


def test_weights_trained_on_one_backend_go_on_on_another(backend: Backend) -> None:
    first, whole = make(backend, epochs=2, optimizer=Adam(), lr=0.01), make(epochs=4, optimizer=Adam(), lr=0.01)
    whole.fit(clouds())
    first.fit(clouds())
    second = make(epochs=4, optimizer=Adam(), lr=0.01)
    second.build(clouds())
    second.load_state_dict(first.state_dict())
    second.fit(clouds())
    for a, b in zip(weights(whole), weights(second), strict=True):
        assert np.linalg.norm(a - b) <= 1e-12 * np.linalg.norm(a)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_divergence_is_noticed_at_the_end_of_its_chunk() -> None:
    network = Sequential(Dense(8), ReLU(), Dense(3))
    with pytest.raises(DivergedError, match=r"by step \d+ .*NaN or infinite") as caught:
        make(network=network, loss=MeanSquaredError(), lr=1e200, epochs=3).fit(clouds())
    assert 1 <= caught.value.step <= 6


def test_first_weights_that_are_not_finite_are_refused_with_their_layer_and_initializer() -> None:
    """1e308 overflows float32 alone; twice 1e308 float64 too."""
    wide = Sequential(Dense(8), Tanh(), Dense(3, weights=Normal(1e308)))
    recorder = Recorder()
    with pytest.raises(UsageError, match=r"layer dense2 begins with 24 of 24 .*float32.*Normal\(std=1e\+308"):
        make(network=wide, dtype="float32", callbacks=[recorder]).fit(clouds())
    with pytest.raises(UsageError, match=r"layer dense1 begins with 3 of 3 .*Normal\(std=1\.0, mean=1e\+39"):
        make(network=Sequential(Dense(3, bias=Normal(1.0, 1e39))), dtype="float32").build(clouds())
    assert recorder.events == []


def test_a_scaling_that_is_not_finite_is_refused_before_a_step() -> None:
    data, recorder = clouds(), Recorder()
    data.inputs[:, 1] *= 1e-40
    scaling = fit_scaling("per-feature", data)
    with pytest.raises(DataError, match="the scaling of feature 1"):
        make(scaling=scaling, dtype="float32", callbacks=[recorder]).fit(data)
    assert recorder.events == []
    make(scaling=scaling, epochs=1).fit(data)  # float64 holds it


@pytest.mark.parametrize(("last", "said"), [(4, r"\(4,\)"), (1, r"\(1,\)")])
def test_outputs_that_do_not_match_the_classes_are_refused(last: int, said: str) -> None:
    with pytest.raises(ShapeError, match=said + r".* 3 classes"):
        make(network=Sequential(Dense(last))).fit(clouds())


def test_labels_beyond_the_outputs_are_refused_not_counted_wrong() -> None:
    trainer = make(epochs=1)
    trainer.fit(clouds())
    more = Dataset(np.zeros((4, 2)), np.array([0, 1, 2, 3], np.int32), ("a", "b", "c", "d"))
    with pytest.raises(DataError, match=r"classes d, which are not among the 3 known ones"):
        trainer.evaluate(more)


def test_a_network_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ShapeError, match="no parameters"):
        make(network=Sequential(Sigmoid())).fit(clouds())


def test_predictions_are_probabilities_and_their_classes(backend: Backend) -> None:
    trainer = make(backend, epochs=3)
    trainer.fit(clouds())
    probabilities = trainer.predict_proba(clouds().inputs)
    assert probabilities.shape == (90, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert trainer.predict(clouds().inputs).tolist() == probabilities.argmax(axis=1).tolist()
    assert np.mean(trainer.predict(clouds().inputs) == clouds().targets) == trainer.evaluate(clouds()).accuracy


def test_one_sample_must_be_a_row() -> None:
    trainer = make(epochs=1)
    trainer.fit(clouds())
    with pytest.raises(ShapeError, match=r"x\.reshape\(1, -1\)"):
        trainer.predict(clouds().inputs[0])


def test_labels_of_another_class_map_are_mapped_by_name() -> None:
    """Test data without class a: its labels 0 and 1 are b and c."""
    data = clouds(300, seed=9)
    kept = data.take(np.flatnonzero(data.targets > 0))
    part = Dataset(kept.inputs, kept.targets - 1, ("b", "c"))
    trainer = make(epochs=20)
    (*_, row) = trainer.fit(clouds(), test=part)
    assert row.test is not None
    assert row.test.accuracy == trainer.evaluate(kept).accuracy > 0.95


def test_fit_returns_the_rows_of_its_own_epochs() -> None:
    trainer = make(epochs=2)
    assert [row.epoch for row in trainer.fit(clouds())] == [1, 2]
    trainer.epochs = 3
    assert [row.epoch for row in trainer.fit(clouds())] == [3]
    assert [row.epoch for row in trainer.history] == [1, 2, 3]


def test_fit_after_an_early_stop_trains_again() -> None:
    trainer = make(lr=3.0, epochs=60, optimizer=Adam(), callbacks=[EarlyStopping(patience=1)])
    parts = clouds(60, spread=1.0), clouds(60, seed=5, spread=1.0)
    trainer.fit(*parts)
    assert trainer.stop_reason == "early-stopping"
    assert trainer.fit(*parts)


@pytest.mark.parametrize("take", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_a_copy_of_a_trainer_goes_on_alike(take: Any) -> None:
    trainer = make(epochs=2, optimizer=Adam())
    trainer.fit(clouds())
    other = take(trainer)
    assert other.evaluate(clouds()) == trainer.evaluate(clouds())
    for one in (trainer, other):
        one.epochs = 4
        one.fit(clouds())
    assert same(trainer, other)


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
        make(**wrong)


def test_patience_needs_a_validation_part_and_at_least_one_epoch() -> None:
    with pytest.raises(UsageError, match=r"count.* from 1"):
        EarlyStopping(patience=0)
    with pytest.raises(UsageError, match="no validation part"):
        make(callbacks=[EarlyStopping(patience=2)]).fit(clouds())


def test_fit_says_what_it_needs_when_given_all_parts_at_once() -> None:
    with pytest.raises(UsageError, match=r"fit got Splits .*data\.train, test=data\.test"):
        make().fit(Splits(clouds()))


@pytest.mark.parametrize(
    ("inputs", "kind", "said"),
    [
        (np.zeros((2, 3)), ShapeError, r"\(2, 3\) and must be \(n, 2\)"),
        (np.array([[0.0, np.nan]]), DataError, "NaN or infinity"),
        ([["a", "b"]], DataError, "numbers are needed"),
    ],
)
def test_inputs_no_prediction_can_be_made_of_are_refused(inputs: Any, kind: type[Exception], said: str) -> None:
    trainer = make(epochs=1)
    trainer.fit(clouds())
    with pytest.raises(kind, match=said):
        trainer.predict(inputs)


def test_predict_takes_lists() -> None:
    trainer = make(epochs=1)
    trainer.fit(clouds())
    assert trainer.predict(clouds().inputs.tolist()).tolist() == trainer.predict(clouds().inputs).tolist()


def test_a_time_limit_holds_where_a_step_takes_longer_than_its_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 0.05 s by a clock that only they move, in chunks estimated at 64 steps; a limit of 0.2 s."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    class Slow(Tanh):
        def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
            now[0] += 0.05
            return super().forward(xp, params, x, key)

    trainer = make(network=Sequential(Dense(8), Slow(), Dense(3)), batch_size=1, callbacks=[TimeLimit(0.2)])
    trainer.fit(clouds())
    assert trainer.stop_reason == "max-time"
    assert trainer.progress.step <= 6
