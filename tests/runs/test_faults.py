"""A disk that is full, read-only, broken or gone: one clear error, and nothing lost, on disk or in memory."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import leaves, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import RunFolderError
from nnbackprop.nn.layers import Dense, Dropout, Tanh
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Adam
from nnbackprop.runs.callbacks import Recorder, SaveEvery
from nnbackprop.runs.checkpoint import Checkpoint
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.trainer_state import take_best, take_last
from nnbackprop.training.callbacks.base import Callback, ChunkEnd
from nnbackprop.training.trainer import Trainer
from tests.support.commands import run
from tests.torture.victim import outcome, sound

FAULT_AT = 14  # the step after whose chunk the disk fails
EVERY = 3


class Failing:
    """A file on a broken disk: it takes half of what is written to it and then fails."""

    def __init__(self, file: Any, number: int) -> None:
        self.file, self.number = file, number

    def write(self, content: bytes) -> int:
        self.file.write(content[: len(content) // 2])
        raise OSError(self.number, os.strerror(self.number))

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


class Disk:
    """The file system, which fails at the call it `breaks`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.refusals = 0
        self.breaks("")
        for name in ("link", "replace", "fsync"):
            patch.setattr(os, name, self.failing(name, getattr(os, name)))
        self.opened = Path.open
        patch.setattr(Path, "open", lambda path, *words, **more: self.open(path, *words, **more))

    def breaks(self, call: str, number: int = 0) -> None:
        self.broken, self.number = call, number

    def failing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            self.refuse(name)
            return function(*words, **more)

        return call

    def refuse(self, name: str) -> None:
        if self.broken == name:
            self.refusals += 1
            raise OSError(self.number, os.strerror(self.number))

    def open(self, path: Path, mode: str = "r", *words: Any, **more: Any) -> Any:
        if mode.startswith("r"):
            return self.opened(path, mode, *words, **more)
        self.refuse("open")
        file = self.opened(path, mode, *words, **more)
        if self.broken != "write":
            return file
        self.refusals += 1
        return Failing(file, self.number)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


class Watcher(Callback):
    """Keeps the weights after each chunk, and calls `at` after the chunk that ends at FAULT_AT or later."""

    def __init__(self, at: Callable[[], None] = lambda: None) -> None:
        self.at, self.trainer, self.weights = at, None, {}

    def chunk_end(self, event: ChunkEnd) -> None:
        assert self.trainer is not None
        self.weights[event.step] = [a.copy() for a in leaves(self.trainer.params)]
        if event.step >= FAULT_AT:
            self.at()
            self.at = lambda: None


def rig(folder: RunDir, watcher: Watcher) -> Trainer:
    """A small run that saves every few steps, watched before each save."""
    network = Sequential(Dense(8), Tanh(), Dropout(0.2), Dense(3))
    settings = {"batch_size": 16, "epochs": 6, "dtype": "float64", "seed": 1, "save_every": EVERY}
    trainer = Trainer(network, SoftmaxCrossEntropy(), Adam(), 0.01, backend=select("numpy"), **settings)
    watcher.trainer = trainer
    recorder = Recorder(
        folder,
        CheckpointManager(folder.checkpoints),
        last=lambda: take_last(trainer, {}),
        best=lambda: take_best(trainer, {}),
        improved=lambda: False,
        every=SaveEvery(steps=EVERY),
    )
    trainer.callbacks = (watcher, recorder)
    return trainer


def clouds() -> Dataset:
    """Six steps an epoch, the last of 10 samples."""
    rng = np.random.default_rng(0)
    labels = (np.arange(90) % 3).astype(np.int32)
    return Dataset(rng.standard_normal((90, 2)) + labels[:, None], labels, ("a", "b", "c"))


def folder_in(runs: Path) -> RunDir:
    return RunDir.create(runs, "run")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[int, list[np.ndarray]]]:
    """What the run without a fault has come to, and its weights by step."""
    folder, watcher = folder_in(tmp_path_factory.mktemp("alone")), Watcher()
    rig(folder, watcher).fit(clouds())
    return outcome(folder.path), watcher.weights


def fails_and_goes_on(folder: RunDir, begin: Callable[[], None], end: Callable[[], None], alone: Any) -> str:
    """What a run said that met a fault, and lost nothing by it; once the fault is gone, it goes on to its end."""
    before: list[dict[Path, bytes]] = []

    def fault() -> None:
        before.append(sound(folder))
        begin()

    watcher = Watcher(fault)
    trainer = rig(folder, watcher)
    with pytest.raises(RunFolderError) as error:
        trainer.fit(clouds())
    end()
    assert error.value.exit_code == 5
    assert list(folder.path.rglob(".*.tmp")) == []
    after = {path: path.read_bytes() for path in folder.checkpoints.iterdir()}
    last = folder.checkpoint("last")
    assert after[last] == before[0][last]
    assert sound(folder).items() >= before[0].items()
    step = trainer.progress.step
    assert step == max(watcher.weights) == FAULT_AT + 1
    for weights in ([a.copy() for a in leaves(trainer.params)], watcher.weights[step]):
        assert all(map(np.array_equal, weights, alone[1][step]))
    trainer.fit(clouds())
    assert outcome(folder.path) == alone[0]
    return str(error.value)


FAULTS = [
    ("open", errno.ENOSPC),
    ("open", errno.EROFS),
    ("open", errno.EMFILE),
    ("write", errno.EIO),
    ("write", errno.ENOSPC),
    ("write", errno.EDQUOT if sys.platform != "win32" else errno.EFBIG),
    ("fsync", errno.EIO),
    ("fsync", errno.ENOSPC),
    ("replace", errno.EIO),
    ("replace", errno.ENOSPC),
    ("replace", errno.EROFS),
]


@pytest.mark.parametrize(
    ("call", "number"), FAULTS, ids=[f"{call}-{errno.errorcode[number]}" for call, number in FAULTS]
)
def test_a_call_that_fails(call: str, number: int, disk: Disk, tmp_path: Path, alone: Any) -> None:
    folder = folder_in(tmp_path)
    said = fails_and_goes_on(folder, lambda: disk.breaks(call, number), lambda: disk.breaks(""), alone)
    assert disk.refusals > 0
    assert said.startswith(str(folder.path))
    assert f"could not be written ({os.strerror(number)}): see that its folder is there" in said


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_second_names_gets_copies(
    number: int, disk: Disk, tmp_path: Path, alone: Any
) -> None:
    disk.breaks("link", number)
    folder = folder_in(tmp_path)
    rig(folder, Watcher()).fit(clouds())
    assert outcome(folder.path) == alone[0]
    assert [path.stem for path in CheckpointManager(folder.checkpoints).older()] == [
        "step-00000033",
        "step-00000030",
    ]
    assert len(sound(folder)) == 3


def test_an_old_checkpoint_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    shelf = CheckpointManager(tmp_path, 2)
    for step in (1, 2):
        shelf.put(taken_at(step), step)
    (tmp_path / "step-00000000.safetensors").mkdir()  # which no unlink removes
    with pytest.raises(RunFolderError, match=r"step-00000000\.safetensors could not be written"):
        shelf.put(taken_at(3), 3)
    assert shelf.newest()[1].meta == {"step": 3}


def taken_at(step: int) -> Checkpoint:
    return Checkpoint({"params/0/W": np.ones(3)}, {"step": step})


@contextlib.contextmanager
def not_root() -> Iterator[None]:
    """As somebody whom permissions bind."""
    if root := sys.platform != "win32" and os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no folders that are read-only by mode")
def test_a_folder_made_read_only(alone: Any) -> None:
    """Refused by the system itself; in a place of its own, as pytest's cannot be entered by others than root."""
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o777)
        with not_root():
            folder = folder_in(place)
            said = fails_and_goes_on(
                folder, lambda: folder.checkpoints.chmod(0o555), lambda: folder.checkpoints.chmod(0o755), alone
            )
        assert "Permission denied" in said
    finally:
        shutil.rmtree(place)


def test_a_folder_that_is_gone_and_comes_back(tmp_path: Path, alone: Any) -> None:
    folder, away = folder_in(tmp_path), tmp_path / "away"
    said = fails_and_goes_on(folder, lambda: folder.path.rename(away), lambda: _back(folder.path, away), alone)
    assert f"{folder.metrics} could not be written ({os.strerror(errno.ENOENT)})" in said


def _back(path: Path, away: Path) -> None:
    assert not path.exists()  # nothing was made in its place
    away.rename(path)


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="there is no /proc here, where nobody may make a folder"
)
def test_a_place_where_no_run_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "weight-height", "--runs-dir", "/proc/self", "--progress", "off") == 5
    assert "/proc/self/weight-height could not be made" in " ".join(capsys.readouterr().err.split())
