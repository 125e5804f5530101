"""Targets and sample weights through `Trainer.fit` on every backend, against the descent written in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from backends import Backend, leaves
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.layers import Dense, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD
from nnbackprop.training.callbacks import Callback, TimeLimit
from nnbackprop.training.events import ChunkEnd
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import make_trainer, state_arrays

RNG = np.random.default_rng(0)
X = RNG.standard_normal((46, 3))
LABELS = (X @ RNG.standard_normal((3, 3))).argmax(axis=1).astype(np.int32)
NUMBERS = X @ RNG.standard_normal((3, 2)) + 0.1 * RNG.standard_normal((46, 2)) + 5
SEVERAL = (NUMBERS > 5).astype(float)
WEIGHTS = RNG.uniform(0, 3, 46)
WEIGHTS[::5] = 0
LR, BATCH, EPOCHS = 0.1, 16, 3

Slopes = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def softmax_cross_entropy(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(t)), t]), p - np.eye(3)[t]


def binary_cross_entropy(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = 1 / (1 + np.exp(-z))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(axis=1), p - t


def mean_squared_error(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ((z - t) ** 2).mean(axis=1), 2 * (z - t) / t.shape[1]


class Task(NamedTuple):
    """Targets, their classes, the loss, and J_i (n,) and dJ_i/dz (n, k) in NumPy."""

    targets: np.ndarray
    classes: tuple[str, ...]
    loss: Any
    slopes: Slopes


TASKS = {
    "classes": Task(LABELS, ("a", "b", "c"), SoftmaxCrossEntropy(), softmax_cross_entropy),
    "several labels": Task(SEVERAL, (), SigmoidBinaryCrossEntropy(), binary_cross_entropy),
    "numbers": Task(NUMBERS, (), MeanSquaredError("mean"), mean_squared_error),
}


def trainer_of(task: Task, backend: Backend | None = None, **options: Any) -> Trainer:
    outputs = len(task.classes) or task.targets.shape[1]
    network = Sequential(Dense(4), Tanh(), Dense(outputs))
    given = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, **options}
    return make_trainer(backend, network=network, loss=task.loss, optimizer=SGD(), lr=LR, **given)


def descend(params: list[np.ndarray], task: Task, weights: np.ndarray) -> list[float]:
    """Plain descent on x W1 + b1, tanh, W2 + b2, in place; each epoch's weighted mean of the batches' losses."""
    losses = []
    for _ in range(EPOCHS):
        total = 0.0
        for begin in range(0, len(X), BATCH):
            rows = slice(begin, begin + BATCH)
            W1, b1, W2, b2 = params
            x, w = X[rows], weights[rows, None] / weights[rows].sum()
            a = np.tanh(x @ W1 + b1)
            J, dz = task.slopes(a @ W2 + b2, task.targets[rows])
            dz = w * dz
            da = dz @ W2.T * (1 - a**2)
            gradients = x.T @ da, da.sum(axis=0), a.T @ dz, dz.sum(axis=0)
            params[:] = [p - LR * g for p, g in zip(params, gradients, strict=True)]
            total += (weights[rows] * J).sum()
        losses.append(total / weights.sum())
    return losses


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("resident", ["yes", "no"])
@pytest.mark.parametrize("name", TASKS)
def test_fit_is_the_descent_written_by_hand(
    name: str, resident: str, weights: np.ndarray | None, backend: Backend
) -> None:
    task = TASKS[name]
    data = Dataset(X, task.targets, task.classes, weights=weights)
    trainer = trainer_of(task, backend, resident=resident)
    trainer.initialize(data)
    params = [np.array(backend.to_numpy(a)) for a in leaves(trainer.params)]
    rows = trainer.fit(data)
    losses = descend(params, task, np.ones(46) if weights is None else weights)
    np.testing.assert_allclose([row.train.loss for row in rows], losses, rtol=1e-11)
    for ours, by_hand in zip(leaves(trainer.params), params, strict=True):
        np.testing.assert_allclose(backend.to_numpy(ours), by_hand, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", TASKS)
def test_metrics_are_those_of_the_predictions(name: str, weights: np.ndarray | None) -> None:
    """As scikit-learn has them: accuracy; subset accuracy, micro F1; RMSE, MAE and the mean R2 of the outputs."""
    task = TASKS[name]
    data = Dataset(X, task.targets, task.classes, weights=weights)
    trainer = trainer_of(task, epochs=20)
    trainer.fit(data)
    w = np.ones(46) if weights is None else weights
    y, t = trainer.predict(X), task.targets
    mean = lambda values: float(np.average(values, weights=w))  # noqa: E731
    if name == "classes":
        expected = {"accuracy": mean(y == t)}
    elif name == "numbers":
        center = np.average(t, axis=0, weights=w)
        r2 = 1 - (w[:, None] * (y - t) ** 2).sum(axis=0) / (w[:, None] * (t - center) ** 2).sum(axis=0)
        squared, absolute = mean(((y - t) ** 2).mean(axis=1)), mean(np.abs(y - t).mean(axis=1))
        expected = {"rmse": squared**0.5, "mae": absolute, "r2": r2.mean()}
        with pytest.raises(UsageError, match="have none: call predict"):
            trainer.predict_proba(X)
    else:
        on = y == 1
        assert np.array_equal(on, trainer.predict_proba(X) >= 0.5)
        both, positive = (w[:, None] * (on & (t == 1))).sum(), (w[:, None] * (on + t)).sum()
        expected = {"subset_accuracy": mean((on == t).all(axis=1)), "f1": 2 * both / positive}
    assert trainer.evaluate(data).metrics == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("parts", [3, 16])
def test_weighted_microbatches_sum_to_the_batch(name: str, parts: int) -> None:
    """Also those whose samples all weigh 0."""
    task, weights = TASKS[name], WEIGHTS.copy()
    weights[:20] = 0  # the whole first batch and more
    data = Dataset(X, task.targets, task.classes, weights=weights)
    trainers = [trainer_of(task) for _ in range(2)]
    for trainer, microbatches in zip(trainers, (1, parts), strict=True):
        trainer.initialize(data)
        trainer.train_step = replace(trainer.train_step, n_microbatches=microbatches)
        trainer.fit(data)
    for a, b in zip(*map(state_arrays, trainers), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    assert trainers[0].history[-1].train.loss == pytest.approx(trainers[1].history[-1].train.loss, rel=1e-12)


def test_a_chunk_whose_samples_all_weigh_0_has_no_loss() -> None:
    losses: list[float] = []

    class Losses(Callback):
        def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
            losses.append(event.loss)

    weights = np.where(np.arange(46) < 16, 0.0, 1.0)
    data = Dataset(X, LABELS, ("a", "b", "c"), weights=weights)
    trainer_of(TASKS["classes"], epochs=1, callbacks=[Losses(), TimeLimit(1000)]).fit(data)
    assert losses[0] == 0
    assert min(losses[1:]) > 0


def test_a_weight_of_two_is_a_sample_twice() -> None:
    twice = np.concatenate([np.arange(46), [7]])
    weights = np.where(np.arange(46) == 7, 2.0, 1.0)
    task = TASKS["classes"]
    trainers = [trainer_of(task, batch_size=None) for _ in range(2)]
    trainers[0].fit(Dataset(X, LABELS, task.classes, weights=weights))
    trainers[1].fit(Dataset(X[twice], LABELS[twice], task.classes))
    for a, b in zip(*map(state_arrays, trainers), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(
    ("targets", "loss", "units", "error", "said"),
    [
        (NUMBERS, MeanSquaredError(), 3, ShapeError, r"the data has 2 targets a sample: it must give \(2,\)"),
        (NUMBERS, SoftmaxCrossEntropy(), 2, UsageError, "takes class labels"),
        (X[:, 0] > 0, SoftmaxCrossEntropy(), 1, ShapeError, r"a softmax is always 1: .* Dense\(2\)"),
    ],
)
def test_targets_that_do_not_fit_the_network_or_loss_are_refused(
    targets: np.ndarray, loss: Any, units: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make_trainer(network=Sequential(Dense(units)), loss=loss).fit(Dataset(X, targets))
