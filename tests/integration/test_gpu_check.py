"""scripts/gpu_check.py where no GPU is: its rehearsal from end to end, its rivals, what it keeps and tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import select
from backends.cuda import captured_scan
from benchmarks.gpu import captures, page, rivals, runner, speed
from benchmarks.gpu.environment import GPU
from benchmarks.gpu.learning import first
from benchmarks.gpu.results import MICROSECONDS, Check, Figure, Part, Skipped, kept, path_of
from benchmarks.gpu.runner import PIECES, Piece, Runner, ended
from benchmarks.gpu.setting import SHORT, Asked
from benchmarks.gpu.training import Training, apart, batches, w1
from nnbackprop._files import write_atomically
from nnbackprop.data.catalog import load
from nnbackprop.data.dataset import Dataset

ROOT = Path(__file__).parents[2]
ASKED = Asked("numpy", None, "mnist")
NOT_THERE = {
    "cyclopts",
    "matplotlib",
    "msgspec",
    "polars",
    "pooch",
    "psutil",
    "rich",
    "safetensors",
    "threadpoolctl",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of MNIST."""
    full, path = load("mnist"), tmp_path_factory.mktemp("data")
    parts = {"train": full.train.take(np.arange(1000)), "test": full.test.take(np.arange(200))}  # type: ignore[union-attr]
    arrays = {f"x_{name}": part.inputs.reshape(-1, 28, 28) for name, part in parts.items()}
    np.savez(path / "train.npz", **arrays, **{f"y_{name}": part.targets for name, part in parts.items()})
    return path


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return load(folder).train


@pytest.fixture
def no_more_than_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes begun from here can import none of what a bare machine with a GPU lacks."""
    (tmp_path / "sitecustomize.py").write_text(
        f"""
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_THERE}:
            raise ModuleNotFoundError("refused: " + name, name=name)
sys.meta_path.insert(0, Refusing())
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "scripts" / "gpu_check.py")
    return subprocess.run([sys.executable, script, *words], capture_output=True, text=True)


# The command.


@pytest.mark.usefixtures("no_more_than_the_core")
def test_a_rehearsal_runs_to_its_end_on_the_core_alone_and_keeps_nothing(folder: Path) -> None:
    before = sorted((ROOT / "benchmarks" / "results").iterdir())
    done = command("--backend", "numpy", "--data", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    status = {
        title: line.split()[0] for line in done.stdout.splitlines() for title in titles() if f" {title} (" in line
    }
    ran = {name for name, piece in PIECES.items() if status[piece.title] == "passed"}
    on_any = {"environment", "parity", "gradients", "ladder-float32", "large-float32", "accuracy", "streaming"}
    assert ran == on_any
    assert {status[piece.title] for name, piece in PIECES.items() if name not in ran} == {"skipped"}
    assert "weights apart from NumPy's after 10 steps, relative, the worst tensor [float64]: 0\n" in done.stdout
    assert "to 60% of the test images, in 5 of 5 runs" in done.stdout
    assert "tensors that differ from those of samples on the device in a bit: 0" in done.stdout
    assert "**skipped**: W1 in TF32, W4 in TF32: TF32 is a precision of NVIDIA GPUs" in done.stdout
    assert "Nothing is kept" in done.stdout
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == before


def titles() -> set[str]:
    return {piece.title for piece in PIECES.values()}


def test_without_a_gpu_it_goes_to_its_end_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = command()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nskipped ") == len(PIECES)
    assert "the backend cupy cannot be used here: " in done.stdout
    assert "Nothing is kept" in done.stdout


# A piece in its process.


def good(asked: Asked) -> Iterator[Figure]:
    yield Figure("one", 1.0, limit=1.0)
    yield Figure("two", 2.0)


def beyond(asked: Asked) -> Iterator[Figure]:
    yield Figure("three", 3.0, limit=1.0)


def raising(asked: Asked) -> Iterator[Figure]:
    yield Figure("one", 1.0)
    raise RuntimeError("it\nbroke")


def leaving(asked: Asked) -> Iterator[Figure]:
    yield Figure("one", 1.0)
    raise Skipped("nothing to do")


def dying(name: str, asked: Asked, pipe: Connection) -> None:
    pipe.send(Figure("one", 1.0))
    os._exit(7)


def waiting(name: str, asked: Asked, pipe: Connection) -> None:
    time.sleep(60)


class Here:
    """A pipe whose two ends are in this process."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, answer: Any) -> None:
        self.sent.append(answer)


@pytest.mark.parametrize(
    ("run", "last"),
    [
        (good, ("passed", "")),
        (raising, ("failed", "RuntimeError: it broke")),
        (leaving, ("skipped", "nothing to do")),
    ],
)
def test_a_piece_sends_what_it_finds_and_how_it_ended(
    run: Any, last: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PIECES, "parity", Piece("a piece", run))
    pipe = Here()
    with warnings.catch_warnings():
        runner.serve("parity", ASKED, pipe)  # type: ignore[arg-type]
    assert pipe.sent[0] == next(run(ASKED))
    assert pipe.sent[-1] == last


def test_a_figure_beyond_its_limit_fails_a_part_that_ended_well() -> None:
    figures = [*good(ASKED), *beyond(ASKED)]
    part = ended("parity", "passed", "", figures, 1.0)
    assert (part.status, part.reason) == ("failed", "three: 3.0, the limit is 1")
    assert ended("parity", "passed", "", figures[:2]).status == "passed"
    assert not Figure("what", float("nan"), limit=1.0).holds


@pytest.mark.parametrize(
    ("serve", "limit", "reason"),
    [(dying, 60.0, "its process ended with exit code 7"), (waiting, 1.0, "it was not done after 1 s")],
)
def test_a_process_that_dies_or_hangs_fails_its_part_alone(
    serve: Any, limit: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "serve", serve)
    part = Runner(ASKED, print).part("parity", limit)
    assert (part.status, part.reason) == ("failed", reason)
    assert len(part.figures) == (serve is dying)


def test_when_the_time_is_up_what_is_left_is_skipped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = ended("environment", "passed", "", [Figure(GPU, "Some GPU")])
    monkeypatch.setattr(Runner, "part", lambda self, name, limit: machine)
    monkeypatch.setattr(runner, "SECONDS", 0.0)
    heard: list[Part] = []
    parts = Runner(ASKED, heard.append).run()
    assert [part.name for part in parts] == list(PIECES) == [part.name for part in heard]
    assert {(part.status, part.reason) for part in parts[1:]} == {("skipped", "0 minutes were over")}


class Refusing:
    """A recorder that captures nothing."""

    def record(self, work: Any) -> Any:
        raise RuntimeError("no stream")

    def copy(self, array: np.ndarray) -> np.ndarray:
        return array.copy()

    def address(self, array: np.ndarray) -> Any:
        return id(array)

    def overlap(self, a: np.ndarray, b: np.ndarray) -> bool:
        return np.shares_memory(a, b)


def test_steps_that_are_not_captured_fail_a_part_rather_than_be_timed() -> None:
    def step(state: Any, data: Any, x: Any) -> Any:
        return {"w": state["w"] + x["x"]}

    state, xs = {"w": np.zeros(())}, {"x": np.ones(3)}
    with warnings.catch_warnings():
        runner.refuse_to_fall_back()
        with pytest.raises(RuntimeWarning, match="no stream"):
            captured_scan.CapturedScan(Refusing()).scan(step, state, {}, xs)


# DataSplits of parts.


def test_rivals_have_our_weights_after_the_same_steps(data: Dataset) -> None:
    """Those that need no CUDA."""
    pytest.importorskip("torch", reason="torch is not installed")
    assert rival_apart("torch-eager", data) < 1e-6


@pytest.mark.parametrize("name", ["jax-jit", "jax-scan"])
def test_jaxs_rivals_have_our_weights_too(name: str, data: Dataset) -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    assert rival_apart(name, data) < 1e-6


def rival_apart(name: str, data: Dataset) -> float:
    judge, task = rivals.set_task(SHORT, data, "cpu")
    checked = rivals.check(rivals.ENTRIES[name], task, judge)
    assert checked.limit == 1e-4
    return float(checked.value)


def test_what_learns_at_another_rate_does_not_pass_as_a_rival(data: Dataset) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    judge, task = rivals.set_task(SHORT, data, "cpu")
    assert not rivals.check(rivals.ENTRIES["torch-eager"], replace(task, lr=0.081), judge).holds


def test_a_rival_that_is_not_installed_is_skipped_with_the_command_that_mends_it() -> None:
    with pytest.raises(Skipped, match="no_such is not installed: pip install no_such"):
        rivals.can_run(rivals.Entry("Nobody", "torch_rivals", "Eager", "no_such"))


def test_eager_and_looped_steps_are_the_same_steps(data: Dataset) -> None:
    """As the chunk's last step is another callable, which must be called in both."""
    two = [Training(select("numpy"), w1(SHORT), data, eager=eager) for eager in (False, True)]
    for training in two:
        training.run(training.xs(0, 4))
    assert captures.differing("", *two).value == 0
    assert np.count_nonzero(two[0].state["norms"]) == 3


def test_batches_go_through_each_epoch_once_in_an_order_of_its_own() -> None:
    rows = batches(samples=10, batch=3, seed=0, numbers=np.arange(6))
    first_epoch, second = rows[:3].ravel().tolist(), rows[3:].ravel().tolist()
    assert len(set(first_epoch)) == len(set(second)) == 9
    assert first_epoch != second
    np.testing.assert_array_equal(batches(10, 3, 0, np.arange(4, 6)), rows[4:])


def test_apart_is_the_norm_of_the_difference_over_the_norm() -> None:
    a, b = ({"W": np.array([3.0, 4.0])},), ({"W": np.array([3.0, 0.0])},)
    assert apart(a, b) == pytest.approx(4 / 3)


def test_the_products_are_those_of_a_step(data: Dataset) -> None:
    """Eight of three layers: forward, and backward for the weights and, but for the first, for the inputs."""
    training, shapes = Training(select("numpy"), w1(SHORT), data), []
    run = speed.products(training, lambda a, b, c: shapes.append((*a.shape, *np.matmul(a, b, out=c).shape)))
    run()
    n, (d, h, k, c) = SHORT.batch, (784, *SHORT.hidden, 10)
    assert shapes[:8] == [
        *[(n, d, n, h), (n, h, n, k), (n, k, n, c)],
        *[(k, n, k, c), (n, c, n, k)],
        *[(h, n, h, k), (n, k, n, h)],
        (d, n, d, h),
    ]
    assert len(shapes) == 8 * SHORT.wide_steps


def test_the_first_time_a_goal_was_reached() -> None:
    run = {0.97: 1.0, 0.981: 2.0, 0.979: 3.0, 0.985: 4.0}
    assert (first(run, 0.98), first(run, 0.985), first(run, 0.99)) == (2.0, 4.0, None)


def test_memory_is_flat_from_the_second_look_on() -> None:
    assert captures.growth([0, 2**20, 2**20, 2**20]) == 0
    assert captures.growth([2**20, 2**20, 3 * 2**20, 2**20]) == 2


# What is kept, and told.


def step_times(what: str, *medians: float) -> tuple[Figure, ...]:
    return tuple(
        Figure(what, value, MICROSECONDS, value - 1, value + 1, dtype=dtype)
        for value, dtype in zip(medians, ("float32", "tf32"), strict=False)
    )


@pytest.fixture
def check() -> Check:
    parts = (
        Part("environment", "the machine", "passed", 1.0, (Figure(GPU, "NVIDIA H200"), Figure("cores", "16"))),
        Part("parity", "the same as NumPy", "passed", 1.0, (Figure("apart", 2e-15, limit=1e-12),)),
        Part("ladder-float32", "W1 in float32", "passed", 1.0, step_times("ours, a graph", 40.0)),
        Part("ladder-tf32", "W1 in TF32", "failed", 1.0, (), "RuntimeError: no"),
        Part("torch-eager", "PyTorch, eager", "passed", 1.0, step_times("PyTorch, eager", 400.0, 380.0)),
        Part("jax-jit", "JAX, jit", "skipped", 0.0, (), "jax is not installed"),
        Part("jax-scan", "JAX, scan", "skipped", 0.0, (), "jax is not installed"),
    )
    return Check("python scripts/gpu_check.py", "2030-01-31", {GPU: "NVIDIA H200", "cores": "16"}, parts)


def test_a_check_is_kept_whole_under_the_name_of_its_gpu(check: Check, tmp_path: Path) -> None:
    path = path_of(check, tmp_path)
    assert path.name == "nvidia-h200.json"
    write_atomically(path, check.to_json().encode())
    (tmp_path / "amd-epyc-2-cores.json").write_text("{}")  # a contest's
    assert kept(tmp_path) == [check]
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["amd-epyc-2-cores.json", "nvidia-h200.json"]
    assert json.loads(path.read_text())["parts"][1]["figures"][0]["value"] == 2e-15
    assert not check.passed


def test_the_page_tells_what_is_missing_and_everybodys_step_beside_ours(check: Check) -> None:
    shown = page.page(check)
    assert shown.startswith(
        "- **failed**: W1 in TF32: RuntimeError: no\n- **skipped**: JAX, jit, JAX, scan: jax is not"
    )
    assert "| **ours, a graph** | 40 (39..41) | 1.00 |  |  |" in shown
    assert "| PyTorch, eager | 400 (399..401) | 10.00 | 380 (379..381) |  |" in shown
    assert "| the same as NumPy | apart | 2e-15 |  | at most 1e-12 |" in shown
    assert shown.endswith("Made by `python scripts/gpu_check.py`, 2030-01-31. GPU NVIDIA H200, cores 16.\n")


def test_the_documents_say_first_what_was_never_measured_or_show_what_was(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import performance_gpu

    monkeypatch.setattr(performance_gpu, "RESULTS", tmp_path)
    never = performance_gpu.blocks()
    assert never["gpu"].startswith("**Never measured: anything on a GPU.**")
    assert "Nothing has\nrun on a GPU yet" in never["gpu-summary"]
    write_atomically(path_of(check, tmp_path), check.to_json().encode())
    measured = performance_gpu.blocks()
    assert measured["gpu"].startswith("Measured on NVIDIA H200. On no other GPU")
    assert "| PyTorch, eager | 400 (399..401) | 10.00 |" in measured["gpu-summary"]
    assert "Never" not in measured["gpu"]


def test_the_performance_page_has_it_in_its_first_lines() -> None:
    first_lines = (ROOT / "docs" / "performance.md").read_text().splitlines()[:4]
    assert "<!-- figures: gpu -->" in first_lines
