"""The training loop: what it learns, what it reports, where it stops, and that it goes on exactly."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pytest

from backends import Backend, BackendError, leaves, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.sampler import permutation
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.nn.layers import ELU, BatchNorm, Dense, Dropout, LayerNorm, LeakyReLU, ReLU, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam, AdamW, ExponentialMovingAverage, GradientClipping, Momentum
from nnbackprop.training.callbacks import Callback, EarlyStopping, TimeLimit
from nnbackprop.training.events import ChunkEnd, EpochEnd, TrainBegin, TrainEnd
from nnbackprop.training.trainer import Trainer
from tests.support import small_runs
from tests.support.small_runs import EveryStep, make_trainer

clouds = partial(small_runs.clouds, 90, spread=0.3)
crowded = partial(small_runs.clouds, 60, spread=1.0)


def make(backend: Backend | None = None, **options: Any) -> Trainer:
    return make_trainer(backend, **{"epochs": 5, "optimizer": SGD(), "lr": 0.3, **options})


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
    return all(map(np.array_equal, weights(a), weights(b)))


def test_three_clouds_are_classified_on_every_backend(backend: Backend) -> None:
    trainer = make(backend, epochs=20)
    trainer.fit(clouds())
    assert trainer.evaluate(small_runs.clouds(300, 9, 0.3)).accuracy > 0.97


NUMBERS = np.random.default_rng(3).standard_normal((40, 2))


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (
            clouds(),
            {
                "network": Sequential(Dense(8), BatchNorm(), ReLU(), Dropout(0.2), Dense(3)),
                "optimizer": GradientClipping(Adam(), norm=0.5),
            },
        ),
        (replace(clouds(), weights=np.linspace(0.5, 2, 90)), {"penalty": WeightPenalty(0.01, 0.1)}),
        (Dataset(NUMBERS, NUMBERS), {"loss": MeanSquaredError("mean"), "network": Sequential(Dense(2))}),
        (
            Dataset(NUMBERS, (NUMBERS > 0).astype("float64")),
            {"loss": SigmoidBinaryCrossEntropy(), "network": Sequential(LayerNorm(), Dense(2))},
        ),
    ],
)
@pytest.mark.parametrize("resident", ["yes", "no"])
def test_float32_training_needs_no_float64_on_the_device(
    data: Dataset, options: dict[str, Any], resident: str
) -> None:
    """As GPUs of laptops have none."""
    pytest.importorskip("torch", reason="torch is not installed")
    backend = select("torch", "cpu")
    backend.has_float64 = False
    options = {"optimizer": Adam(), **options}
    trainer = make(backend, dtype="float32", resident=resident, **options)
    trainer.fit(data, validation=data)
    with pytest.raises(BackendError, match="has no float64"):
        make(backend, dtype="float64", **options).fit(data)


def test_a_step_is_the_textbook_update() -> None:
    """Full batch, no hidden layer: W - lr x^T (softmax - onehot) / n, by hand in NumPy."""
    data = small_runs.clouds(12, spread=0.3)
    trainer = make(network=Sequential(Dense(3)), batch_size=None, epochs=1, lr=0.5)
    trainer.initialize(clouds())
    W, b = (np.array(a) for a in weights(trainer))
    trainer.fit(data)
    z = data.inputs @ W + b
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    delta = (p - np.eye(3)[data.targets]) / 12
    got = weights(trainer)
    np.testing.assert_allclose(got[0], W - 0.5 * data.inputs.T @ delta, rtol=1e-13)
    np.testing.assert_allclose(got[1], b - 0.5 * delta.sum(axis=0), rtol=1e-13, atol=1e-16)


def test_every_sample_is_seen_once_an_epoch_with_a_smaller_last_batch() -> None:
    recorder = Recorder()
    make(batch_size=16, epochs=2, callbacks=[recorder]).fit(clouds())
    for row in recorder.of(EpochEnd):
        assert row.train.n_samples == 90
    assert sum(event.n_samples for event in recorder.of(ChunkEnd)) == 180
    assert recorder.of(EpochEnd)[-1].step == 2 * math.ceil(90 / 16)


@pytest.mark.parametrize("batch", [1, None])
def test_batches_of_one_and_of_all(batch: int | None) -> None:
    trainer = make(batch_size=batch, epochs=2)
    trainer.fit(small_runs.clouds(30, spread=0.3))
    assert trainer.progress.step == (60 if batch == 1 else 2)


def test_the_first_epochs_loss_is_the_mean_over_its_batches() -> None:
    """lr so small that nothing moves: the epoch's row must equal an evaluation."""
    trainer = make(network=Sequential(Dense(3)), lr=1e-300, epochs=1, batch_size=7)
    (row,) = trainer.fit(clouds())
    score = trainer.evaluate(clouds())
    assert row.train.loss == pytest.approx(score.loss, rel=1e-12)
    assert row.train.accuracy == score.accuracy


def test_gradient_norms_are_those_of_the_last_step() -> None:
    recorder = Recorder()
    data = small_runs.clouds(12, spread=0.3)
    trainer = make(network=Sequential(Dense(3)), batch_size=None, epochs=1, callbacks=[recorder])
    trainer.initialize(clouds())
    b = trainer.backend
    params = tree_map(lambda a: b.xp.asarray(a, copy=True), trainer.params)
    trainer.fit(data)
    x, t = b.asarray(data.inputs), b.asarray(data.targets)
    grads = trainer.train_step.objective.value_and_grad(b.xp, params, x, t, None).grads
    norm = math.sqrt(sum(float(np.sum(b.to_numpy(g) ** 2)) for g in leaves(grads)))
    assert recorder.of(EpochEnd)[0].gradient_norms == {"dense1": pytest.approx(norm, rel=1e-12)}


def test_resident_and_streamed_data_train_alike(backend: Backend) -> None:
    a, b = (make(backend, resident=resident) for resident in ("yes", "no"))
    a.fit(clouds())
    b.fit(clouds())
    assert same(a, b)


def test_the_same_seed_repeats_the_run_and_another_does_not() -> None:
    a, b, c = make(), make(), make(seed=2)
    for trainer in (a, b, c):
        trainer.fit(clouds())
    assert same(a, b)
    assert not same(a, c)


def test_without_shuffling_the_order_is_that_of_the_data() -> None:
    """Undoing by hand the shuffle a run would make gives the run that does not shuffle."""
    data = small_runs.clouds(64, spread=0.3)
    inverse = np.argsort(permutation(1, 1, 64))
    shuffled, straight = make(epochs=1), make(epochs=1, shuffle=False)
    shuffled.fit(data.take(inverse))
    straight.fit(data)
    assert same(shuffled, straight)


def test_validation_chooses_the_best_and_patience_stops() -> None:
    recorder, stopping = Recorder(), EarlyStopping(patience=3)
    trainer = make(lr=3.0, epochs=60, optimizer=Adam(), callbacks=[stopping, recorder])
    history = trainer.fit(crowded(), validation=crowded(seed=5))
    losses = [row.validation.loss for row in history if row.validation]
    best = int(np.argmin(losses))
    assert trainer.stop_reason == "early-stopping"
    assert len(losses) == best + 1 + 3
    assert stopping.best_epoch == best + 1
    assert trainer.evaluate(crowded(seed=5)).loss == pytest.approx(losses[best], rel=1e-12)
    assert recorder.of(TrainEnd)[0].reason == "early-stopping"


class RunningMean:
    """y = x; its running mean, a buffer, is all it has."""

    buffers: ClassVar[tuple[str, ...]] = ("mean",)

    def build(self, rng: Any, in_shape: Any, dtype: str) -> tuple[Any, Any]:
        return {"mean": np.zeros(in_shape, dtype)}, in_shape

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> tuple[Any, Any]:
        return x, xp.mean(x, axis=0)

    def backward(self, xp: Any, params: Any, cache: Any, dy: Any, need_dx: bool) -> tuple[Any, Any]:
        return dy, {}

    def new_buffers(self, xp: Any, params: Any, cache: Any) -> Any:
        return {"mean": (params["mean"] + cache) / 2}


def test_a_layer_with_buffers_alone_has_no_gradient_norm(backend: Backend) -> None:
    data = clouds()
    trainer = make(backend, network=Sequential(RunningMean(), Dense(3)), batch_size=None, epochs=2)
    history = trainer.fit(data)
    assert list(history[0].gradient_norms) == ["dense1"]
    mean = trainer.backend.to_numpy(trainer.params[0]["mean"])
    assert np.allclose(mean, 0.75 * data.inputs.mean(axis=0), rtol=1e-5)  # of 0: a half, then 3/4


def test_the_test_part_chooses_nothing() -> None:
    stopping = EarlyStopping()
    seen, unseen = make(lr=3.0, optimizer=Adam(), callbacks=[stopping]), make(lr=3.0, optimizer=Adam())
    history = seen.fit(crowded(), test=crowded(seed=5))
    unseen.fit(crowded())
    assert same(seen, unseen)
    assert stopping.best_params is None
    assert all(row.test is not None and row.validation is None for row in history)


def test_a_run_that_a_callback_stops_ends_with_the_best_weights() -> None:
    class StopsAfter(Callback):
        def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
            if event.epoch == 3:
                trainer.stop()

    best = EarlyStopping()
    trainer = make(callbacks=[best, StopsAfter()], lr=lambda step: 0.3 if step < 6 else 30.0)
    trainer.fit(clouds(), validation=crowded())
    assert (trainer.stop_reason, best.best_epoch) == ("stopped", 1)
    assert all(map(np.array_equal, weights(trainer), leaves(best.best_params)))


def test_a_fit_within_the_handling_of_a_divergence_ends_with_the_best_weights() -> None:
    best = EarlyStopping()
    trainer = make(lr=lambda step: math.inf, callbacks=[best])
    trainer.initialize(clouds())
    beginning = trainer.state_dict()
    try:
        trainer.fit(clouds(), validation=crowded())
    except DivergedError:
        assert (trainer.stop_reason, best.best_epoch) == ("diverged", 0)
        trainer.load_state_dict(beginning)
        trainer.set_options(lr=lambda step: 0.3 if step < 6 else 30.0)
        trainer.fit(clouds(), validation=crowded())
    assert (trainer.stop_reason, best.best_epoch) == ("finished", 1)
    assert all(map(np.array_equal, weights(trainer), leaves(best.best_params)))


def test_states_of_other_optimizers_or_without_progress_are_refused() -> None:
    trainer, other = make(optimizer=Adam()), make(optimizer=SGD())
    for each in (trainer, other):
        each.initialize(clouds())
    with pytest.raises(UsageError, match="state of another optimizer"):
        trainer.load_state_dict(other.state_dict())
    with pytest.raises(UsageError, match="progress that is none"):
        trainer.load_state_dict({**trainer.state_dict(), "progress": {"step": -1}})
    assert trainer.progress.step == 0


def test_a_fit_that_is_refused_leaves_the_best_weights_that_were_kept() -> None:
    best = EarlyStopping(patience=3)
    trainer = make(epochs=1, callbacks=[best])
    trainer.fit(clouds(), validation=crowded())
    kept = best.best_params
    with pytest.raises(UsageError, match="no validation part"):
        trainer.fit(clouds())
    assert kept is not None
    assert best.best_params is kept


@pytest.mark.parametrize("factor", [0, 2.0, -1.0, math.nan])
def test_a_learning_rate_is_scaled_down_only(factor: float) -> None:
    trainer = make()
    with pytest.raises(UsageError, match="can only reduce the learning rate"):
        trainer.scale_lr(factor)
    trainer.scale_lr(0.5)
    assert trainer.lr_at(0) == 0.15


def test_a_learning_rate_scaled_by_a_number_of_numpy_trains_and_is_saved() -> None:
    plain, numpy = (make(epochs=1) for _ in range(2))
    for trainer, factor in ((plain, 0.5), (numpy, np.float64(0.5))):
        trainer.scale_lr(factor)
        trainer.fit(clouds())
    assert same(plain, numpy)
    assert type(numpy.state_dict()["progress"]["rate"]) is float


def test_a_full_batch_has_the_masks_of_its_rows_whether_it_streams_or_not(backend: Backend) -> None:
    """The set is taken in its own order, as on the device, so that no row meets the mask of another."""
    network = Sequential(Dense(8), Dropout(0.5), Dense(3))
    resident, streamed = (
        make(backend, network=network, batch_size=None, resident=resident) for resident in ("yes", "no")
    )
    for trainer in (resident, streamed):
        trainer.fit(clouds())
    assert same(resident, streamed)


def test_a_time_limit_begins_anew_after_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("nnbackprop.training.callbacks.time.monotonic", lambda: now[0])

    class Interrupted(Callback):
        def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
            if event.epoch == 1:
                raise KeyboardInterrupt

    trainer = make(callbacks=[TimeLimit(10), Interrupted()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(clouds())
    now[0] += 3600
    trainer.fit(clouds())
    assert trainer.stop_reason == "finished"


def test_a_second_fit_without_a_validation_part_ends_with_its_last_weights() -> None:
    class Last(Callback):
        def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
            self.params = trainer.host_params()

    best, last = EarlyStopping(), Last()
    trainer = make(callbacks=[best, last], epochs=2)
    trainer.fit(clouds(), validation=crowded())
    trainer.set_options(epochs=4)
    trainer.fit(clouds())
    assert best.best_params is None
    assert all(map(np.array_equal, weights(trainer), leaves(last.params)))


def test_a_time_limit_ends_the_run() -> None:
    trainer = make(epochs=10**6, callbacks=[TimeLimit(0.2)])
    trainer.fit(clouds())
    assert trainer.stop_reason == "max-time"
    assert trainer.progress.epoch < 10**6


def test_train_begin_has_the_sizes() -> None:
    recorder = Recorder()
    make(callbacks=[recorder]).fit(clouds(), test=small_runs.clouds(30, spread=0.3))
    (begin,) = recorder.of(TrainBegin)
    assert begin.n_samples == {"train": 90, "validation": 0, "test": 30}
    assert begin.steps_per_epoch == 6
    assert [(row.name, row.parameters, row.bytes) for row in begin.layers if row.parameters] == [
        ("dense1", 2 * 8 + 8, 8 * 24),
        ("dense2", 8 * 3 + 3, 8 * 27),
    ]
    assert begin.layers[0].flops == 2 * 2 * 8 + 8


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_divergence_is_noticed_at_the_end_of_its_chunk() -> None:
    network = Sequential(Dense(8), ReLU(), Dense(3))
    with pytest.raises(DivergedError, match=r"by step \d+ .*NaN or infinite") as caught:
        make(network=network, loss=MeanSquaredError(), lr=1e200, epochs=3).fit(clouds())
    assert 1 <= caught.value.step <= 6


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_after_divergence_state_and_progress_are_of_the_same_step() -> None:
    options = {"network": Sequential(Dense(3)), "loss": MeanSquaredError(), "callbacks": [EveryStep()]}
    trainer = make(select("numpy"), lr=1e100, **options)
    trainer.initialize(clouds())
    state = tree_map(np.copy, trainer.state)
    with pytest.raises(DivergedError) as caught:
        trainer.fit(clouds())
    p, step = trainer.progress, trainer.train_step
    assert p.step == caught.value.step > 1
    assert p.samples_seen == 16 * p.step
    for batch in islice(trainer.batch_schedule.batches(1, 0, 0), p.step):
        assert all(np.isfinite(a).all() for a in leaves(state["params"]))
        state = step(state, trainer.device_data.arrays, batch)
    for replayed, kept in zip(leaves(state["params"]), weights(trainer), strict=True):
        np.testing.assert_array_equal(replayed, kept)


def test_predictions_are_probabilities_and_their_classes(backend: Backend) -> None:
    trainer = make(backend, epochs=3)
    trainer.fit(clouds())
    probabilities = trainer.predict_proba(clouds().inputs)
    assert probabilities.shape == (90, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert trainer.predict(clouds().inputs).tolist() == probabilities.argmax(axis=1).tolist()
    assert np.mean(trainer.predict(clouds().inputs) == clouds().targets) == trainer.evaluate(clouds()).accuracy


def test_labels_of_another_class_map_are_mapped_by_name() -> None:
    """Test data without class a: its labels 0 and 1 are b and c."""
    data = small_runs.clouds(300, 9, 0.3)
    kept = data.take(np.flatnonzero(data.targets > 0))
    part = Dataset(kept.inputs, kept.targets - 1, ("b", "c"))
    trainer = make(epochs=20)
    (*_, row) = trainer.fit(clouds(), test=part)
    assert row.test is not None
    assert row.test.accuracy == trainer.evaluate(kept).accuracy > 0.95


def test_options_that_cannot_be_right_leave_those_there_were() -> None:
    trainer = make(lr=0.5, epochs=2)
    with pytest.raises(UsageError, match="lr is -1 and must be"):
        trainer.set_options(epochs=7, lr=-1)
    assert (trainer.lr, trainer.epochs) == (0.5, 2)


def test_a_learning_rate_set_between_two_fits_is_that_of_the_next_steps() -> None:
    changed = make(lr=0.5, epochs=1)
    changed.fit(clouds())
    changed.set_options(lr=0.25, epochs=2)
    rows = changed.fit(clouds())
    scheduled = make(lr=lambda step: 0.5 if step < changed.batch_schedule.steps_per_epoch else 0.25, epochs=2)
    assert scheduled.fit(clouds())[-1].train == rows[-1].train


def test_fit_returns_the_rows_of_its_own_epochs() -> None:
    trainer = make(epochs=2)
    assert [row.epoch for row in trainer.fit(clouds())] == [1, 2]
    trainer.set_options(epochs=3)
    assert [row.epoch for row in trainer.fit(clouds())] == [3]
    assert [row.epoch for row in trainer.history] == [1, 2, 3]


def test_fit_after_an_early_stop_trains_again() -> None:
    trainer = make(lr=3.0, epochs=60, optimizer=Adam(), callbacks=[EarlyStopping(patience=1)])
    parts = crowded(), crowded(seed=5)
    trainer.fit(*parts)
    assert trainer.stop_reason == "early-stopping"
    steps = trainer.progress.step
    assert trainer.fit(*parts)
    assert trainer.progress.step > steps


@pytest.mark.parametrize("take", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_a_copy_of_a_trainer_goes_on_alike(backend: Backend, take: Any) -> None:
    trainer = make(backend, epochs=2, optimizer=Adam())
    trainer.fit(clouds())
    other = take(trainer)
    assert other.evaluate(clouds()) == trainer.evaluate(clouds())
    for one in (trainer, other):
        one.set_options(epochs=4)
        one.fit(clouds())
    assert same(trainer, other)


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

    network = Sequential(Dense(8), Slow(), Dense(3))
    trainer = make(select("numpy"), network=network, batch_size=1, callbacks=[TimeLimit(0.2)])  # no graph
    trainer.fit(clouds())
    assert trainer.stop_reason == "max-time"
    assert trainer.progress.step <= 6


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("method", ["scan", "to_numpy"])
def test_a_trainer_interrupted_within_a_chunk_goes_on_exactly(
    method: str, error: type[BaseException], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does in a notebook, in the steps or while the trainer waits for the device.

    It stands where its snapshot was taken, and `fit` repeats what came after.
    """
    whole, other = make(backend), make(backend)
    whole.fit(clouds())
    original, calls = getattr(other.backend, method), [0]

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        result = original(*arguments, **options)
        if calls[0] == 8:
            raise error
        return result

    monkeypatch.setattr(other.backend, method, interrupted)
    with pytest.raises(error):
        other.fit(clouds())
    assert other.progress.step < whole.progress.step
    assert math.isfinite(other.evaluate(clouds()).loss)
    other.fit(clouds())
    assert same(whole, other)
    assert [row.epoch for row in other.history] == [1, 2, 3, 4, 5]
    assert other.history[-1].train == whole.history[-1].train


@pytest.fixture
def rare_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """None within an epoch but at its beginning."""
    monkeypatch.setattr("nnbackprop.training.snapshot.MAX_COPY_FRACTION", 1e-12)


def interrupt(trainer: Trainer, step: int, data: Dataset) -> None:
    """Train until Ctrl-C in the chunk of this step."""
    original = trainer.backend.scan

    def scan(*arguments: Any, **options: Any) -> Any:
        if trainer.progress.step == step:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.backend, "scan", scan)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(data)


@pytest.mark.usefixtures("rare_snapshots")
def test_callbacks_see_each_epoch_once_around_an_interruption() -> None:
    recorder = Recorder()
    trainer = make(callbacks=[recorder, EveryStep()], batch_size=30)
    interrupt(trainer, 7, clouds())
    assert trainer.progress.step == 6
    trainer.fit(clouds())
    assert [event.epoch for event in recorder.of(EpochEnd)] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("rare_snapshots")
def test_an_interruption_after_load_params_keeps_what_was_loaded() -> None:
    trainer = make(callbacks=[EveryStep()], batch_size=30, epochs=1)
    trainer.fit(clouds())
    loaded = tree_map(np.ones_like, trainer.host_params())
    trainer.load_params(loaded)
    trainer.set_options(epochs=2)
    interrupt(trainer, 4, clouds())
    assert trainer.progress.step == 3
    assert all(map(np.array_equal, weights(trainer), leaves(loaded)))


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.ndarray.tolist])
def test_loaded_parameters_get_the_trainers_dtype(backend: Backend, kind: Any) -> None:
    """np.zeros, pandas and JSON give float64."""
    trainer, other = (make(backend, dtype="float32", epochs=1) for _ in range(2))
    for each in (trainer, other):
        each.fit(clouds())
        each.set_options(epochs=2)
    loaded = tree_map(np.rint, trainer.host_params())
    trainer.load_params(tree_map(kind, loaded))
    other.load_params(loaded)
    for each in (trainer, other):
        each.fit(clouds())
    assert same(trainer, other)
    assert {a.dtype for a in weights(trainer)} == {np.dtype("float32")}


def test_a_loaded_state_gets_the_trainers_dtype() -> None:
    trainer, other = (make(dtype=dtype, optimizer=Adam(), epochs=1) for dtype in ("float32", "float64"))
    for each in (trainer, other):
        each.fit(clouds())
    trainer.load_state_dict(other.state_dict())
    trainer.set_options(epochs=2)
    trainer.fit(clouds())
    assert {a.dtype for a in leaves(trainer.state)} == {np.dtype("float32")}


def test_a_trainer_initialized_again_begins_anew() -> None:
    """Its progress, its history, and the best weights of its callback."""
    best = EarlyStopping()
    trainer, first = make(lr=lambda step: 0.3 if step < 6 else 30.0, callbacks=[best]), make(callbacks=[])
    rows = trainer.fit(clouds(), validation=crowded())
    assert best.best_epoch == 1
    trainer.initialize(clouds())
    first.initialize(clouds())
    assert same(trainer, first)
    trainer.set_options(lr=1e-6)
    again = trainer.fit(clouds(), validation=crowded())
    assert [row.epoch for row in again] == [row.epoch for row in rows] == [row.epoch for row in trainer.history]
    assert best.best_loss == min(row.validation.loss for row in again if row.validation)


@pytest.mark.parametrize(
    "options",
    [
        lambda number: {
            "network": Sequential(
                Dense(8),
                LeakyReLU(number(0.1)),
                BatchNorm(number(0.1), number(1e-5)),
                Dropout(number(0.3)),
                Dense(3),
            ),
            "loss": SoftmaxCrossEntropy(number(0.1)),
            "optimizer": Momentum(number(0.9)),
            "penalty": WeightPenalty(number(1e-4), number(1e-3)),
            "lr": number(0.1),
        },
        lambda number: {
            "network": Sequential(Dense(8), LayerNorm(number(1e-5)), ELU(number(1.0)), Dense(3)),
            "loss": MeanSquaredError(off_value=number(0.1), on_value=number(0.9)),
            "optimizer": ExponentialMovingAverage(
                GradientClipping(
                    AdamW(number(0.9), number(0.99), number(1e-8), number(0.01)),
                    norm=number(1.0),
                    value=number(0.5),
                ),
                number(0.99),
            ),
        },
    ],
    ids=["momentum", "adamw"],
)
def test_hyperparameters_may_be_numbers_of_numpy(backend: Backend, options: Callable[..., Any]) -> None:
    """np.logspace gives np.float64, and a float32 array times one of these is float64."""
    trainers = [make(backend, dtype="float32", epochs=2, **options(number)) for number in (float, np.float64)]
    for trainer in trainers:
        trainer.fit(clouds())
    assert all(a.dtype == np.float32 for a in weights(trainers[1]))
    assert same(*trainers)
