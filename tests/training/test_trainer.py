"""The loop: what it learns, what it tells, where it stops, and that it goes on exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends import Backend, leaves, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.errors import DataError, DivergedError, ShapeError, UsageError
from nnbackprop.nn.initializers import Normal
from nnbackprop.nn.layers import Dense, Dropout, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam
from nnbackprop.runs.trainer_state import restore, take_last
from nnbackprop.training.callbacks.base import Callback, ChunkEnd, EpochEnd, TrainBegin, TrainEnd
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


class Diary(Callback):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name.endswith(("_begin", "_end")):
            return self.events.append
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
    diary = Diary()
    make(batch_size=16, epochs=2, callbacks=[diary]).fit(clouds(90))
    for row in diary.of(EpochEnd):
        assert row.train.samples == 90
    assert sum(event.samples for event in diary.of(ChunkEnd)) == 180
    assert diary.of(EpochEnd)[-1].step == 2 * math.ceil(90 / 16)


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
    diary = Diary()
    data = clouds(12)
    trainer = make(network=Sequential(Dense(3)), batch_size=None, epochs=1, callbacks=[diary])
    trainer.build(clouds())
    params = tree_map(np.array, trainer.params)
    trainer.fit(data)
    _, _, _, grads = trainer.step.objective.gradients(trainer.backend.xp, params, data.inputs, data.targets, None)
    norm = math.sqrt(sum(float(np.sum(g**2)) for g in leaves(grads)))
    assert diary.of(EpochEnd)[0].gradient_norms == {"dense1": pytest.approx(norm, rel=1e-12)}


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
    diary = Diary()
    trainer = make(lr=3.0, epochs=60, patience=3, optimizer=Adam(), callbacks=[diary])
    history = trainer.fit(clouds(60, spread=1.0), validation=clouds(60, seed=5, spread=1.0))
    losses = [row.validation.loss for row in history if row.validation]
    best = int(np.argmin(losses))
    assert trainer.stopped == "early-stopping"
    assert len(losses) == best + 1 + 3
    assert trainer.best.epoch == best + 1
    assert trainer.evaluate(clouds(60, seed=5, spread=1.0)).loss == pytest.approx(losses[best], rel=1e-12)
    assert diary.of(TrainEnd)[0].reason == "early-stopping"


def test_the_test_part_chooses_nothing() -> None:
    seen, unseen = make(lr=3.0, optimizer=Adam()), make(lr=3.0, optimizer=Adam())
    history = seen.fit(clouds(60, spread=1.0), test=clouds(60, seed=5, spread=1.0))
    unseen.fit(clouds(60, spread=1.0))
    assert same(seen, unseen)
    assert seen.best.params is None
    assert all(row.test is not None and row.validation is None for row in history)


def test_max_time_ends_the_run() -> None:
    trainer = make(epochs=10**6, max_time=0.2)
    trainer.fit(clouds())
    assert trainer.stopped == "max-time"
    assert trainer.progress.epoch < 10**6


def test_begin_tells_the_sizes() -> None:
    diary = Diary()
    make(callbacks=[diary]).fit(clouds(90), test=clouds(30))
    (begin,) = diary.of(TrainBegin)
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
        trainer: Trainer

        def chunk_end(self, event: ChunkEnd) -> None:
            if event.step >= stop_at:
                self.trainer.stop()

    whole = make(optimizer=optimizer)
    whole.fit(clouds(), validation=clouds(30, seed=3))
    stop = Stop()
    first = make(optimizer=optimizer, callbacks=[stop])
    stop.trainer = first
    first.fit(clouds(), validation=clouds(30, seed=3))
    assert first.stopped == "interrupted"
    assert first.progress.step == stop_at
    second = make(optimizer=optimizer)
    restore(second, clouds(), take_last(first, {}))
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
    restore(second, clouds(), take_last(first, {}))
    second.fit(clouds())
    for a, b in zip(weights(whole), weights(second), strict=True):
        assert np.linalg.norm(a - b) <= 1e-12 * np.linalg.norm(a)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_divergence_names_step_and_layer() -> None:
    network = Sequential(Dense(8), ReLU(), Dense(3))
    with pytest.raises(DivergedError, match=r"Step \d+: .*dense[12]"):
        make(network=network, loss=MeanSquaredError(), lr=1e200, epochs=3).fit(clouds())


def test_first_weights_that_are_not_finite_are_refused_with_their_layer_and_initializer() -> None:
    """1e308 overflows float32 alone; twice 1e308 float64 too."""
    wide = Sequential(Dense(8), Tanh(), Dense(3, weights=Normal(1e308)))
    diary = Diary()
    with pytest.raises(UsageError, match=r"W of layer dense2 begins with 24 of 24 .*float32.*Normal\(std=1e\+308"):
        make(network=wide, dtype="float32", callbacks=[diary]).fit(clouds())
    with pytest.raises(UsageError, match=r"b of layer dense1 begins with 3 of 3 .*Normal\(std=1\.0, mean=1e\+39"):
        make(network=Sequential(Dense(3, bias=Normal(1.0, 1e39))), dtype="float32").build(clouds())
    assert diary.events == []


def test_a_scaling_that_is_not_finite_is_refused_before_a_step() -> None:
    data, diary = clouds(), Diary()
    data.inputs[:, 1] *= 1e-40
    scaling = fit_scaling("per-feature", data)
    with pytest.raises(DataError, match="the scaling of feature 1"):
        make(scaling=scaling, dtype="float32", callbacks=[diary]).fit(data)
    assert diary.events == []
    make(scaling=scaling, epochs=1).fit(data)  # float64 holds it


def test_an_input_that_is_not_finite_is_named() -> None:
    data = clouds()
    data.inputs[40, 1] = np.nan
    with pytest.raises(DivergedError, match=r"Step [1-6]: the inputs hold a value that is not finite"):
        make().fit(data)


@pytest.mark.parametrize(("last", "said"), [(4, r"\(4,\)"), (1, r"\(1,\)")])
def test_outputs_that_do_not_match_the_classes_are_refused(last: int, said: str) -> None:
    with pytest.raises(ShapeError, match=said + r".* 3 classes"):
        make(network=Sequential(Dense(last))).fit(clouds())


def test_labels_beyond_the_outputs_are_refused_not_counted_wrong() -> None:
    trainer = make(epochs=1)
    trainer.fit(clouds())
    more = Dataset(np.zeros((4, 2)), np.array([0, 1, 2, 3], np.int32), ("a", "b", "c", "d"))
    with pytest.raises(DataError, match=r"Labels lie in 0\.\.3 and 3 outputs need 0\.\.2"):
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
