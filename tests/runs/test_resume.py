"""A run goes on from any step as if it had never stopped: bit for bit on its own library, closely on others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from backends import Backend, leaves, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import chunk_rows
from nnbackprop.errors import OutOfMemoryError, RunFolderError
from nnbackprop.nn.layers import Dense, Dropout, Tanh
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import OPTIMIZERS, Adam
from nnbackprop.optim.schedules import schedule
from nnbackprop.runs.checkpoint import Checkpoint, from_bytes, to_bytes
from nnbackprop.runs.trainer_state import About, restore, scaling_of, take_last
from nnbackprop.training.callbacks.base import Callback, ChunkEnd, EpochEnd
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

SAMPLES, BATCH, EPOCHS = 46, 16, 4
STEPS = 3  # an epoch, of 16, 16 and 14 samples
SCHEDULES = ("constant", "step:2:0.5", "exponential:0.9", "cosine", "one-cycle", "warmup:4", "warmup:4+cosine")


def clouds(n: int = SAMPLES, seed: int = 0) -> Dataset:
    """Three clouds of points in the plane, one a class, that overlap."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3).astype(np.int32)
    centres = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return Dataset(centres[labels] + rng.standard_normal((n, 2)), labels, ("a", "b", "c"))


TRAIN, VALIDATION = clouds(), clouds(30, seed=3)


def make(backend: Backend | None = None, **settings: Any) -> Trainer:
    """With dropout, a ragged last batch, and a save after every step."""
    given = {"epochs": EPOCHS, "batch_size": BATCH, "dtype": "float64", "seed": 1, "save_every": 1, **settings}
    network = Sequential(Dense(8), Tanh(), Dropout(0.3), Dense(3))
    optimizer, lr = given.pop("optimizer", Adam()), given.pop("lr", 0.05)
    return Trainer(network, SoftmaxCrossEntropy(), optimizer, lr, backend=backend or select("numpy"), **given)


class Saves(Callback):
    """A checkpoint as bytes after every step, and after every epoch's end."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None
        self.files: list[bytes] = []

    def chunk_end(self, event: ChunkEnd) -> None:
        self._save()

    def epoch_end(self, event: EpochEnd) -> None:
        self._save()

    def _save(self) -> None:
        assert self.trainer
        self.files.append(to_bytes(take_last(self.trainer, {})))


def whole(**settings: Any) -> tuple[Trainer, list[bytes]]:
    """A run left alone, and all its checkpoints."""
    saves = Saves()
    trainer = saves.trainer = make(callbacks=[saves], **settings)
    trainer.fit(TRAIN, VALIDATION)
    return trainer, saves.files


def resumed(file: bytes, backend: Backend | None = None, **settings: Any) -> Trainer:
    """A new trainer that goes on from a checkpoint."""
    trainer = make(backend, **settings)
    restore(trainer, TRAIN, from_bytes(file))
    trainer.fit(TRAIN, VALIDATION)
    return trainer


def arrays(trainer: Trainer) -> list[np.ndarray]:
    """Parameters and the optimizer's state."""
    state = {name: trainer.state[name] for name in ("params", "optimizer")}
    return [trainer.backend.to_numpy(a) for a in leaves(state)]


def alike(a: Trainer, b: Trainer) -> None:
    """The same to the last bit: weights, optimizer's state, best, counters, and the rows they both have."""
    for x, y in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert (a.best.epoch, a.best.loss, a.best.waited) == (b.best.epoch, b.best.loss, b.best.waited)
    assert (a.progress.epoch, a.progress.step, a.stopped) == (b.progress.epoch, b.progress.step, b.stopped)
    rows = {row.epoch: replace(row, seconds=0, samples_per_second=0) for row in a.history}
    assert b.history == [] or b.history[-1].epoch == a.history[-1].epoch
    for row in b.history:
        assert replace(row, seconds=0, samples_per_second=0) == rows[row.epoch]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_exactly_from_every_step(optimizer: str) -> None:
    settings = {"optimizer": OPTIMIZERS[optimizer](), "lr": 0.02}
    undisturbed, files = whole(**settings)
    assert len(files) == EPOCHS * (STEPS + 1)
    for file in files:
        alike(undisturbed, resumed(file, **settings))


@pytest.mark.parametrize("word", SCHEDULES)
def test_every_schedule_goes_on_exactly_from_every_step(word: str) -> None:
    lr = schedule(word, 0.05, EPOCHS * STEPS, STEPS)
    undisturbed, files = whole(lr=lr)
    for file in files:
        alike(undisturbed, resumed(file, lr=lr))


def test_patience_goes_on_where_it_was() -> None:
    """At a rate that overshoots the run stops early, some epochs after its best, which it ends with."""
    settings = {"lr": 1.0, "epochs": 40, "patience": 3}
    undisturbed, files = whole(**settings)
    assert undisturbed.stopped == "early-stopping"
    assert undisturbed.best.waited == 3
    assert len(undisturbed.history) == undisturbed.best.epoch + 3 < 40
    for file in files:
        alike(undisturbed, resumed(file, **settings))


def test_where_chunks_end_changes_no_bit_of_the_weights() -> None:
    undisturbed, _ = whole()
    for every in (None, 2, 5):
        other = make(save_every=every)
        other.fit(TRAIN, VALIDATION)
        for x, y in zip(arrays(undisturbed), arrays(other), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_run_begun_on_numpy_goes_on_on_every_library(backend: Backend, at: int) -> None:
    undisturbed, files = whole()
    for x, y in zip(arrays(undisturbed), arrays(resumed(files[at], backend)), strict=True):
        assert np.linalg.norm(x - y) <= 1e-12 * np.linalg.norm(x)


def test_a_checkpoint_of_another_network_is_refused() -> None:
    _, files = whole()
    other = Trainer(Sequential(Dense(9), Dense(3)), SoftmaxCrossEntropy(), Adam(), 0.1, backend=select("numpy"))
    with pytest.raises(RunFolderError, match="another network"):
        restore(other, TRAIN, from_bytes(files[0]))


WRONG = [
    ("progress", None),
    ("progress", {"epoch": 0}),
    ("progress", {"step": -1}),
    ("progress", {"step": 2**70}),
    ("progress", {"step": "7"}),
    ("progress", {"samples": SAMPLES + 1}),
    ("progress", {"rate": 0.0}),
    ("progress", {"norms": {"dense1": "large"}}),
    ("best", {"epoch": 1}),
    ("best", {"epoch": 1, "loss": [], "waited": 0}),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_checkpoint_signed_with_numbers_that_cannot_be_is_refused(name: str, value: object) -> None:
    _, files = whole()
    found = from_bytes(files[-1])
    with pytest.raises(RunFolderError, match=r"The checkpoint (does not say where|is 47 samples into)"):
        restore(make(), TRAIN, from_bytes(to_bytes(replace(found, meta={**found.meta, name: value}))))


@pytest.mark.parametrize("scale", [None, np.ones(3), np.ones((2, 2))])
def test_a_checkpoint_without_a_scaling_of_its_features_is_refused(scale: np.ndarray | None) -> None:
    _, files = whole()
    found = from_bytes(files[-1])
    told = structs.asdict(About("0", "f", 2, ("a", "b", "c"), 1.0, None, {}))
    arrays = {name: a for name, a in found.arrays.items() if name != "scaling/scale"}
    arrays |= {} if scale is None else {"scaling/scale": scale}
    with pytest.raises(RunFolderError, match="no scaling of its inputs, or one of another number of features"):
        scaling_of(Checkpoint(arrays, told))


@pytest.mark.parametrize(("batch", "length", "every"), [(3, 8, 5), (3, 8, 1), (4, 2, 3), (7, 16, 100)])
def test_chunks_end_at_saves_and_are_cut_alike_from_any_of_them(batch: int, length: int, every: int) -> None:
    rows = np.arange(100)
    chunks = list(chunk_rows(rows, batch, length, 0, every))
    assert np.concatenate([chunk.ravel() for chunk in chunks]).tolist() == rows.tolist()
    ends = np.cumsum([len(chunk) for chunk in chunks])
    assert set(range(every, ends[-1] + 1, every)) <= set(ends.tolist())
    for k, end in enumerate(ends[:-1], start=1):
        rest = chunk_rows(rows[end * batch :], batch, length, int(end), every)
        assert [chunk.shape for chunk in rest] == [chunk.shape for chunk in chunks[k:]]


# Memory that runs out.


@pytest.mark.parametrize("parts", [3])
@pytest.mark.parametrize("resident", ["yes", "no"])
def test_the_gradients_of_a_batchs_parts_sum_to_its_own(backend: Backend, parts: int, resident: str) -> None:
    """In float64 to 1e-12, with the same dropout masks, penalties, and counts."""
    made = []
    for step_parts in (1, parts):
        trainer = make(backend, penalty=WeightPenalty(l1=0.01, l2=0.1), resident=resident)
        trainer.build(TRAIN)
        trainer._prepare(TRAIN, None, None)
        (_, xs) = next(iter(trainer.course.chunks(1, 0, 0)))
        step = replace(trainer.step, parts=step_parts)
        found = step.gradients(trainer.state, trainer.loader.data, tree_map(lambda a: a[0, ...], xs))
        made.append([backend.to_numpy(a) for a in leaves(found)])
    for whole_batch, summed in zip(*made, strict=True):
        assert np.linalg.norm(whole_batch - summed) <= 1e-12 * np.linalg.norm(whole_batch)


def test_a_whole_set_taken_as_it_lies_can_be_cut_too() -> None:
    trainers = [make(batch_size=None, epochs=3) for _ in range(2)]
    trainers[1].step = replace(trainers[1].step, parts=4)
    for trainer in trainers:
        trainer.fit(TRAIN)
    for x, y in zip(*map(arrays, trainers), strict=True):
        assert np.linalg.norm(x - y) <= 1e-12 * np.linalg.norm(x)


class Notices(Callback):
    """What was said."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def notice(self, words: str) -> None:
        self.words.append(words)


@pytest.mark.parametrize("where", ["gradients", "update"])
@pytest.mark.parametrize("at", [1, 5, 8])
def test_a_chunk_without_memory_is_made_again_in_parts(
    where: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for 4 samples at once, from some step on; what a step had begun to update is dropped."""
    undisturbed, _ = whole(save_every=None)
    calls, plain = [0], getattr(TrainStep, where)

    def greedy(self: TrainStep, state: Any, *more: Any) -> Any:
        calls[0] += 1
        if calls[0] >= at and self.parts < 4:
            for array in leaves(state["params"]):
                array *= 1.5  # half updated
            raise MemoryError
        return plain(self, state, *more)

    monkeypatch.setattr(TrainStep, where, greedy)
    said = Notices()
    trainer = make(save_every=None, callbacks=[said])
    trainer.fit(TRAIN, VALIDATION)
    assert said.words == ["memory ran out: batches are worked through in 4 parts from here on"]
    for x, y in zip(arrays(undisturbed), arrays(trainer), strict=True):
        assert np.linalg.norm(x - y) <= 1e-12 * np.linalg.norm(x)
    assert [row.epoch for row in trainer.history] == [row.epoch for row in undisturbed.history]


def test_memory_for_not_even_one_sample_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(TrainStep, "gradients", greedy)
    with pytest.raises(OutOfMemoryError, match=r"step 1, with batches worked through a sample at a time"):
        make().fit(TRAIN, VALIDATION)
