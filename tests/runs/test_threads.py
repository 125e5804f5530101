"""Threads of products follow the free cores: fewer where others hold them, more where they stay free."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from backends import select
from nnbackprop._system_info import THREAD_VARIABLES, CpuTimes, free_cores, get_num_threads
from nnbackprop.runs.callbacks import JsonlLogger
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.threads import ThreadControl, thread_control
from nnbackprop.runs.train import start
from nnbackprop.training.events import ChunkEnd
from tests.support.small_runs import clouds, make_trainer


class Machine:
    """Four cores, of which others keep as many busy as is set; a trainer's place for messages."""

    def __init__(self, others: float) -> None:
        self.others, self.clock, self.busy = others, 0.0, 0.0
        self.used: list[int] = []
        self.messages: list[str] = []
        self.control = ThreadControl(CpuTimes(0.0, 0.0, 0.0), 4, self.measure, self.used.append)
        self.control.train_begin(self, None)  # type: ignore[arg-type]

    def measure(self) -> CpuTimes:
        self.clock += 1.0
        self.busy += self.others
        return CpuTimes(self.clock, self.busy, 0.0)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def chunks(self, seconds_a_sample: Iterable[float]) -> list[int]:
        """The threads after each of the chunks, of 100 samples."""
        found = []
        for k, seconds in enumerate(seconds_a_sample):
            event = ChunkEnd(1, 10 * k, 10, 100, 100 * seconds, 0.0, {}, 0.1, {}, None)
            self.control.chunk_end(self, event)  # type: ignore[arg-type]
            found.append(self.control.threads)
        return found


@pytest.mark.parametrize(
    ("others", "count", "free"),
    [(0.0, 4, 4), (0.25, 4, 4), (0.26, 4, 3), (1.25, 4, 3), (1.3, 4, 2), (9.0, 4, 1), (1.0, 2, 1), (1.0, 1, 1)],
)
def test_free_cores_are_whole_and_at_least_one(others: float, count: int, free: int) -> None:
    assert free_cores(others, count) == free


def test_a_run_begins_on_the_free_cores_and_says_so() -> None:
    machine = Machine(1.2)
    assert machine.used == [3]
    assert machine.control.remark == "3 threads: 1.2 of 4 cores are busy; --threads 4 to insist"
    assert Machine(0.1).control.remark is None


def test_threads_go_down_only_where_others_are_busy_and_samples_take_longer() -> None:
    machine = Machine(0.0)
    assert machine.chunks([0.01, 0.03]) == [4, 4]  # slower, and nobody else is busy
    machine.others = 3.0
    assert machine.chunks([0.01, 0.019, 0.021]) == [4, 4, 1]  # busy; and then twice as slow as the fastest
    assert machine.used == [4, 1]
    assert machine.control.changes == [(20, 1)]
    assert machine.messages == [
        "step 20: matrix products go on with 1 of 4 threads, as others keep 3.0 cores busy"
    ]


def test_a_reading_needs_half_a_second_of_training() -> None:
    machine = Machine(0.0)
    machine.others = 3.0
    assert machine.chunks([0.002, 0.002, 0.002]) == [4, 4, 1]  # 0.2 s each; no pace was known before


def test_threads_go_up_after_four_readings_and_after_eight_where_that_was_too_early() -> None:
    machine = Machine(3.0)
    machine.others = 0.0
    assert machine.chunks([0.01] * 5) == [1, 1, 1, 4, 4]
    machine.others = 3.0
    assert machine.chunks([0.03]) == [1]
    machine.others = 0.0
    assert machine.chunks([0.01] * 8) == [1] * 7 + [4]


def test_one_busy_reading_begins_the_count_of_free_ones_anew() -> None:
    machine = Machine(3.0)
    machine.others = 0.0
    assert machine.chunks([0.01] * 3) == [1, 1, 1]
    machine.others = 3.0
    assert machine.chunks([0.01]) == [1]
    machine.others = 0.0
    assert machine.chunks([0.01] * 4) == [1, 1, 1, 4]


@pytest.mark.parametrize(
    ("overrides", "variable", "controlled"),
    [
        ({}, None, True),
        ({"threads": 2}, None, False),
        ({"deterministic": True}, None, False),
        ({}, "OMP_NUM_THREADS", False),
    ],
)
def test_threads_that_are_asked_for_never_change(
    overrides: dict[str, object], variable: str | None, controlled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "2")
    before = get_num_threads()
    control = thread_control(resolve("ex4", overrides), select("numpy"), CpuTimes.now())
    assert (control is not None) == controlled
    if control is not None:
        assert get_num_threads() == control.threads
        control.restore()
    assert get_num_threads() == before


def test_rows_of_an_epoch_have_the_threads_it_ended_with(tmp_path: Path) -> None:
    run_dir = RunDir.create(tmp_path, "run")
    control = ThreadControl(CpuTimes(0.0, 0.0, 0.0), 4, lambda: CpuTimes(1.0, 2.0, 0.0), lambda threads: None)
    make_trainer(epochs=2, callbacks=[control, JsonlLogger(run_dir, control)]).fit(clouds())
    assert [
        json.loads(line)["threads"] for line in run_dir.metrics_path.read_text(encoding="utf-8").splitlines()
    ] == [2, 2]


def test_threads_stay_where_they_are_between_the_fits_of_a_run() -> None:
    """After a divergence a run calls `fit` again, and after `fit` it evaluates."""
    used: list[int] = []
    control = ThreadControl(CpuTimes(0.0, 0.0, 0.0), 4, lambda: CpuTimes(1.0, 2.0, 0.0), used.append)
    trainer = make_trainer(epochs=1, callbacks=[control])
    trainer.fit(clouds())
    trainer.set_options(epochs=2)
    trainer.fit(clouds())
    assert used == [2]


def test_a_process_has_the_threads_it_had_once_its_run_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    config = resolve("weight-height", {"runs_dir": str(tmp_path), "backend": "numpy"})
    before = get_num_threads()
    with start(config) as run:
        assert run.threads is not None
        run.threads.set_threads(before + 1)
        assert get_num_threads() == before + 1
    assert get_num_threads() == before
