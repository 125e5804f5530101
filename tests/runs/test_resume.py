"""A run resumed from any step ends as if it had never stopped; what does not belong to it is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from msgspec import to_builtins

from backends import Backend
from nnbackprop.errors import RunFolderError
from nnbackprop.nn.layers import Dense
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import OPTIMIZERS
from nnbackprop.optim.schedules import parse_schedule
from nnbackprop.runs.checkpoint import Checkpoint, from_bytes, to_bytes
from nnbackprop.runs.trainer_checkpoint import CheckpointInfo, make_last_checkpoint, restore, scaling_of
from nnbackprop.training.callbacks import Callback, EarlyStopping, ReduceLROnPlateau
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import (
    EveryStep,
    assert_close_state,
    assert_equal_state,
    clouds,
    make_trainer,
    untimed,
)

EPOCHS, STEPS = 4, 3
SCHEDULES = ("constant", "step:2:0.5", "exponential:0.9", "cosine", "one-cycle", "warmup:4", "warmup:4+cosine")
TRAIN, VALIDATION = clouds(), clouds(30, seed=3)


class Saves(Callback):
    """Keeps a checkpoint, as bytes, after every step and after every epoch's end."""

    def __init__(self, best: EarlyStopping) -> None:
        self.best, self.files = best, []

    def chunk_end(self, trainer: Trainer, event: Any) -> None:
        self.files.append(to_bytes(make_last_checkpoint(trainer, self.best, {})))

    epoch_end = chunk_end


def uninterrupted(
    patience: int | None = None, more: Sequence[Callback] = (), **options: Any
) -> tuple[Trainer, EarlyStopping, list[bytes]]:
    """A run to its end, its best weights, and the checkpoints it made on the way."""
    best = EarlyStopping(patience)
    saves = Saves(best)
    trainer = make_trainer(callbacks=[best, *more, saves, EveryStep()], **options)
    trainer.fit(TRAIN, VALIDATION)
    return trainer, best, saves.files


def resumed(
    file: bytes,
    backend: Backend | None = None,
    patience: int | None = None,
    more: Sequence[Callback] = (),
    **options: Any,
) -> tuple[Trainer, EarlyStopping]:
    """A new trainer that goes on from a checkpoint to the end."""
    best = EarlyStopping(patience)
    trainer = make_trainer(backend, callbacks=[best, *more, EveryStep()], **options)
    restore(trainer, best, TRAIN, from_bytes(file))
    trainer.fit(TRAIN, VALIDATION)
    return trainer, best


def assert_resumes_exactly(**options: Any) -> tuple[Trainer, EarlyStopping]:
    """From every checkpoint of a run: the same bits of weights and optimizer, best weights, counters and rows."""
    whole, best, files = uninterrupted(**options)
    assert len(files) == len(whole.history) * (STEPS + 1)
    for file in files:
        other, its_best = resumed(file, **options)
        assert_equal_state(whole, other)
        assert (best.best_epoch, best.best_loss, best.wait) == (
            its_best.best_epoch,
            its_best.best_loss,
            its_best.wait,
        )
        for name in ("epoch", "step", "planned_epochs"):
            assert getattr(whole.progress, name) == getattr(other.progress, name)
        assert whole.stop_reason == other.stop_reason
        rows = untimed(other.history)
        assert rows == untimed(whole.history)[len(whole.history) - len(rows) :]
    return whole, best


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resume_from_any_step_is_bit_identical_with_every_optimizer(optimizer: str) -> None:
    assert_resumes_exactly(optimizer=OPTIMIZERS[optimizer](), lr=0.02)


@pytest.mark.parametrize("word", SCHEDULES)
def test_resume_from_any_step_is_bit_identical_with_every_schedule(word: str) -> None:
    assert_resumes_exactly(lr=parse_schedule(word, 0.05, EPOCHS * STEPS, STEPS))


def test_resume_goes_on_waiting_for_a_plateau_to_end() -> None:
    """The rate overshoots and is reduced again and again; a checkpoint of any step knows how long it waited."""
    plateau = ReduceLROnPlateau(factor=0.5, patience=2)  # without a state of its own
    whole, _ = assert_resumes_exactly(lr=1.0, epochs=14, more=(plateau,))
    assert whole.progress.lr_factor <= 0.25
    assert {row.lr for row in whole.history} >= {1.0, 0.5, 0.25}


def test_resume_goes_on_counting_epochs_without_improvement() -> None:
    """At a rate that overshoots the run stops early, some epochs after its best, with whose weights it ends."""
    whole, best = assert_resumes_exactly(lr=1.0, epochs=40, patience=3)
    assert (whole.stop_reason, best.wait) == ("early-stopping", 3)
    assert len(whole.history) == best.best_epoch + 3 < 40


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_run_begun_on_numpy_resumes_on_every_backend(backend: Backend, at: int) -> None:
    whole, _, files = uninterrupted()
    assert_close_state(whole, resumed(files[at], backend)[0])


@pytest.mark.parametrize("every", [2, 5, None])
def test_where_chunks_end_changes_no_bit_of_the_weights(every: int | None) -> None:
    class Every(Callback):
        chunk_ends_every = every

    other = make_trainer(callbacks=[Every()])
    other.fit(TRAIN, VALIDATION)
    whole = make_trainer(callbacks=[EveryStep()])
    whole.fit(TRAIN, VALIDATION)
    assert_equal_state(whole, other)


# Checkpoints that do not belong.


def test_a_checkpoint_of_another_network_is_refused() -> None:
    other = make_trainer(network=Sequential(Dense(9), Dense(3)))
    with pytest.raises(RunFolderError, match="another network"):
        restore(other, EarlyStopping(), TRAIN, from_bytes(uninterrupted()[2][0]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("progress", None),
        ("progress", {"epoch": 0}),
        ("progress", {"step": -1}),
        ("progress", {"step": 2**70}),
        ("progress", {"step": "7"}),
        ("progress", {"samples": len(TRAIN) + 1}),
        ("progress", {"rate": 0.0}),
        ("progress", {"norms": {"dense1": "large"}}),
        ("best", {"epoch": 1}),
        ("best", {"epoch": 1, "loss": [], "waited": 0}),
    ],
)
def test_impossible_counters_are_refused_even_with_a_right_digest(name: str, value: object) -> None:
    found = from_bytes(uninterrupted()[2][-1])
    changed = from_bytes(to_bytes(replace(found, meta={**found.meta, name: value})))
    with pytest.raises(RunFolderError, match=r"The checkpoint (does not say where|is 47 samples into)"):
        restore(make_trainer(), EarlyStopping(), TRAIN, changed)


@pytest.mark.parametrize("scale", [None, np.ones(3), np.ones((2, 2))])
def test_a_checkpoint_without_a_scaling_of_its_features_is_refused(scale: np.ndarray | None) -> None:
    info = to_builtins(CheckpointInfo("0", "f", 2, ("a", "b", "c"), 1.0, None, {}))
    arrays = {} if scale is None else {"scaling/scale": scale}
    with pytest.raises(RunFolderError, match="no scaling of its inputs, or one of another number of features"):
        scaling_of(Checkpoint({**arrays, "scaling/shift": np.zeros(())}, info))


def test_a_checkpoint_without_best_weights_is_json_and_an_earlier_one_resumes() -> None:
    """Which wrote the loss of none as Infinity."""
    trainer, stopping = make_trainer(), EarlyStopping()
    trainer.fit(TRAIN)
    written = make_last_checkpoint(trainer, stopping, {})
    assert json.loads(json.dumps(written.meta), parse_constant=pytest.fail)["best"]["loss"] is None
    for loss in (None, math.inf):
        best = {"epoch": 0, "loss": loss, "waited": 0}
        found = from_bytes(to_bytes(replace(written, meta={**written.meta, "best": best})))
        again, restored = make_trainer(), EarlyStopping()
        restore(again, restored, TRAIN, found)
        assert again.progress == trainer.progress
        assert (restored.best_epoch, restored.best_loss) == (0, math.inf)
