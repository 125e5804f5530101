"""Memory that runs out: the run goes on in microbatches with the same gradients, also where it then diverges."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Backend, leaves, select, tree_map
from nnbackprop.errors import OutOfMemoryError
from nnbackprop.nn.layers import ACTIVATIONS, Dense, ReLU
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.training.step import TrainStep
from tests.support.commands import draw_no_plots, run, said
from tests.support.small_runs import Messages, assert_close_state, clouds, make_trainer

TRAIN, VALIDATION = clouds(), clouds(30, seed=3)


@pytest.mark.parametrize("resident", ["yes", "no"])
def test_gradients_of_microbatches_sum_to_those_of_the_batch(backend: Backend, resident: str) -> None:
    """With the same dropout masks, penalties and counts, and so the same parameters after the step."""
    trainers = []
    for microbatches in (1, 3):
        trainer = make_trainer(backend, penalty=WeightPenalty(l1=0.01, l2=0.1), resident=resident)
        trainer._start_fit(TRAIN, None, None)
        step = replace(trainer.train_step, n_microbatches=microbatches).with_gradient_norms
        x = next(trainer.batch_schedule.batches(1, 0, 0))
        copied = tree_map(partial(backend.xp.asarray, copy=True), trainer.state)
        trainer.state = step(copied, trainer.device_data.arrays, x)
        trainers.append(trainer)
    whole, parts = (leaves((trainer.state["gradient_norms"], trainer.state["sums"])) for trainer in trainers)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(backend.to_numpy(b), backend.to_numpy(a), rtol=1e-12)
    assert_close_state(*trainers)


def test_a_full_batch_can_be_cut_into_microbatches() -> None:
    trainers = [make_trainer(batch_size=None, epochs=3) for _ in range(2)]
    for trainer, microbatches in zip(trainers, (1, 4), strict=True):
        trainer.initialize(TRAIN)
        trainer.train_step = replace(trainer.train_step, n_microbatches=microbatches)
        trainer.fit(TRAIN)
    assert_close_state(*trainers)


@pytest.mark.parametrize("where", [(Objective, "value_and_grad"), (TrainStep, "__call__")])
@pytest.mark.parametrize("at", [1, 5, 8])
def test_a_chunk_that_ran_out_of_memory_is_repeated_in_microbatches(
    where: tuple[type, str], at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From some call on memory is short, first for batches, then for halves; a half updated state is dropped."""
    backend = None if at == 1 else select("numpy")  # a graph calls no Python when it is replayed
    whole = make_trainer(backend)
    whole.fit(TRAIN, VALIDATION)
    calls, failures, plain = [0], [0], getattr(*where)

    def short_of_memory(self: Any, first: Any, *more: Any) -> Any:
        calls[0] += 1
        if calls[0] >= at and failures[0] < 2:
            failures[0] += 1
            for array in leaves(trainer.snapshot.state and first["params"] if where[0] is TrainStep else ()):
                array *= 1.5
            raise MemoryError
        return plain(self, first, *more)

    monkeypatch.setattr(*where, short_of_memory)
    messages = Messages()
    trainer = make_trainer(backend, callbacks=[messages])
    trainer.fit(TRAIN, VALIDATION)
    assert messages.texts == ["memory ran out: each batch is worked through in 4 microbatches from here on"]
    assert_close_state(whole, trainer)
    assert [row.epoch for row in trainer.history] == [row.epoch for row in whole.history]


def test_too_little_memory_for_one_sample_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Dense, "forward", forward)
    with pytest.raises(OutOfMemoryError, match=r"step 1, with batches worked through a sample at a time"):
        make_trainer().fit(TRAIN, VALIDATION)


# Memory for 30 rows of a batch of 100, through the command line.


@dataclass(frozen=True)
class ThirtyRows(ReLU):
    """A ReLU whose forward pass in training runs out of memory above 30 rows."""

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
        if key is not None and x.shape[0] > 30:
            raise MemoryError
        return super().forward(xp, params, x, key)


@pytest.fixture
def train(in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trains a network of such a layer on 300 samples; returns the exit status."""
    labels = np.arange(300) % 2
    np.savez("two.npz", X=np.random.default_rng(0).standard_normal((300, 3)) + 4 * labels[:, None], y=labels)
    draw_no_plots(monkeypatch)
    monkeypatch.setitem(ACTIVATIONS, "relu", ThirtyRows)
    words = [
        "mnist-original",
        "--data",
        "two.npz",
        "--hidden",
        "8",
        "--dropout",
        "0",
        "--batch-size",
        "100",
        "--name",
        "a",
    ]
    words += ["--test-fraction", "0", "--epochs", "20", "--progress", "plain", "--backend", "numpy"]
    return lambda *flags: run("train", *words, *flags)


PARTS = "memory ran out: each batch is worked through in 4 microbatches from here on"
DIVERGES = ["--loss", "half-mse", "--lr", "2"]


@pytest.mark.parametrize("flags", [[], ["--doctor"]])
def test_a_healthy_run_goes_on_in_microbatches(
    train: Any, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*flags) == 0
    assert PARTS in said(capsys)
    assert json.loads(Path("runs/a/summary.json").read_text(encoding="utf-8"))["train_accuracy"] > 0.95


@pytest.mark.parametrize("flags", [[], ["--doctor"]])
def test_a_divergence_is_traced_through_the_same_microbatches(
    train: Any, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*DIVERGES, *flags) == 4
    messages = said(capsys)
    assert PARTS in messages
    assert "Training diverged. Step " in messages
    assert "dense" in messages


def test_recovery_from_divergence_goes_on_in_microbatches(train: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*DIVERGES, "--on-nan", "restore-and-halve-lr") == 0
    messages = said(capsys)
    assert messages.count("memory ran out") == 1
    assert "Back to step 0, and on at " in messages
    assert len(Path("runs/a/metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 20
