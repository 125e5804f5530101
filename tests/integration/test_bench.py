"""The benchmark suite: workers, the check before the clock, the arithmetic of slices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import profile, suite
from benchmarks.chart import chart, draw
from benchmarks.machine import Machine, others_share
from benchmarks.report import page
from benchmarks.results import Absent, Check, Result, Row, Slice, Timing
from benchmarks.rivals import RIVALS
from benchmarks.rivals.nnbackprop_steps import Ours
from benchmarks.rivals.tutorial import Tutorial
from benchmarks.suite import Match, Pace, difference
from benchmarks.worker import Session, Worker, WorkerError, error_of, serve
from benchmarks.workloads import WORKLOADS, Problem, Workload
from nnbackprop._system_info import CpuTimes
from nnbackprop.errors import UsageError
from nnbackprop.runs import build, config

SHORT = Pace(rounds=2, slice=0.001, rest=0.0)
MACHINE = Machine("Some CPU @ 3.00GHz", 4, 2, 2**33, "Linux", "3.11.7", {"numpy": "2.4.6"}, None, "Zen")


@pytest.fixture(scope="module")
def small() -> Problem:
    """W2 on fifty of its samples."""
    train = Problem.of(WORKLOADS["W2"]).train
    return Problem.of(WORKLOADS["W2"], replace(train, inputs=train.inputs[:50], targets=train.targets[:50]))


class InProcess:
    """A worker without a process, whose rival gets the small problem, or one with another learning rate."""

    def __init__(self, name: str, problem: Problem, factor: float = 1.0) -> None:
        workload = replace(problem.workload, lr=factor * problem.workload.lr)
        self.problem, self.session = replace(problem, workload=workload), Session(name, None)
        self.answer: Any = None

    def send(self, call: str, *arguments: Any) -> None:
        try:
            begun = call == "prepare"
            self.answer = self.session.begin(self.problem) if begun else getattr(self.session, call)(*arguments)  # type: ignore[func-returns-value]
        except Exception as error:
            self.answer = error_of(error)

    def receive(self) -> Any:
        if isinstance(self.answer, WorkerError):
            raise self.answer
        return self.answer

    def end(self) -> None:
        pass


def match(**workers: InProcess) -> Match:
    return Match("W2", workers, SHORT, say=lambda words: None)


# Workloads.


@pytest.mark.parametrize(
    ("name", "recipe", "flags"),
    [
        ("W1", "mnist", {}),
        ("W1n", "mnist", {"dropout": (0.0,)}),
        ("W1a", "mnist", {"dropout": (0.0,), "optimizer": "adam", "lr": 0.001}),
        ("W2", "ex4", {}),
        ("W3", "rashid", {}),
    ],
)
def test_a_workload_is_its_recipe(name: str, recipe: str, flags: dict[str, Any]) -> None:
    workload, settings = WORKLOADS[name], config.resolve(recipe, flags)
    assert workload.objective == build.objective(settings, 10)
    assert workload.optimizer == build.optimizer(settings)
    assert (workload.lr, workload.scale, workload.data) == (settings.lr, settings.scale, settings.data)
    assert (workload.dtype, workload.batch or "full") == (settings.dtype, settings.batch_size)


RIVALRIES = [
    (name, rival)
    for rival in ("torch-eager", "torch-fused", "jax-grad", "jax-jit", "keras", "sklearn", "tutorial")
    for name in ("W1n", "W1a", "W2", "W3")
    if name in RIVALS[rival].workloads
]


@pytest.mark.parametrize(("name", "rival"), RIVALRIES)
def test_a_rival_has_our_weights_after_twenty_steps(name: str, rival: str) -> None:
    entry = RIVALS[rival]
    pytest.importorskip(entry.needs, reason=f"{entry.needs} is not installed")
    weights = []
    problem = Problem.of(small_workload(name))
    for each in (entry.make(problem), Ours(problem, "numpy")):
        each.run(each.prepare(problem.rows(0, 20)))
        weights.append(each.weights())
    assert (difference(*weights) or 0.0) <= problem.workload.tolerance


def small_workload(name: str) -> Workload:
    hidden = {"W1n": (32, 16), "W1a": (32, 16), "W2": (26,), "W3": (20,)}
    return replace(WORKLOADS[name], hidden=hidden[name], data="mnist-20x20", batch=WORKLOADS[name].batch and 20)


def test_batches_go_through_an_epoch_once(small: Problem) -> None:
    problem = Problem.of(replace(small.workload, batch=8), small.train)
    rows = problem.rows(0, 12)
    assert len(set(rows[:6].ravel().tolist())) == 48
    np.testing.assert_array_equal(rows[:6], rows[6:])


# Workers.


def test_a_worker_trains_what_the_textbook_says() -> None:
    worker = Worker(serve, "numpy", 1)
    try:
        worker.send("run", 1)
        with pytest.raises(WorkerError, match="nothing was prepared"):
            worker.receive()
        worker.send("prepare", "W2")
        worker.receive()
        worker.send("check", 3)
        problem = Problem.of(WORKLOADS["W2"])
        textbook = Tutorial(problem)
        textbook.run(problem.rows(0, 3))
        assert difference(worker.receive(), textbook.weights()) == pytest.approx(0, abs=1e-13)
        worker.send("run", 2)
        assert min(worker.receive()) > 0
    finally:
        worker.end()
    assert worker.process.exitcode == 0


def dying(pipe: Connection) -> None:
    os._exit(7)


def waiting(pipe: Connection) -> None:
    time.sleep(60)


@pytest.mark.parametrize(
    ("target", "reason"), [(dying, "its process ended with exit code 7"), (waiting, "it was not done after 1 s")]
)
def test_a_process_that_dies_or_hangs_is_an_error(target: Any, reason: str) -> None:
    worker = Worker(target)
    with pytest.raises(WorkerError, match=reason):
        worker.receive(1.0 if target is waiting else 60.0)
    worker.end()


def test_a_blocked_package_cannot_be_imported_in_the_worker() -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    code = """
from multiprocessing import Pipe
from benchmarks.worker import serve
ours, theirs = Pipe()
ours.close()
serve(theirs, "numpy", None)
try:
    import numba
except ImportError:
    import sys
    print("no numba", file=sys.stderr)
print("noise")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr.split("\n")[:1]) == ("", ["no numba"])


# The check.


def test_the_difference_of_weights_is_by_norm() -> None:
    ours = ({"W": np.array([[3.0, 0.0]]), "b": np.array([4.0])},)
    theirs = ({"W": np.array([[3.0, 0.3]]), "b": np.array([4.4])},)
    assert difference(theirs, ours) == pytest.approx(0.1)  # |(0, 0.3, 0.4)| / |(3, 0, 4)|
    assert difference(({"W": np.array([[3.0, 0.3]])},), ours) is None
    assert difference(({"W": np.array([[np.nan, 0.0]]), "b": np.array([4.0])},), ours) is None
    assert difference((), ours) is None
    assert not Check("keras", "Keras", "weights", 20, None, 1.0).passed


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (1.001, False)])
def test_another_learning_rate_fails_the_check_and_is_not_timed(
    small: Problem, factor: float, passed: bool
) -> None:
    timing = match(numpy=InProcess("numpy", small), tutorial=InProcess("tutorial", small, factor)).play()
    (check,) = timing.checks
    assert (check.rival, check.by, check.steps, check.limit, check.passed) == (
        "tutorial",
        "weights",
        20,
        1e-12,
        passed,
    )
    assert [timing.us, *(r.rival for r in timing.rows)] == ["numpy", "numpy", "tutorial"][: 2 + passed]
    assert all(len(r.slices) == SHORT.rounds for r in timing.rows)
    assert all(s.steps % WORKLOADS["W2"].chunk == 0 for r in timing.rows for s in r.slices)


def test_fewer_steps_are_held_to_a_share_of_the_tolerance(small: Problem) -> None:
    workers = {name: InProcess(name, small) for name in ("numpy", "tutorial")}
    (check,) = Match("W2", workers, replace(SHORT, steps=5), say=lambda words: None).play().checks
    assert (check.steps, check.limit) == (5, 2.5e-13)


def test_a_rival_that_raises_is_listed_and_the_others_go_on(small: Problem) -> None:
    broken = InProcess("tutorial", replace(small, params=()))
    timing = match(numpy=InProcess("numpy", small), tutorial=broken).play()
    assert [r.rival for r in timing.rows] == ["numpy"]
    assert [absent.rival for absent in timing.absent] == ["tutorial"]
    assert "Error" in timing.absent[0].reason


def test_without_a_backend_of_ours_the_suite_is_refused(small: Problem) -> None:
    with pytest.raises(UsageError, match="W2 needs one of our own backends"):
        match(tutorial=InProcess("tutorial", small)).play()


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.001, 1)])
def test_the_command_prints_json_keeps_files_and_exits_1_where_a_check_fails(
    factor: float,
    status: int,
    small: Problem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(suite, "QUICK", SHORT)
    monkeypatch.setattr(suite, "missing", lambda name, entry: None)
    monkeypatch.setattr(
        suite, "Worker", lambda _, name, threads: InProcess(name, small, factor if name == "tutorial" else 1.0)
    )
    monkeypatch.setattr(
        command, "run_suite", lambda *a, **k: suite.run_suite(*a, **k, names=("numpy", "tutorial"))
    )
    words = ["--quick", "--workloads", "W2", "--threads", "1", "--json", "--out", str(tmp_path)]
    assert command.main(words) == status
    said = capsys.readouterr()
    result = Result.from_json(said.out)
    assert result.command == "python -m benchmarks --quick --workloads W2 --threads 1"
    assert result.machine.packages["numpy"] == np.__version__
    assert ("plain NumPy, as in tutorials is not timed: after 20" in " ".join(said.err.split())) is bool(status)
    assert (tmp_path / result.machine.file_name).read_text() == said.out
    assert (tmp_path / result.machine.file_name).with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert suite.missing("tutorial", RIVALS["tutorial"]) is None
    monkeypatch.setattr(suite, "find_spec", lambda name: None)
    assert suite.missing("sklearn", RIVALS["sklearn"]) == Absent(
        "sklearn", "scikit-learn", "sklearn is not installed: pip install scikit-learn"
    )


@pytest.mark.parametrize(
    "words", [["--threads", "0", "--workloads", "W2"], ["--profile", "W3", "--backend", "jax"]]
)
def test_threads_and_backends_that_cannot_be_are_refused(words: list[str]) -> None:
    assert command.main(words) == 2


# Slices and what follows from them.


@pytest.mark.parametrize(("cores", "threads", "taken"), [(2, 2, 0.45), (4, 4, 0.45), (4, 2, 0.0), (2, 1, 0.0)])
def test_others_take_what_is_busy_and_not_ours_beyond_the_free_cores(
    cores: int, threads: int, taken: float
) -> None:
    before, after = CpuTimes(100.0, 50.0, 7.0), CpuTimes(102.0, 54.0, 7.1)
    # 4.0 s busy, of which 0.1 are the parent's and 3.0 the rival's: 0.9 s in 2 s
    assert others_share(before, after, 3.0, cores, threads) == pytest.approx(taken)


def row(name: str, *seconds: float, spoilt: Sequence[int] = ()) -> Row:
    slices = (Slice(20, s, 0.5 if i in spoilt else 0.0) for i, s in enumerate(seconds))
    return Row(name, RIVALS[name].title, RIVALS[name].kind, tuple(slices))


def test_ratios_are_taken_within_a_round_and_spoilt_slices_left_out() -> None:
    ours, found = row("numpy", 2, 4, 5, 2, spoilt=[3]), row("keras", 3, 4, 20, 9, spoilt=[1])
    assert found.seconds == [3, 20, 9]
    assert found.ratios(ours) == [1.5, 4]
    assert (found.left_out, found.all_spoilt) == (1, False)


def test_where_every_slice_is_spoilt_all_of_them_count() -> None:
    ours, found = row("numpy", 1, 2, 4), row("keras", 2, 6, 16, spoilt=[0, 1, 2])
    assert found.ratios(ours) == [2, 3, 4]
    assert (found.left_out, found.all_spoilt) == (0, True)


@pytest.fixture
def result() -> Result:
    rows = (
        row("numpy", 1, 2, 1),
        row("products", 0.5, 1, 0.5),
        row("torch-eager", 2, 6, 2, spoilt=[1]),
        row("jax-grad", 8, 8, 8, spoilt=[0, 1, 2]),
    )
    checks = (Check("keras", "Keras on JAX", "weights", 20, 0.03, 1e-4),)
    absent = (Absent("thinc", "Thinc", "ImportError: no backend"),)
    timing = Timing("W1n", "no dropout", "epoch of 60,000", 500, False, "numpy", rows, absent, checks)
    gone = (Absent("sklearn", "scikit-learn", "sklearn is not installed: pip install scikit-learn"),)
    return Result("python -m benchmarks", "2030-01-31", MACHINE, (timing,), gone)


def test_json_gives_back_what_it_was_given(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result
    assert json.loads(result.to_json())["timings"][0]["rows"][2]["slices"][1]["seconds"] == 6
    assert not result.passed


def test_a_machine_has_a_file_of_its_own() -> None:
    assert MACHINE.file_name == "some-cpu-3-00ghz-4-cores.json"
    assert replace(MACHINE, processor="AMD EPYC", coretype="Haswell").file_name == "amd-epyc-4-cores-haswell.json"
    assert replace(MACHINE, gpu="NVIDIA H200, CUDA 13").file_name == "nvidia-h200.json"


def test_the_page_says_what_was_found(result: Result) -> None:
    shown = page(result)
    for words in (
        "**W1n**: no dropout",
        "| | s per epoch of 60,000 | times ours | products' share |",
        "| **nnbackprop, NumPy** | 1.00 (1.00..2.00) | 1.00 | 50% |",
        "| PyTorch, eager | 2.00 | 2.00 | 25% |",
        "Keras on JAX is not timed: after 20 steps its weights are 3.0e-02 from ours; 1e-04 is the limit.",
        "Thinc left out: ImportError: no backend.",
        "Slices left out, in which others took over 10% of a core: PyTorch, eager 1 of 3.",
        "Others took the machine in every slice, so all of them count: JAX autodiff, jit and scan.",
        "scikit-learn left out: sklearn is not installed: pip install scikit-learn.",
        "4 cores, 2 threads, 8.0 GiB, Linux, OpenBLAS for Zen. Python 3.11.7, numpy 2.4.6.",
    ):
        assert words in shown
    gpu = replace(result, timings=(replace(result.timings[0], on_gpu=True),))
    assert "| **nnbackprop, NumPy** | 2,000 (2,000..4,000) |" in page(gpu)  # µs a step


def test_the_chart_has_a_bar_from_1_to_each_ratio(result: Result, tmp_path: Path) -> None:
    (axes,) = chart(result).axes
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches]
    assert ends == pytest.approx([0.5, 2.0, 8.0])
    assert {patch.get_x() for patch in axes.patches} == {1}
    titles = [label.get_text() for label in axes.get_yticklabels()]
    assert titles == [RIVALS[name].title for name in ("products", "torch-eager", "jax-grad")]
    draw(result, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# The profile.


def test_a_profile_names_every_layer_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SECONDS", 0.0)
    layers = ["dense1", "sigmoid1", "dense2", "sigmoid2"]
    both = [*(f"{name} forward" for name in layers), "loss", *(f"{name} backward" for name in reversed(layers))]
    found = profile.profile("W3")
    assert list(found) == ["batch", *both, "sums of loss and metrics", "optimizer", "between steps"]
    assert f"| all | {sum(found.values()):,.1f} | |" in profile.table(found)


@pytest.mark.parametrize(
    "workload", [WORKLOADS["W2"], small_workload("W1n"), replace(small_workload("W1n"), dropout=(0.4, 0.2, 0.1))]
)
def test_the_timed_step_has_the_bits_of_the_training_step(small: Problem, workload: Workload) -> None:
    plain, timed = (Ours(Problem.of(workload, small.train), "numpy") for _ in range(2))
    timed.step = profile.TimedStep(timed.step)
    for ours in (plain, timed):
        ours.train(0, 5)
    assert difference(plain.weights(), timed.weights()) == 0
    assert plain.state["sums"]["loss"] == timed.state["sums"]["loss"]
