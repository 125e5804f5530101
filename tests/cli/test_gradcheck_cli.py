"""`nnbackprop gradcheck`: a table, a verdict, and an exit status that a script can trust."""

from __future__ import annotations

from typing import Any

import pytest

from nnbackprop.nn.layers import ReLU, Sigmoid
from tests.support import commands


@pytest.fixture(autouse=True)
def a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NNBACKPROP_BACKEND", "NNBACKPROP_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str) -> int:
    return commands.run("gradcheck", *words)


@pytest.mark.parametrize("recipe", ["mnist", "mnist-original", "ex4", "rashid", "weight-height"])
def test_the_recipes_pass(recipe: str, capsys: pytest.CaptureFixture) -> None:
    assert run(recipe, "--backend", "numpy") == 0
    printed = capsys.readouterr().out
    tensors = {"mnist": 7, "mnist-original": 7, "ex4": 5, "rashid": 3, "weight-height": 5}[recipe]
    assert printed.count(" ok") == tensors
    assert "WRONG" not in printed
    assert "passed" in printed


def test_flags_change_what_is_checked(capsys: pytest.CaptureFixture) -> None:
    words = ("--hidden", "30", "--activation", "gelu", "--dropout", "0.5", "--l2", "0.01", "--backend", "numpy")
    assert run("mnist", *words) == 0
    printed = capsys.readouterr().out
    assert "784 x 30" in printed
    assert f"{784 * 30 + 30 + 30 * 10 + 10 + 20 * 784:,} numbers" in printed


@pytest.mark.parametrize(
    ("recipe", "layer", "id"),
    [("mnist", ReLU, "activation-derivative-missing"), ("ex4", Sigmoid, "output-derivative-missing")],
)
def test_a_wrong_derivative_fails_and_is_named(
    recipe: str, layer: Any, id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(layer, "vjp", lambda self, xp, cache, dy: dy)
    assert run(recipe, "--backend", "numpy", "--hidden", "8", "--dropout", "0") == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed
    assert id in printed
    assert "worst [" in printed


def test_a_device_without_float64_is_checked_on_the_cpu_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert run("weight-height", "--backend", "torch", "--device", "mps") == 0
    printed = capsys.readouterr()
    assert "passed" in printed.out
    assert printed.err.strip() == "torch computes on the CPU: float64 is needed, and mps has none."


def test_a_library_that_is_absent_is_a_matter_of_usage(capsys: pytest.CaptureFixture) -> None:
    assert run("mnist", "--backend", "cupy") == 2
    assert "CuPy" in capsys.readouterr().err
