"""`nnbackprop parity`: its output as text, as JSON and as a plot, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Backend, BackendError, NumpyBackend, select
from backends.namespace import Namespace
from nnbackprop.diagnostics.parity.compare import parity
from nnbackprop.report.parity import parity_plot
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_files import resolve
from tests.support import commands

SCRIPT = Path(__file__).parents[2] / "scripts" / "parity.py"


RECIPE = """
data = "weight-height"
test_fraction = 0.0
hidden = [5]
dropout = [0.1, 0.4]
optimizer = "adam"
batch_size = 3
"""


@pytest.fixture
def recipe(tmp_path: Path, in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "small.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return str(path)


def run(*words: str) -> int:
    return commands.run("parity", *words)


def small(recipe: str, **changes: Any) -> Config:
    return resolve(recipe, changes)


def test_the_command_shows_kinds_tolerances_and_a_verdict(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe, "--backends", "numpy,strict", "--steps", "4") == 0
    shown = capsys.readouterr().out
    for word in ("strict float64, own weights", "strict float32, same weights", "1e-12", "1e-05", "activations"):
        assert word in shown
    assert shown.splitlines()[0] == "small, seed 0, 4 steps of 3 samples, compared with numpy"
    assert shown.splitlines()[-1] == "passed"


def test_json_has_its_shape(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe, "--backends", "numpy,strict", "--steps", "3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["libraries"]] == ["numpy", "strict"]
    assert (found["recipe"], found["steps"], found["batch_size"], found["passed"]) == ("small", 3, 3, True)
    assert [(row["dtype"], row["begin"], row["tolerance"]) for row in found["comparisons"]] == [
        ("float64", "own weights", 1e-12),
        ("float32", "same weights", 1e-5),
    ]
    for comparison in found["comparisons"]:
        assert sorted(comparison["worst"]) == ["activations", "gradients", "weights"]
        for tensor in comparison["tensors"]:
            assert sorted(tensor) == ["absolute", "excuse", "kind", "layer", "relative", "tensor"]
            assert [len(tensor[name]) for name in ("absolute", "relative", "excuse")] == [3, 3, 3]


def test_a_given_dtype_is_the_only_one_compared(recipe: str) -> None:
    found = parity(small(recipe), ["numpy", "strict"], 2, ["float64"])
    assert [comparison.dtype for comparison in found.comparisons] == ["float64"]


def test_absent_libraries_are_listed_with_the_fix(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_cupy(name: str, device: str | None = None) -> Backend:
        if name == "cupy":
            raise BackendError("CuPy is not installed.", "Install it.")
        return select(name, device)

    monkeypatch.setattr("nnbackprop.diagnostics.parity.compare.select", without_cupy)
    assert run(recipe, "--backends", "cupy,numpy,strict", "--steps", "1", "--dtype", "float64") == 0
    assert "cupy not compared: CuPy is not installed. Install it." in capsys.readouterr().out
    assert run(recipe, "--backends", "numpy,cupy", "--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "at least two libraries" in err
    assert "CuPy is not installed. Install it." in err


def test_past_the_tolerance_exits_1_and_names_step_and_tensor(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = NumpyBackend()
    wrong.xp = Namespace(np, matmul=lambda a, b: np.matmul(a, b) * (1 + 1e-4))
    monkeypatch.setattr(
        "nnbackprop.diagnostics.parity.compare.select",
        lambda name, _=None: wrong if name == "strict" else select(name),
    )
    assert run(recipe, "--backends", "numpy,strict", "--steps", "3") == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "first past the tolerance at step 1, activations of dense1" in shown
    assert shown.endswith("FAILED: 2 of 2 comparisons")


def test_full_batches_and_single_samples_are_compared(recipe: str) -> None:
    for batch in ("full", 1):
        found = parity(small(recipe, batch_size=batch), ["numpy", "strict"], 5)
        assert found.passed
        assert found.batch_size == (4 if batch == "full" else 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backends", "numpy"], "at least two libraries"),
        (["--backends", "numpy,numpy"], "at least two libraries"),
        (["--backends", "numpy,tensorflow"], "tensorflow"),
        (["--backends", "numpy,strict", "--steps", "0"], "at least one step"),
        (["--backend", "jax"], "--backends numpy,jax"),
    ],
)
def test_fewer_than_two_libraries_or_steps_are_refused(
    words: list[str], said: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(recipe, *words) == 2
    assert said in commands.said(capsys)


def test_the_plot_has_a_line_for_each_comparison_and_dashed_tolerances(recipe: str, tmp_path: Path) -> None:
    found = parity(small(recipe), ["numpy", "strict"], 6)
    (axes,) = parity_plot(found).axes
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    for comparison in found.comparisons:
        drawn = lines[f"strict {comparison.dtype}, {comparison.begin}"]
        assert list(drawn.get_xdata()) == [1, 2, 3, 4, 5, 6]
        largest = [max(d.relative for d in comparison.differences if d.step == k) for k in range(1, 7)]
        assert list(drawn.get_ydata()) == [max(value, 1e-18) for value in largest]
    dashed = [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert sorted(dashed) == [1e-12, 1e-5]
    assert axes.get_yscale() == "log"
    assert run(recipe, "--backends", "numpy,strict", "--steps", "1", "--plot", str(tmp_path / "parity.png")) == 0
    assert (tmp_path / "parity.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_script_runs_the_command(recipe: str) -> None:
    words = [recipe, "--backends", "numpy,strict", "--steps", "2"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "passed"
