"""scripts/gpu_check.py where no GPU is: a rehearsal from end to end, its parts, and what it keeps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backends.cuda import captured_scan
from benchmarks import gpu
from benchmarks.machine import Machine
from benchmarks.report import page
from benchmarks.results import RESULTS, Figure, Part, Result, saved
from benchmarks.rivals.products import CapturedProducts, Products
from benchmarks.workloads import WORKLOADS
from nnbackprop.data.catalog import load

ROOT = Path(__file__).parents[2]
CHECK = gpu.GpuCheck("numpy", None, "mnist-20x20")
NOT_INSTALLED = {
    *("cyclopts", "matplotlib", "msgspec", "polars", "pooch"),
    *("psutil", "rich", "safetensors", "threadpoolctl"),
}


@pytest.fixture
def core_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes started from here cannot import what a bare machine with a GPU lacks."""
    (tmp_path / "sitecustomize.py").write_text(
        f"""
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_INSTALLED}:
            raise ModuleNotFoundError("refused: " + name, name=name)
sys.meta_path.insert(0, Refusing())
""",
        encoding="utf-8",
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
            if line[9:].startswith(name):
                status[name] = line.split()[0]
    passed = {name for name, word in status.items() if word == "passed"}
    assert passed == {"parity", "gradients", "times in float32", "streaming"}
    assert {word for name, word in status.items() if name not in passed} == {"skipped"}
    assert len(status) == len(gpu.PARTS) + 2
    assert (
        "| float64 weights after 10 steps, relative difference from NumPy's | 0 | at most 1e-12 |" in done.stdout
    )
    assert "| tensors that differ from those of resident samples in a bit | 0 | at most 0 |" in done.stdout
    assert f"**W2, full batch**: {WORKLOADS['W2'].title}" in done.stdout
    assert "Nothing is kept" in done.stdout
    assert sorted(RESULTS.iterdir()) == before


def test_a_backend_that_cannot_be_used_is_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = command()
    assert done.returncode == 1
    assert "The backend cupy cannot be used here. " in done.stdout


@pytest.mark.usefixtures("emulated_device")
@pytest.mark.parametrize("name", gpu.PARTS)
def test_every_part_passes_on_the_emulated_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a rehearsal's small network, with fewer replays."""
    monkeypatch.setattr(gpu, "REPLAYS", 200)
    monkeypatch.setattr(captured_scan, "GRAPH_STEPS", captured_scan.GRAPH_STEPS)  # the parts set it
    check = replace(CHECK, backend_name="cupy")
    check.backend.empty_cache()  # of what tests before it have left: a part has a process of its own
    part = check.run(name)
    assert (part.status, part.reason) == ("passed", "")
    assert part.figures


@pytest.mark.usefixtures("emulated_device")
def test_captured_products_are_those_of_numpy() -> None:
    problem = replace(CHECK.ours("float64").problem, device="cuda")
    plain, captured = Products(problem), CapturedProducts(problem, "cupy")
    for products in (plain, captured):
        products.run(products.prepare(problem.rows(0, 50)))
    assert captured.backend.graphs  # type: ignore[attr-defined]
    np.testing.assert_allclose(captured.backend.to_numpy(captured.state["y"]), plain.products[-1][2], rtol=1e-12)


@pytest.mark.parametrize(
    ("limit", "error", "status", "reason"),
    [
        (2.0, None, "passed", ""),
        (1.0, None, "failed", "two: 2.0, the limit is 1"),
        (2.0, RuntimeError("it\nbroke"), "failed", "RuntimeError: it broke"),
        (2.0, gpu.Skipped("nothing to do"), "skipped", "nothing to do"),
    ],
)
def test_a_part_keeps_its_figures_and_says_how_it_ended(
    limit: float, error: Exception | None, status: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(check: gpu.GpuCheck) -> Iterator[Figure]:
        yield Figure("two", 2.0, limit=limit)
        if error:
            raise error

    monkeypatch.setitem(gpu.PARTS, "parity", part)
    measured = CHECK.run("parity")
    assert (measured.status, len(measured.figures), measured.reason) == (status, 1, reason)


def test_a_step_that_is_not_captured_fails_a_part_rather_than_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncaptured(check: gpu.GpuCheck) -> Iterator[Figure]:
        captured_scan._warn(RuntimeError("no stream"))  # as `CapturedScan` does
        yield Figure("steps", 3)

    monkeypatch.setitem(gpu.PARTS, "captures", uncaptured)
    part = CHECK.run("captures")
    assert (part.status, "no stream" in part.reason) == ("failed", True)


def test_eager_and_captured_steps_are_the_same_steps() -> None:
    """On NumPy both run plainly, the last step of a chunk with norms."""
    captured, eager = CHECK.ours(), CHECK.ours(eager=True)
    for ours in (captured, eager):
        ours.train(0, 4)
    assert gpu.differing("", captured, eager).value == 0
    assert np.count_nonzero(eager.state["gradient_norms"]) == 3


def test_graphs_of_one_length_have_different_names() -> None:
    graphs = [SimpleNamespace(steps=steps, nodes=nodes) for steps, nodes in ((16, 900), (1, 70), (1, 60))]
    assert [(graph.nodes, name) for graph, name in gpu.named_graphs(graphs)] == [
        (60, "a graph of 1 step"),
        (70, "a graph of 1 step with gradient norms"),
        (900, "a graph of 16 steps"),
    ]


@pytest.fixture
def result() -> Result:
    machine = Machine("Some CPU", 16, 16, 2**33, "Linux", "3.12", {}, gpu="NVIDIA H200, CUDA 13")
    figures = (Figure("apart", 2e-15, limit=1e-12), Figure.median("a step", [39.0, 40.0, 41.0], "µs"))
    parts = (Part("parity", "passed", figures), Part("memory", "failed", (), "RuntimeError: no"))
    return Result("python scripts/gpu_check.py", "2030-01-31", machine, (), (), parts)


def test_the_page_says_first_what_failed_and_lists_every_figure(result: Result) -> None:
    shown = page(result)
    assert shown.startswith("- **failed**: memory: RuntimeError: no\n")
    assert "| parity | apart | 2e-15 | at most 1e-12 |" in shown
    assert "| parity | a step | 40 (39..41) µs |  |" in shown
    assert shown.endswith(f"on 2030-01-31: {result.machine}.\n")
    assert str(result.machine).startswith("NVIDIA H200, CUDA 13; Some CPU")
    assert not result.passed


def test_the_documents_say_that_nothing_ran_on_a_gpu_until_something_has() -> None:
    measured = any(one.machine.gpu for one in saved())
    assert measured is ("Nothing has run on a" not in (ROOT / "README.md").read_text(encoding="utf-8"))
    performance = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert measured is ("Nothing on this page was measured on a GPU" not in performance)


def test_results_of_a_gpu_are_shown_before_those_of_cpus(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = replace(result, machine=replace(result.machine, gpu=None))
    for one in (cpu, result):
        (tmp_path / one.machine.file_name).write_text(one.to_json(), encoding="utf-8")
    monkeypatch.setattr("benchmarks.results.RESULTS", tmp_path)
    assert saved() == [result, cpu]
