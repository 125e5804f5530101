"""The benchmark suite: workloads, workers, the check before timing, the arithmetic of slices."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from backends import BackendError
from benchmarks import __main__ as command
from benchmarks import augmentation, busy, suite, to_accuracy
from benchmarks.chart import chart, draw
from benchmarks.machine import Machine
from benchmarks.profile import profile
from benchmarks.report import page, summary
from benchmarks.results import Absent, Check, Result, Row, Slice, Timing
from benchmarks.rivals import RIVALS
from benchmarks.rivals.products import CapturedProducts, Products
from benchmarks.session import Session, differences
from benchmarks.suite import Rounds, WorkloadRun
from benchmarks.worker import Worker, WorkerError
from benchmarks.workloads import WORKLOADS, Problem
from nnbackprop._system_info import CpuTimes
from nnbackprop.data import load
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Conv2D, Dense, Layer, Reshape
from nnbackprop.runs import build
from nnbackprop.runs.config_files import resolve

SHORT = Rounds(count=2, slice=0.001, pause=0.0)
MACHINE = Machine("Some CPU @ 3.00GHz", 4, 2, 2**33, "Linux", "3.11.7", {"numpy": "2.4.6"}, "Zen")


def small_problem(name: str) -> Problem:
    """A workload with a small network, on few samples."""
    workload = replace(WORKLOADS[name], layers=tuple(map(smaller, WORKLOADS[name].layers)), data="mnist-20x20")
    workload = replace(workload, batch=workload.batch and min(workload.batch, 20))
    train = Problem.of(workload).train
    return Problem.of(workload, train.take(np.arange(0, len(train), 10)))


def smaller(layer: Layer) -> Layer:
    """With an eighth of the filters, or a sixteenth of the units of a hidden layer, on images of 20 x 20."""
    match layer:
        case Reshape():
            return Reshape((20, 20, 1))
        case Conv2D():
            return replace(layer, filters=layer.filters // 8)
        case Dense(units) if units != 10:
            return replace(layer, units=max(8, units // 16))
    return layer


class InProcess:
    """A worker without a process, whose rival gets a small problem; in the check it has another learning rate."""

    def __init__(self, name: str, problem: Problem, lr_factor: float = 1.0) -> None:
        self.session, self.problem, entry = Session(name), problem, RIVALS[name]

        def make(problem: Problem) -> Any:
            changed = replace(problem.workload, lr=lr_factor * problem.workload.lr)
            return entry.make(replace(problem, workload=changed))

        self.session.make = make  # type: ignore[method-assign]

    def send(self, method: str, *arguments: Any) -> None:
        try:
            self.answer = None
            if method == "load":
                self.session.problem = self.problem
            else:
                self.answer = getattr(self.session, method)(*arguments)
        except Exception as error:
            self.answer = WorkerError.of(error)

    def receive(self) -> Any:
        if isinstance(self.answer, WorkerError):
            raise self.answer
        return self.answer

    def end(self) -> None:
        pass


@pytest.fixture(scope="module")
def small() -> Problem:
    return small_problem("W2")


def run_with(**workers: InProcess) -> Timing:
    return WorkloadRun("W2", workers, SHORT, report=lambda text: None).run()


@pytest.mark.parametrize(
    ("name", "recipe", "flags"),
    [
        ("W1", "mnist-original", {}),
        ("W1n", "mnist-original", {"dropout": (0.0,)}),
        ("W1a", "mnist-original", {"dropout": (0.0,), "optimizer": "adam", "lr": 0.001}),
        ("W1b", "mnist-original", {"dropout": (0.0,), "norm": "batch"}),
        ("W2", "ex4", {}),
        ("W3", "rashid", {}),
        ("CNN", "cnn", {}),
    ],
)
def test_a_workload_is_its_recipe(name: str, recipe: str, flags: dict[str, Any]) -> None:
    workload, settings = WORKLOADS[name], resolve(recipe, flags)
    assert workload.objective == build.objective(settings, 10, (28, 28))
    assert workload.optimizer == build.optimizer(settings)
    assert (workload.lr, workload.scale, workload.data) == (settings.lr, settings.scale, settings.data)
    assert (workload.dtype, workload.batch or "full") == (settings.dtype, settings.batch_size)


def test_batches_go_through_an_epoch_once(small: Problem) -> None:
    problem = Problem.of(replace(small.workload, batch=8), small.train.take(np.arange(50)))
    rows = problem.rows(0, 12)
    assert len(set(rows[:6].ravel().tolist())) == 48
    np.testing.assert_array_equal(rows[:6], rows[6:])


# The check.

ON_CPU = {name: entry for name, entry in RIVALS.items() if "cpu" in entry.devices and entry.kind != "floor"}


@pytest.mark.parametrize(
    ("name", "rival"),
    [
        (name, rival)
        for rival, entry in ON_CPU.items()
        for name in ("W1n", "W1a", "W1b", "W2", "W3", "CNN")
        if name in entry.workloads
    ],
)
def test_a_rival_has_our_float64_weights_at_the_last_step_and_is_timed_in_its_dtype(name: str, rival: str) -> None:
    entry = replace(RIVALS[rival], blocked=None)
    if absent := suite.not_installed(rival):
        pytest.skip(absent.reason)
    session = Session("tutorial")
    session.name, session.entry, problem = rival, entry, small_problem(name)
    session.problem = Problem.of(problem.workload.without_dropout, problem.train)
    check = session.check()
    assert check is not None
    steps, limit = WORKLOADS[name].check_steps, 1e-12
    if rival == "keras" and name in ("W1b", "CNN"):  # it normalizes in float32
        steps, limit = 1, 1e-4
    assert (check.passed, check.step, check.limit) == (True, steps, limit), check
    session.run(2)
    assert session.rival
    assert {a.dtype.name for layer in session.rival.weights() for a in layer.values()} == {WORKLOADS[name].dtype}


def test_differences_are_by_tensor_and_norm() -> None:
    ours = ({"W": np.array([[3.0, 4.0]]), "b": np.array([4.0])}, {"W": np.ones((1, 1))})
    theirs = ({"W": np.array([[3.0, 4.5]]), "b": np.array([np.nan])},)
    assert differences(theirs, ours) == {"W1": pytest.approx(0.1), "b1": None, "W2": None}
    assert differences(({"W": np.ones(2)}, ours[1]), ours)["W1"] is None


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (1.001, False)])
def test_another_learning_rate_fails_the_check_at_the_first_step_and_is_not_timed(
    small: Problem, factor: float, passed: bool
) -> None:
    timing = run_with(numpy=InProcess("numpy", small), tutorial=InProcess("tutorial", small, factor))
    ours, check = timing.checks
    assert (ours.rival, ours.difference) == ("numpy", 0.0)
    assert (check.rival, check.step, check.limit, check.passed) == ("tutorial", 20 if passed else 1, 1e-12, passed)
    assert check.tensor in ("W1", "b1", "W2", "b2")
    assert [timing.base.rival, *(r.rival for r in timing.rows)] == ["numpy", "numpy", "tutorial"][: 2 + passed]
    assert all(len(r.slices) == SHORT.count for r in timing.rows)
    assert all(s.steps % WORKLOADS["W2"].chunk == 0 for r in timing.rows for s in r.slices)


class LastStepMissing:
    """A rival that leaves out the last step of a call of several."""

    def __init__(self, rival: Any) -> None:
        self.rival, self.run, self.weights = rival, rival.run, rival.weights

    def prepare(self, rows: np.ndarray) -> Any:
        return self.rival.prepare(rows[: max(1, len(rows) - 1)])


def test_a_rival_that_is_right_step_by_step_and_wrong_in_one_call_fails(small: Problem) -> None:
    session = Session("tutorial")
    make = session.entry.make
    session.make = lambda problem: LastStepMissing(make(problem))  # type: ignore[method-assign]
    session.problem = small
    check = session.check()
    assert check is not None
    assert (check.passed, check.step) == (False, 20)


def test_pytorch_trains_steps_that_do_not_fill_a_graph_without_one_and_is_checked_by_a_graph(
    small: Problem,
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from benchmarks.rivals.torch_rival import Torch

    short = replace(small, workload=replace(small.workload, check_steps=2))
    plain, graphs = Torch(short), Torch(short, graph_steps=10)
    for rival in (plain, graphs):
        rival.run(rival.prepare(short.rows(0, 3)))
    assert set(differences(graphs.weights(), plain.weights()).values()) == {0.0}
    assert (plain.check_steps, graphs.check_steps) == (2, 10)


def test_with_dropout_a_rival_is_checked_by_its_loss_and_we_by_our_weights() -> None:
    workers = {name: InProcess(name, small_problem("W1")) for name in ("numpy", "tutorial")}
    checks = WorkloadRun("W1", workers, SHORT, report=lambda text: None).run().checks
    assert [(check.tensor == "loss", check.limit) for check in checks] == [(False, 1e-12), (True, 0.1)]


def test_a_rival_that_raises_is_listed_and_the_others_go_on(small: Problem) -> None:
    broken = InProcess("tutorial", replace(small, params=()))
    broken.problem.__dict__["order"] = None
    timing = run_with(numpy=InProcess("numpy", small), tutorial=broken)
    assert [r.rival for r in timing.rows] == ["numpy"]
    assert [absent.rival for absent in timing.absent] == ["tutorial"]
    assert "Error" in timing.absent[0].reason


def test_without_a_backend_of_ours_the_suite_is_refused(small: Problem) -> None:
    with pytest.raises(UsageError, match="W2 needs one of our own backends"):
        run_with(tutorial=InProcess("tutorial", small))


def test_products_of_a_backend_are_those_of_numpy(small: Problem) -> None:
    plain, captured = Products(small), CapturedProducts(small, "numpy")
    for products in (plain, captured):
        products.run(products.prepare(small.rows(0, 2)))
    np.testing.assert_array_equal(captured.state["y"], plain.products[-1][2])


def test_the_products_of_convolutions_are_those_of_their_windows() -> None:
    """Two convolutions and two dense layers: forward, dW, and dx of all but the first."""
    problem = small_problem("CNN")
    shapes = [(a.shape, b.shape) for a, b, _ in Products(problem).products]
    n, filters, (first, *_) = problem.batch, [3, 6, 8], [w["W"].shape for w in problem.weights if "W" in w]
    assert first == (25, filters[0])
    windows = [(n * 16 * 16, 25), (n * 6 * 6, 9 * 3), (n * 4 * 4, 9 * 6)]
    for k, (window, units) in enumerate(zip(windows, filters, strict=True)):
        assert shapes[k] == (window, (window[1], units))
    assert shapes[-1] == ((25, windows[0][0]), (windows[0][0], 3))
    assert shapes[-2] == ((n * 8 * 8, 9 * 6), (9 * 6, 3))
    assert len(shapes) == 5 + 5 + 4


# Workers.


def test_a_worker_checks_and_times_in_its_process() -> None:
    worker = Worker(Session.of_process, "tutorial", 1)
    try:
        worker.send("run", 1)
        with pytest.raises(WorkerError, match="no data were loaded"):
            worker.receive()
        worker.send("load", "W2")
        worker.receive()
        worker.send("check")
        assert worker.receive().passed
        worker.send("run", 2)
        assert min(worker.receive()) > 0
    finally:
        worker.end()
    assert worker.process.exitcode == 0


class Failing:
    def exit(self) -> None:
        os._exit(7)

    def hang(self) -> None:
        time.sleep(60)


@pytest.mark.parametrize(
    ("method", "reason"), [("exit", "its process ended with exit code 7"), ("hang", "it was not done after 1 s")]
)
def test_a_process_that_dies_or_hangs_is_an_error(method: str, reason: str) -> None:
    worker = Worker(Failing)
    worker.send(method)
    with pytest.raises(WorkerError, match=reason):
        worker.receive(1.0 if method == "hang" else 60.0)
    worker.end()


class Importing:
    """A session without numba that says whether numba can be imported."""

    def __init__(self) -> None:
        Session.of_process("numpy")

    def numba(self) -> bool:
        print("what is printed is not the command's output")
        try:
            import numba  # noqa: F401
        except ImportError:
            return False
        return True


def test_a_blocked_package_cannot_be_imported_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker(Importing)
    worker.send("numba")
    assert worker.receive() is False
    worker.end()
    assert capfd.readouterr().out == ""


# The command.


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.001, 1)])
def test_the_command_writes_json_and_exits_1_where_a_check_fails(
    factor: float,
    status: int,
    small: Problem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(suite, "QUICK", SHORT)
    monkeypatch.setattr(suite, "not_installed", lambda name: None)
    monkeypatch.setattr(
        suite, "Worker", lambda _, name, threads: InProcess(name, small, factor if name == "tutorial" else 1.0)
    )
    monkeypatch.setattr(
        command, "run_suite", lambda *a, **k: suite.run_suite(*a, **k, names=("numpy", "tutorial"))
    )
    path = tmp_path / "result.json"
    words = ["--quick", "--workloads", "W2", "--threads", "1", "--json", str(path)]
    assert command.main(words) == status
    result = Result.from_json(path.read_bytes())
    assert result.command == "python -m benchmarks --quick --workloads W2 --threads 1"
    assert result.machine.packages["numpy"] == np.__version__
    printed = " ".join(capsys.readouterr().err.split())
    assert ("plain NumPy, as in tutorials is not timed: after step 1 its " in printed) is bool(status)


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert suite.not_installed("tutorial") is None
    monkeypatch.setattr(suite, "find_spec", lambda name: None)
    reason = "sklearn is not installed: pip install scikit-learn"
    assert suite.not_installed("sklearn") == Absent("sklearn", "scikit-learn", reason)


def test_the_result_of_a_gpu_names_it(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def select(name: str, device: str) -> SimpleNamespace:
        if name == "cupy":
            raise BackendError("CuPy is not installed.", "Install it.")
        return SimpleNamespace(description=f"a GPU, {device}, by {name}")

    monkeypatch.setattr(command, "select", select)
    monkeypatch.setattr(command, "run_suite", lambda *a, **k: (result.timings, result.absent))
    command.main(["--device", "cuda:1", "--json", str(tmp_path / "gpu.json")])
    machine = Result.from_json((tmp_path / "gpu.json").read_bytes()).machine
    assert machine.gpu == "a GPU, cuda:1, by torch"


def test_threads_that_cannot_be_are_refused() -> None:
    assert command.main(["--threads", "0", "--workloads", "W2"]) == 2


def test_a_backend_that_cannot_be_profiled_is_an_error_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str, backend: str) -> str:
        raise BackendError("CuPy is not installed.", 'Install it: pip install "cupy-cuda12x[ctk]"')

    monkeypatch.setattr(command, "set_num_threads", lambda threads, later_imports: None)
    monkeypatch.setattr(command, "profile", missing)
    assert command.main(["--profile", "W3", "--backend", "cupy", "--threads", "1"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert 'error: CuPy is not installed. Install it: pip install "cupy-cuda12x[ctk]"' in said


def test_a_profile_names_the_functions_of_a_step() -> None:
    table = profile("W3", "numpy", seconds=0.0)
    assert table.startswith("**W3, batch of 1**: 784-100-10")
    for function in (
        "layers/dense.py backward",
        "nn/losses/regression.py __call__",
        "data/batch.py get_batch",
    ):
        assert f"| nnbackprop/{function} |".replace("nnbackprop/layers", "nnbackprop/nn/layers") in table


# Slices and what follows from them.


@pytest.mark.parametrize(("cores", "threads", "load"), [(2, 2, 0.45), (4, 4, 0.45), (4, 2, 0.0), (2, 1, 0.0)])
def test_other_load_is_what_is_busy_and_not_ours_beyond_the_free_cores(
    cores: int, threads: int, load: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "os", SimpleNamespace(cpu_count=lambda: cores))
    before, after = CpuTimes(100.0, 50.0, 7.0), CpuTimes(102.0, 54.0, 7.1)
    # 4.0 s busy, of which 0.1 are the parent's and 3.0 the rival's: 0.9 s in 2 s
    assert suite.other_load(before, after, 3.0, threads) == pytest.approx(load)


def row(name: str, *seconds: float, disturbed: Sequence[int] = ()) -> Row:
    slices = (Slice(20, s, 0.5 if i in disturbed else 0.0) for i, s in enumerate(seconds))
    return Row(name, RIVALS[name].title, RIVALS[name].kind, tuple(slices))


def test_ratios_are_taken_within_a_round_and_disturbed_slices_left_out() -> None:
    ours, keras = row("numpy", 2, 4, 5, 2, disturbed=[3]), row("keras", 3, 4, 20, 9, disturbed=[1])
    assert keras.seconds == [3, 20, 9]
    assert keras.ratios(ours) == [1.5, 4]


def test_where_every_slice_is_disturbed_all_of_them_count() -> None:
    ours, keras = row("numpy", 1, 2, 4), row("keras", 2, 6, 16, disturbed=[0, 1, 2])
    assert keras.ratios(ours) == [2, 3, 4]


@pytest.fixture
def result() -> Result:
    rows = (
        row("numpy", 1, 2, 1),
        row("products", 0.5, 1, 0.5),
        row("torch-eager", 2, 6, 2, disturbed=[1]),
        row("jax-grad", 8, 8, 8, disturbed=[0, 1, 2]),
    )
    checks = (Check("keras", "Keras on JAX", "W2", 7, 0.03, 1e-12),)
    absent = (Absent("thinc", "Thinc", "ImportError: no backend"),)
    timing = Timing("W1n", "no dropout", "784-10", "epoch of 60,000", 500, False, rows, absent, checks)
    missing = (Absent("sklearn", "scikit-learn", "sklearn is not installed: pip install scikit-learn"),)
    return Result("python -m benchmarks", "2030-01-31", MACHINE, (timing,), missing)


def test_json_gives_back_what_it_was_given(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result
    assert not result.passed


def test_a_machine_has_a_file_of_its_own() -> None:
    assert MACHINE.file_name == "some-cpu-3-00ghz-4-cores-zen.json"
    assert replace(MACHINE, gpu="NVIDIA H200, CUDA 13").file_name == "nvidia-h200.json"


def test_the_page_shows_times_failures_and_disturbed_slices(result: Result) -> None:
    shown = page(result)
    for words in (
        "**W1n, no dropout**: 784-10",
        "| | s per epoch of 60,000 | time divided by ours | share of matrix products |",
        "| **nnbackprop, NumPy** | 1.00 (1.00..2.00) | 1.00 | 50% |",
        "| PyTorch, eager | 2.00 | 2.00 | 25% |",
        "Keras on JAX is not timed: after step 7 its W2 is 3.0e-02 from ours; 1e-12 is the limit.",
        "Thinc left out: ImportError: no backend.",
        "left out unless all of a row's are: PyTorch, eager 1 of 3; JAX autodiff, jit and scan 3 of 3.",
        "scikit-learn left out: sklearn is not installed: pip install scikit-learn.",
        "4 cores, 2 threads, 8.0 GiB, Linux, OpenBLAS for Zen. Python 3.11.7, numpy 2.4.6.",
    ):
        assert words in shown
    gpu = replace(result, timings=(replace(result.timings[0], on_gpu=True),))
    assert "| **nnbackprop, NumPy** | 2,000 (2,000..4,000) |" in page(gpu)  # µs a step
    assert "| time divided by ours | W1n, no dropout |" in summary(result)
    assert "| PyTorch, eager | 2.00 |" in summary(result)


def test_the_chart_has_a_bar_from_1_to_each_ratio(result: Result, tmp_path: Path) -> None:
    (axes,) = chart(result).axes
    bars: list[Any] = list(axes.patches)
    ends = [bar.get_x() + bar.get_width() for bar in bars]
    assert ends == pytest.approx([0.5, 2.0, 8.0])
    assert {bar.get_x() for bar in bars} == {1}
    titles = [label.get_text() for label in axes.get_yticklabels()]
    assert titles == [RIVALS[name].title for name in ("products", "torch-eager", "jax-grad")]
    draw(result, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_busy_neighbours_are_processes_that_end_with_the_measurement() -> None:
    before = set(psutil.Process().children())
    with busy.neighbours(2):
        counting = set(psutil.Process().children()) - before
        assert len(counting) >= 2
    _, alive = psutil.wait_procs(counting, timeout=10)
    assert all("resource_tracker" in " ".join(process.cmdline()) for process in alive)


def test_busy_table_has_a_row_for_each_choice_of_threads() -> None:
    row = {"title": "PyTorch, eager", "threads": "1", "epochs": {"0": 1.5, "1": 2.25, "2": 30.0}}
    text = busy.table({"rows": [row], "command": "busy", "date": "2026-01-01", "machine": "M"})
    assert "| PyTorch, eager | 1 | 1.50 | 2.25 | 30.00 |" in text
    assert "| seconds an epoch | threads | no neighbour | 1 busy neighbour | 2 busy neighbours |" in text


def test_the_share_of_augmentation_is_of_the_rounds_that_others_left_alone() -> None:
    rounds = [{"plain": 8.0, "augmented": a, "others": o} for a, o in ((10.0, 0.0), (12.0, 0.05), (80.0, 1.5))]
    found = {"rows": {"nnbackprop, NumPy": rounds}, "absent": [], "title": "T", "command": "c"}
    text = augmentation.table({**found, "date": "2030-01-31", "machine": "M"})
    assert "| nnbackprop, NumPy | 8 ms | 11 ms (10 ms..12 ms) | 27% (20%..33%) |" in text
    assert "left out unless all of a row's are: nnbackprop, NumPy 1 of 3." in text


# Time to accuracy.


def test_seconds_to_accuracy_are_sums_of_epochs_and_their_median_over_seeds() -> None:
    trials = {
        "nnbackprop, NumPy": [[(1.0, 0.97), (1.5, 0.981)], [(1.0, 0.97), (3.0, 0.982)], [(2.0, 0.98)]],
        "scikit-learn": [[(5.0, 0.98)], [(5.0, 0.97), (5.0, 0.979)], [(4.0, 0.96), (4.0, 0.978)]],
    }
    found = {"target": 0.98, "trials": trials, "absent": {"Keras on JAX": "keras is not installed"}}
    text = to_accuracy.table({**found, "command": "c", "date": "2030-01-31", "machine": "M"})
    assert "| | seconds to 98.0% | time divided by ours | epochs | accuracy |" in text
    assert "| nnbackprop, NumPy | 2.50 (2.00..4.00) | 1.00 | 2 | 98.10% |" in text
    assert "| scikit-learn | not reached |  | 2 | 97.90% |" in text
    assert "Keras on JAX left out: keras is not installed." in text


@pytest.mark.parametrize(("most", "accuracies"), [(9, [0.25, 1.0]), (1, [0.25])])
def test_training_ends_with_the_first_epoch_at_the_target_or_the_last(most: int, accuracies: list[float]) -> None:
    labels = np.array([3, 1, 2, 1])
    answers = iter([np.full(4, 3), labels, labels])
    trained = to_accuracy.train_to(0.98, (lambda: 2.0, lambda: next(answers), most), labels)
    assert trained == [(2.0, accuracy) for accuracy in accuracies]


@pytest.mark.parametrize("library", to_accuracy.LIBRARIES)
def test_each_library_learns_digits_in_an_epoch_of_6_000(library: str) -> None:
    needs, make = to_accuracy.LIBRARIES[library]
    if not find_spec(needs):  # not imported here: Keras reads its backend when it is
        pytest.skip(f"{needs} is not installed")
    digits = load("mnist")
    assert digits.test
    train, predict, most = make(replace(digits, train=digits.train.take(np.arange(6000))), 0, 2)
    train()
    assert np.mean(predict() == digits.test.targets) > 0.7
    assert most >= 2
