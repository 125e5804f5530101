"""A run's folder: never overwritten, written at a pace, never short of a row; and what Ctrl-C does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.errors import RunFolderError
from nnbackprop.runs import callbacks as recording
from nnbackprop.runs.callbacks import Recorder
from nnbackprop.runs.checkpoint import Checkpoint, load
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.signals import SIGNALS, stop_on_signals
from nnbackprop.training.callbacks.base import EpochEnd, Score, TrainEnd


def epoch(number: int) -> EpochEnd:
    return EpochEnd(number, number, 0.1, Score(1.0, 0.5, 10), None, None, {"dense1": 2.0}, 0.001, 1e4)


def recorder(folder: RunDir, improved: bool = False) -> Recorder:
    last, best = (Checkpoint({"params/0/W": np.full(2, value)}, {}) for value in (1.0, 2.0))
    return Recorder(folder, CheckpointManager(folder.checkpoints), lambda: last, lambda: best, lambda: improved)


def test_a_name_is_never_taken_twice(tmp_path: Path) -> None:
    paths = [RunDir.create(tmp_path / "runs", "mnist").path.name for _ in range(3)]
    assert paths == ["mnist", "mnist-2", "mnist-3"]


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(RunDir.create(tmp_path, "x").path.name)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"file.*could not be made"):
        RunDir.create(tmp_path / "file", "x")


def test_last_is_the_run_written_to_last(tmp_path: Path) -> None:
    for name, touched in (("a", 100), ("b", 300), ("c", 200)):
        folder = RunDir.create(tmp_path, name)
        folder.write("config.toml", "")
        os.utime(folder.config, (touched, touched))
    assert RunDir.open(tmp_path, "last").path.name == "b"
    assert RunDir.open(tmp_path, "c").path == tmp_path / "c"
    assert RunDir.open(Path("elsewhere"), str(tmp_path / "a")).path == tmp_path / "a"


def test_ten_thousand_short_epochs_write_a_row_each_and_few_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []
    monkeypatch.setattr(recording, "save", lambda path, _: saved.append(path.name))
    monkeypatch.setattr(CheckpointManager, "put", lambda *_: saved.append("last.safetensors"))
    now = [0.0]
    monkeypatch.setattr(recording.time, "monotonic", lambda: now[0])
    callback = recorder(RunDir.create(tmp_path, "x"), improved=True)
    for number in range(1, 10_001):
        now[0] += 0.001
        callback.epoch_end(epoch(number))
    callback.train_end(TrainEnd(10_000, 10_000, "finished", 10.0))
    rows = [row["epoch"] for row in callback.folder.rows()]
    assert rows == list(range(1, 10_001))
    assert 10 <= saved.count("last.safetensors") <= 12
    assert saved.count("best.safetensors") <= 12


def test_a_row_has_every_column(tmp_path: Path) -> None:
    callback = recorder(RunDir.create(tmp_path, "x"))
    callback.epoch_end(epoch(1))
    callback.flush(1)
    assert json.loads(callback.folder.metrics.read_text()) == {
        "epoch": 1,
        "step": 1,
        "lr": 0.1,
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "validation_loss": None,
        "validation_accuracy": None,
        "test_loss": None,
        "test_accuracy": None,
        "gradient_norms": {"dense1": 2.0},
        "seconds": 0.001,
        "samples_per_second": 1e4,
    }


def test_a_row_cut_off_by_a_crash_is_left_out_and_later_ones_can_be_dropped(tmp_path: Path) -> None:
    folder = RunDir.create(tmp_path, "x")
    folder.metrics.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epo')
    assert [row["epoch"] for row in folder.rows()] == [1, 2, 3]
    folder.keep_rows(before=3)
    assert folder.metrics.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_best_is_last_where_nothing_judged(tmp_path: Path) -> None:
    callback = recorder(RunDir.create(tmp_path, "x"))
    callback.train_end(TrainEnd(1, 1, "finished", 1.0))
    assert load(callback.folder.checkpoint("best")).arrays["params/0/W"].tolist() == [2.0, 2.0]


def test_an_interrupted_run_has_no_best_yet(tmp_path: Path) -> None:
    callback = recorder(RunDir.create(tmp_path, "x"))
    callback.train_end(TrainEnd(1, 1, "interrupted", 1.0))
    assert not callback.folder.checkpoint("best").exists()
    assert callback.folder.checkpoint("last").exists()


@pytest.mark.usefixtures("heeded")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to one process")
def test_the_first_interrupt_asks_and_the_second_stops() -> None:
    asked: list[bool] = []
    before = signal.getsignal(signal.SIGINT)

    def press_twice() -> None:
        with stop_on_signals(lambda: asked.append(True)):
            os.kill(os.getpid(), signal.SIGINT)
            assert asked == [True]
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second interrupt was swallowed")

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has SIGINT alone, and cannot send it to one process")
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_once_and_its_number_is_told(number: int) -> None:
    asked: list[bool] = []
    before = [signal.getsignal(known) for known in SIGNALS]
    with stop_on_signals(lambda: asked.append(True)) as heard:
        os.kill(os.getpid(), number)
        assert (heard, asked) == ([number], [True])
    assert [signal.getsignal(known) for known in SIGNALS] == before


def test_off_the_main_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with stop_on_signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
