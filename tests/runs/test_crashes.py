"""Crashes and broken disks: one clear error, no more lost than since the last save, the same end after resume."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop._files import write_atomically
from nnbackprop.errors import RunFolderError
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd
from nnbackprop.training.trainer import Trainer
from tests.stress import child_run
from tests.stress.child_run import assert_same_outcome, checkpoint_files, outcome
from tests.stress.kills import kill_and_resume
from tests.support.commands import draw_no_plots, resumed, run, said
from tests.support.small_runs import clouds, make_trainer, run_callbacks, state_arrays

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these signals nor flock")


def temporaries(run_dir: Path) -> list[Path]:
    return list(run_dir.rglob(".*.tmp"))


# Processes that are killed, and whose disk or folder fails.


@POSIX
def test_kill_9_at_random_moments_loses_less_than_a_save(tmp_path: Path) -> None:
    figures = kill_and_resume(tmp_path, child_run.EPOCHS, 5, random.Random(6))
    assert (figures.kills, figures.runs > 0) == (5, True)
    assert figures.lost < child_run.SAVE_EVERY


@POSIX
def test_a_folder_is_held_until_its_process_is_killed(
    reference: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reference)
    with child_run.start(reference, *child_run.train_words("held", child_run.EPOCHS), waits=True) as process:
        child_run.wait_for_step(process, 20)
        before = {path: path.read_bytes() for path in (reference / "runs/held").rglob("*") if path.is_file()}
        assert run("train", "--resume", "held") == 5
        assert "another process writes to it" in said(capsys)
        assert {path: path.read_bytes() for path in before} == before
        process.kill()
    assert_same_outcome(resumed(reference, "held"), reference / "runs" / "whole")


@POSIX
def test_a_run_under_way_can_be_read(reference: Path) -> None:
    """Whatever files come and go in its folder meanwhile: `evaluate` opens it so."""
    with child_run.start(reference, *child_run.train_words("going", child_run.ENDLESS)) as process:
        child_run.wait_for_step(process, 20)
        for _ in range(100):
            RunDir.open(reference / "runs", "going").read_metrics()


def disturbed(reference: Path, name: str, disturb: Callable[[int], object], repair: Callable[[], object]) -> str:
    """The error of a process that is disturbed while it saves every few steps; resumed, it has lost nothing."""
    run_dir = RunDir(reference / "runs" / name)
    with child_run.start(reference, *child_run.train_words(name, child_run.ENDLESS)) as process:
        child_run.wait_for_step(process, 20)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped
        before = checkpoint_files(run_dir)
        disturb(process.pid)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
    repair()
    assert process.returncode == 5, errors
    assert errors.startswith("error: ")
    assert "Traceback" not in errors
    assert before[run_dir.checkpoint_path("last")] in checkpoint_files(run_dir).values()
    assert CheckpointManager(run_dir.checkpoints_dir).load_newest()[1].meta["progress"]["epoch"] < child_run.EPOCHS
    resumed(reference, name, "--epochs", str(child_run.EPOCHS))
    assert temporaries(run_dir.path) == []
    assert_same_outcome(run_dir.path, reference / "runs" / "whole")
    return " ".join(errors.split())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes another process's limits")
def test_a_full_disk_ends_a_process_with_one_error(reference: Path) -> None:
    """No file may grow past 512 bytes from some moment on, and a checkpoint has more."""
    import resource

    error = disturbed(
        reference, "full", lambda pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, (512, 512)), lambda: None
    )
    assert f"could not be written ({os.strerror(errno.EFBIG)})" in error


@POSIX
def test_a_folder_that_goes_away_ends_a_process_with_one_error(reference: Path) -> None:
    gone, away = reference / "runs" / "gone", reference / "away"
    error = disturbed(reference, "gone", lambda _: gone.rename(away), lambda: away.rename(gone))
    assert error.startswith("error: runs/gone/")
    assert f"could not be written ({os.strerror(errno.ENOENT)})" in error


# A run that dies at each call that changes files.


class Died(BaseException):
    """Ends a process between two calls: no handler of errors sees it, and nothing is tidied up."""


class HalfWritten:
    """A file whose write takes the first half of the content and then fails."""

    def __init__(self, file: Any, before_write: Callable[[], None]) -> None:
        self.file, self.before_write = file, before_write

    def write(self, content: Any) -> int:
        try:
            self.before_write()
        except BaseException:
            self.file.write(content[: len(content) // 2])
            raise
        return int(self.file.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> HalfWritten:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def intercept(patch: pytest.MonkeyPatch, names: tuple[str, ...], check: Callable[[str], None]) -> None:
    """Call `check(name)` before the named functions of os, and before a file is opened for writing and written."""

    def checked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            check(name)
            return function(*words, **more)

        return call

    opened = Path.open

    def open_checked(path: Path, mode: str = "r", *words: Any, **more: Any) -> Any:
        if mode.startswith("r"):
            return opened(path, mode, *words, **more)
        check("open")
        file = opened(path, mode, *words, **more)
        return HalfWritten(file, lambda: check("write")) if "b" in mode else file

    for name in names:
        patch.setattr(os, name, checked(name, getattr(os, name)))
    patch.setattr(Path, "open", open_checked)


@pytest.fixture
def die_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """die_at(k): the k-th call from now on that changes files fails, and every later one; 0 for none."""
    left = [0]

    def check(_: str) -> None:
        if left[0] == 1:
            raise Died  # as does each that would tidy up after it
        left[0] -= left[0] > 1

    intercept(monkeypatch, ("link", "replace", "fsync", "unlink", "truncate", "mkdir"), check)
    yield lambda k: left.__setitem__(0, k)
    left[0] = 0


@POSIX
def test_a_run_that_dies_at_any_call_resumes_to_the_same_end(
    tmp_path: Path, die_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each call in turn that opens, writes, syncs, links, renames or removes a file in a run of an epoch."""
    child_run.write_clouds(tmp_path)
    monkeypatch.chdir(tmp_path)
    draw_no_plots(monkeypatch)
    assert run("train", *child_run.train_words("whole", 1)) == 0
    deaths, begun = 0, False
    while True:
        name, deaths = f"died-{deaths}", deaths + 1
        die_at(deaths)
        try:
            assert run("train", *child_run.train_words(name, 1)) == 0
            break
        except Died:
            die_at(0)
        run_dir = Path("runs") / name
        if not (run_dir / "config.toml").is_file():
            assert not begun
            continue
        if begun := begun or any((run_dir / "checkpoints").glob("*.safetensors")):
            assert CheckpointManager(run_dir / "checkpoints").load_newest()[2] == []
        assert run("train", "--resume", name, "--progress", "off") == 0
        assert_same_outcome(run_dir, Path("runs/whole"))
        assert temporaries(run_dir) == []
    assert deaths > 60


@pytest.mark.parametrize(
    "name", [".config.toml.1.tmp", "checkpoints/.last.safetensors.1.tmp", "plots/.a.png.1.tmp"]
)
def test_temporaries_of_a_crash_are_removed(name: str, reference: Path, tmp_path: Path) -> None:
    shutil.copy(reference / "clouds.npz", tmp_path)
    run_dir = Path(shutil.copytree(reference / "runs" / "whole", tmp_path / "runs" / "whole"))
    (run_dir / "plots").mkdir()
    (run_dir / name).write_bytes(b"half")
    (run_dir / "checkpoints" / ".a-folder.tmp").mkdir()  # none of ours
    resumed(tmp_path, "whole")
    assert temporaries(run_dir) == [run_dir / "checkpoints" / ".a-folder.tmp"]


@POSIX
def test_a_temporary_that_is_a_link_to_a_checkpoint_is_not_written_through(tmp_path: Path) -> None:
    """A process of the same number died between link and rename."""
    last, older = tmp_path / "last", tmp_path / "older"
    last.write_bytes(b"precious")
    os.link(last, tmp_path / f".older.{os.getpid()}.tmp")
    write_atomically(older, b"new")
    assert (last.read_bytes(), older.read_bytes()) == (b"precious", b"new")
    assert temporaries(tmp_path) == []


# A trainer whose disk fails: nothing is lost on disk or in memory, and it goes on when the disk does.

FAULT_AT = 14  # the step after whose chunk the disk fails
SAVE_EVERY = 3
DATA = clouds(90)  # six steps an epoch, the last of 10 samples


class Watch(Callback):
    """Keeps the weights after each chunk, and calls `at` once, after the chunk that ends at FAULT_AT or later."""

    def __init__(self, at: Callable[[], None] = lambda: None) -> None:
        self.at, self.states = at, {}

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        self.states[event.step] = state_arrays(trainer)
        if event.step >= FAULT_AT:
            self.at()
            self.at = lambda: None


def watched(run_dir: RunDir, watch: Watch) -> Trainer:
    """A small run that saves every few steps, watched before each save."""
    saves = run_callbacks(run_dir, SAVE_EVERY)
    return make_trainer(epochs=6, lr=0.01, callbacks=(watch, saves.logger, saves))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[int, list[np.ndarray]]]:
    """The outcome of the run without a fault, and its state by step."""
    run_dir, watch = RunDir.create(tmp_path_factory.mktemp("whole"), "run"), Watch()
    watched(run_dir, watch).fit(DATA)
    return outcome(run_dir.path), watch.states


def fail_and_go_on(run_dir: RunDir, begin: Callable[[], None], end: Callable[[], None], whole: Any) -> str:
    """The error of a run whose disk fails between `begin` and `end`; it loses nothing and goes on to its end."""
    before: list[dict[Path, bytes]] = []

    def fault() -> None:
        before.append(checkpoint_files(run_dir))
        begin()

    watch = Watch(fault)
    trainer = watched(run_dir, watch)
    with pytest.raises(RunFolderError) as error:
        trainer.fit(DATA)
    end()
    assert error.value.exit_code == 5
    assert temporaries(run_dir.path) == []
    last = run_dir.checkpoint_path("last")
    assert last.read_bytes() == before[0][last]
    assert checkpoint_files(run_dir).items() >= before[0].items()
    step = trainer.progress.step
    assert step == max(watch.states) == FAULT_AT + 1
    for state in (state_arrays(trainer), watch.states[step]):
        assert all(map(np.array_equal, state, whole[1][step]))
    trainer.fit(DATA)
    assert outcome(run_dir.path) == whole[0]
    return str(error.value)


class Disk:
    """The file system, which fails at the call that is named."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.refusals, self.broken, self.number = 0, "", 0
        intercept(patch, ("link", "replace", "fsync"), self.check)

    def fail_at(self, call: str, number: int = 0) -> None:
        self.broken, self.number = call, number

    def check(self, call: str) -> None:
        if self.broken == call:
            self.refusals += 1
            raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


FAULTS = {
    "open": [errno.ENOSPC, errno.EROFS, errno.EMFILE],
    "write": [errno.EIO, errno.ENOSPC, errno.EDQUOT if sys.platform != "win32" else errno.EFBIG],
    "fsync": [errno.EIO, errno.ENOSPC],
    "replace": [errno.EIO, errno.ENOSPC, errno.EROFS],
}


@pytest.mark.parametrize(("call", "number"), [(call, number) for call in FAULTS for number in FAULTS[call]])
def test_a_call_that_fails_is_one_error(call: str, number: int, disk: Disk, tmp_path: Path, whole: Any) -> None:
    run_dir = RunDir.create(tmp_path, "run")
    error = fail_and_go_on(run_dir, lambda: disk.fail_at(call, number), lambda: disk.fail_at(""), whole)
    assert disk.refusals > 0
    assert error.startswith(str(run_dir.path))
    assert f"could not be written ({os.strerror(number)}): see that its folder is there" in error


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EIO])
def test_without_hard_links_checkpoints_are_copied(number: int, disk: Disk, tmp_path: Path, whole: Any) -> None:
    disk.fail_at("link", number)
    run_dir = RunDir.create(tmp_path, "run")
    watched(run_dir, Watch()).fit(DATA)
    assert outcome(run_dir.path) == whole[0]
    older = CheckpointManager(run_dir.checkpoints_dir).older()
    assert [path.stem for path in older] == ["step-00000033", "step-00000030"]
    assert len(checkpoint_files(run_dir)) == 3


@contextmanager
def not_root() -> Iterator[None]:
    """As a user whom permissions bind."""
    if root := sys.platform != "win32" and os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no folders that are read-only by mode")
def test_a_folder_made_read_only_is_one_error(whole: Any) -> None:
    """In a place of its own, as pytest's cannot be entered by others than root."""
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o777)
        with not_root():
            run_dir = RunDir.create(place, "run")
            mode = run_dir.checkpoints_dir.chmod
            error = fail_and_go_on(run_dir, lambda: mode(0o555), lambda: mode(0o755), whole)
        assert "Permission denied" in error
    finally:
        shutil.rmtree(place)


def test_a_folder_that_is_gone_for_a_while_is_one_error(tmp_path: Path, whole: Any) -> None:
    run_dir, away = RunDir.create(tmp_path, "run"), tmp_path / "away"

    def come_back() -> None:
        assert not run_dir.path.exists()  # nothing was made in its place
        away.rename(run_dir.path)

    error = fail_and_go_on(run_dir, lambda: run_dir.path.rename(away), come_back, whole)
    assert f"{run_dir.metrics_path} could not be written ({os.strerror(errno.ENOENT)})" in error


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc, where nobody may make a folder")
def test_a_place_where_no_folder_can_be_made_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "weight-height", "--runs-dir", "/proc/self", "--progress", "off") == 5
    assert "/proc/self/weight-height could not be made" in said(capsys)


def test_on_windows_a_file_is_replaced_once_its_reader_has_closed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, replace, refusals = tmp_path / "last.safetensors", os.replace, [5, 32]  # access, sharing

    def held_open(old: Path, new: Path) -> None:
        if refusals:
            raise PermissionError(errno.EACCES, f"WinError {refusals.pop()}")
        replace(old, new)

    monkeypatch.setattr(os, "replace", held_open)
    with pytest.raises(RunFolderError, match="WinError 32"):  # elsewhere a refusal is final
        write_atomically(target, b"old")
    monkeypatch.setattr(sys, "platform", "win32")
    write_atomically(target, b"new")
    assert not refusals
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"new"
