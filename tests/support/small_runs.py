"""A small trainer, with all that a resume could lose, and the callbacks that a run folder gives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backends import Backend, leaves, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.nn.layers import Dense, Dropout, ReLU, Tanh
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Adam
from nnbackprop.runs.callbacks import CheckpointCallback, JsonlLogger, SaveInterval
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.events import EpochEnd
from nnbackprop.training.trainer import Trainer


def clouds(n: int = 46, seed: int = 0, spread: float = 1.0) -> Dataset:
    """Three clouds of points in the plane, one a class, that overlap at a spread of 1."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3).astype(np.int32)
    centres = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return Dataset(centres[labels] + spread * rng.standard_normal((n, 2)), labels, ("a", "b", "c"))


default_backend = "numpy"
"""Of small runs for which a test names none; `--backend` sets it."""


def make_trainer(backend: Backend | None = None, **options: Any) -> Trainer:
    """Dropout, Adam's moments and, on 46 samples, a last batch of 14: three steps an epoch."""
    given = {"epochs": 4, "batch_size": 16, "dtype": "float64", "seed": 1, **options}
    network = given.pop("network", Sequential(Dense(8), Tanh(), Dropout(0.3), Dense(3)))
    loss, optimizer = given.pop("loss", SoftmaxCrossEntropy()), given.pop("optimizer", Adam())
    return Trainer(
        network, loss, optimizer, given.pop("lr", 0.05), backend=backend or select(default_backend), **given
    )


def fit_captured(backend: Backend, optimizer: Any = None, **options: Any) -> Trainer:
    """A trainer after three epochs with dropout, ragged batches and an evaluation, long enough to be captured."""
    rng = np.random.default_rng(5)
    train, test = (
        Dataset(rng.integers(0, 255, (n, 6), np.uint8), rng.integers(0, 3, n), ("a", "b", "c")) for n in (203, 40)
    )
    network = Sequential(Dense(8), ReLU(), Dropout(0.3), Dense(3))
    options = {"epochs": 3, "batch_size": 4, "lr": 0.01, **options}
    trainer = Trainer(network, SoftmaxCrossEntropy(), optimizer or Adam(), backend=backend, **options)
    trainer.fit(train, test=test)
    return trainer


def run_callbacks(
    run_dir: RunDir, every: int | None = None, early_stopping: EarlyStopping | None = None
) -> CheckpointCallback:
    """What writes a run's rows and checkpoints, the latter every so many steps too."""
    logger, best = JsonlLogger(run_dir), early_stopping or EarlyStopping()
    return CheckpointCallback(CheckpointManager(run_dir.checkpoints_dir), logger, best, {}, SaveInterval(every))


class EveryStep(Callback):
    """Makes chunks of one step."""

    chunk_ends_every = 1


class Messages(Callback):
    """Keeps the messages for people."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def state_arrays(trainer: Trainer) -> list[np.ndarray]:
    """Copies of the parameters and the optimizer's state, on the host."""
    state = {name: trainer.state[name] for name in ("params", "optimizer")}
    return [np.array(trainer.backend.to_numpy(a)) for a in leaves(state)]


def assert_equal_state(a: Trainer, b: Trainer) -> None:
    """AssertionError unless parameters and optimizer state have the same bits."""
    for x, y in zip(state_arrays(a), state_arrays(b), strict=True):
        np.testing.assert_array_equal(x, y, strict=True)
        assert x.tobytes() == y.tobytes()  # 0 and -0 are equal too


def assert_close_state(a: Trainer, b: Trainer) -> None:
    """AssertionError unless each array is within 1e-12 of the other's, by norm."""
    for x, y in zip(state_arrays(a), state_arrays(b), strict=True):
        assert np.linalg.norm(x - y) <= 1e-12 * np.linalg.norm(x)


def untimed(rows: list[EpochEnd]) -> list[EpochEnd]:
    """Rows without what depends on the clock."""
    return [replace(row, seconds=0.0, samples_per_second=0.0) for row in rows]
