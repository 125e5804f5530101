"""scripts/gpu_check.py where no GPU is: a rehearsal from end to end, its parts, and what it keeps."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.cuda import captured_scan
from benchmarks import gpu
from benchmarks.machine import Machine
from benchmarks.report import page
from benchmarks.results import RESULTS, Figure, Part, Result, saved
from benchmarks.workloads import WORKLOADS
from nnbackprop.data.catalog import load

ROOT = Path(__file__).parents[2]
SETTING = gpu.Setting("numpy", None, "mnist-20x20")
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


@pytest.fixture
def core_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes started from here cannot import what a bare machine with a GPU lacks."""
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


@pytest.mark.usefixtures("core_only")
def test_a_rehearsal_runs_every_part_on_the_core_packages_and_keeps_nothing(tmp_path: Path) -> None:
    full = load("mnist").train.take(np.arange(1000))
    np.savez(tmp_path / "train.npz", x_train=full.inputs.reshape(-1, 28, 28), y_train=full.targets)
    before = sorted(RESULTS.iterdir())
    done = command("--backend", "numpy", "--data", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    status = {}
    for line in done.stdout.splitlines():
        for name in (*gpu.PARTS, "times in float32", "times in TF32"):
            if line[9:].startswith(f"{name} ("):
                status[name] = line.split()[0]
    passed = {name for name, word in status.items() if word == "passed"}
    assert passed == {"parity", "gradients", "times in float32", "streaming"}
    assert {word for name, word in status.items() if name not in passed} == {"skipped"}
    assert len(status) == len(gpu.PARTS) + 2
    assert (
        "| float64 weights after 10 steps, relative difference from NumPy's | 0 | at most 1e-12 |" in done.stdout
    )
    assert "| tensors that differ from those of resident samples in a bit | 0 | at most 0 |" in done.stdout
    assert f"**W2**: {WORKLOADS['W2'].title}" in done.stdout
    assert "Nothing is kept" in done.stdout
    assert sorted(RESULTS.iterdir()) == before


def test_a_backend_that_cannot_be_used_is_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = command()
    assert done.returncode == 1
    assert "The backend cupy cannot be used here. " in done.stdout


@pytest.mark.parametrize("part", gpu.PARTS)
def test_every_part_passes_on_the_emulated_device(
    part: str, emulated_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a rehearsal's small network, with fewer replays."""
    monkeypatch.setattr(gpu, "REPLAYS", 200)
    monkeypatch.setattr(captured_scan, "STEPS", captured_scan.STEPS)  # the parts set it
    warnings.filterwarnings("error", "A step cannot be captured", RuntimeWarning)
    setting = replace(SETTING, backend="cupy")
    setting.open.empty_cache()  # of what tests before it have left: a part has a process of its own
    figures = list(gpu.PARTS[part](setting))
    assert figures
    assert not [figure for figure in figures if not figure.holds]


def good(setting: gpu.Setting) -> Iterator[Figure]:
    yield Figure("one", 1.0, limit=1.0)
    yield Figure("two", 2.0)


def beyond(setting: gpu.Setting) -> Iterator[Figure]:
    yield Figure("three", float("nan"), limit=1.0)


def raising(setting: gpu.Setting) -> Iterator[Figure]:
    yield Figure("one", 1.0)
    raise RuntimeError("it\nbroke")


def leaving(setting: gpu.Setting) -> Iterator[Figure]:
    yield Figure("one", 1.0)
    raise gpu.Skipped("nothing to do")


class ServedHere:
    """A worker without a process."""

    def __init__(self, target: Any, name: str, setting: gpu.Setting) -> None:
        self.sent: list[Any] = []
        with warnings.catch_warnings():
            target(self, name, setting)

    def send(self, answer: Any) -> None:
        self.sent.append(answer)

    def receive(self, seconds: float) -> Any:
        answer = self.sent.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        pass


@pytest.mark.parametrize(
    ("part", "status", "figures", "reason"),
    [
        (good, "passed", 2, ""),
        (beyond, "failed", 1, "three: nan, the limit is 1"),
        (raising, "failed", 1, "RuntimeError: it broke"),
        (leaving, "skipped", 1, "nothing to do"),
    ],
)
def test_a_part_keeps_its_figures_and_says_how_it_ended(
    part: Any, status: str, figures: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gpu.PARTS, "parity", part)
    monkeypatch.setattr(gpu, "Worker", ServedHere)
    found = gpu.run("parity", SETTING, 60.0)
    assert (found.status, len(found.figures), found.reason) == (status, figures, reason)


def test_a_step_that_is_not_captured_fails_a_part_rather_than_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncaptured(setting: gpu.Setting) -> Iterator[Figure]:
        captured_scan._warn(RuntimeError("no stream"))  # as `CapturedScan` does
        yield Figure("steps", 3)

    monkeypatch.setitem(gpu.PARTS, "captures", uncaptured)
    monkeypatch.setattr(gpu, "Worker", ServedHere)
    found = gpu.run("captures", SETTING, 60.0)
    assert (found.status, "no stream" in found.reason) == ("failed", True)


def test_eager_and_captured_steps_are_the_same_steps() -> None:
    """On NumPy both run plainly, the last step of a chunk with norms."""
    captured, eager = SETTING.ours(), SETTING.ours(eager=True)
    for ours in (captured, eager):
        ours.train(0, 4)
    assert gpu.differing("", captured, eager).value == 0
    assert np.count_nonzero(eager.state["norms"]) == 3


def test_memory_grows_from_the_second_reading_on() -> None:
    assert gpu.growth([0, 2**20, 2**20, 2**20]) == 0
    assert gpu.growth([2**20, 2**20, 3 * 2**20, 2**20]) == 2


@pytest.fixture
def result() -> Result:
    machine = Machine("Some CPU", 16, 16, 2**33, "Linux", "3.12", {}, gpu="NVIDIA H200, CUDA 13")
    figures = (Figure("apart", 2e-15, limit=1e-12), Figure.of("a step", [39.0, 40.0, 41.0], "µs"))
    parts = (Part("parity", "passed", 1.0, figures), Part("memory", "failed", 1.0, (), "RuntimeError: no"))
    return Result("python scripts/gpu_check.py", "2030-01-31", machine, (), (), parts)


def test_the_page_says_first_what_failed_and_lists_every_figure(result: Result) -> None:
    shown = page(result)
    assert shown.startswith("- **failed**: memory: RuntimeError: no\n")
    assert "| parity | apart | 2e-15 | at most 1e-12 |" in shown
    assert "| parity | a step | 40 (39..41) µs |  |" in shown
    assert shown.endswith(f"on 2030-01-31: {result.machine.words}.\n")
    assert result.machine.words.startswith("NVIDIA H200, CUDA 13; Some CPU")
    assert not result.passed


def test_the_documents_say_that_nothing_ran_on_a_gpu_until_something_has() -> None:
    measured = any(one.machine.gpu for one in saved())
    assert measured is ("Nothing has run on a" not in (ROOT / "README.md").read_text())
    assert measured is (
        "Nothing on this page was measured on a GPU" not in (ROOT / "docs/performance.md").read_text()
    )


def test_results_of_a_gpu_are_shown_before_those_of_cpus(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = replace(result, machine=replace(result.machine, gpu=None))
    for one in (cpu, result):
        (tmp_path / one.machine.file_name).write_text(one.to_json())
    monkeypatch.setattr("benchmarks.results.RESULTS", tmp_path)
    assert saved() == [result, cpu]
