"""`nnbackprop lr-find` and `train --lr auto`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from nnbackprop.errors import UsageError
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from tests.support.commands import run, said

pytestmark = pytest.mark.usefixtures("two_clouds")

WORDS = ("--data", "two.npz", "--hidden", "4", "--batch-size", "8", "--backend", "numpy")


def test_the_command_suggests_two_learning_rates_and_keeps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lr-find", *WORDS, "--steps", "60", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["lrs"]) == len(found["losses"]) == len(found["smoothed"]) <= 60
    least = min(range(len(found["smoothed"])), key=found["smoothed"].__getitem__)
    assert found["minimum_over_ten"] == found["lrs"][least] / 10
    assert run("lr-find", *WORDS, "--steps", "60") == 0
    shown = said(capsys)
    for name in ("steepest", "minimum_over_ten"):
        assert f"--lr {found[name]:.2g}" in shown
    assert sorted(path.name for path in Path().iterdir()) == ["two.npz"]


def test_the_plot_is_a_png(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lr-find", *WORDS, "--steps", "20", "--plot", "lr.png") == 0
    assert Path("lr.png").read_bytes().startswith(b"\x89PNG")
    assert "Plot: lr.png" in said(capsys)


def test_a_network_that_learns_at_no_rate_has_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lr-find", *WORDS, "--init", "zeros", "--hidden", "4", "4", "--no-bias", "--steps", "20") == 1
    assert "The loss falls at no learning rate" in said(capsys)


def test_auto_trains_as_the_number_it_finds() -> None:
    """config.toml has the number, by which the weights are the same to the bit."""
    words = (*WORDS, "--epochs", "2", "--progress", "off")
    assert run("train", *words, "--lr", "auto", "--name", "auto") == 0
    lr = tomllib.loads(Path("runs/auto/config.toml").read_text(encoding="utf-8"))["lr"]
    assert isinstance(lr, float)
    assert run("train", *words, "--lr", str(lr), "--name", "number") == 0
    auto, number = (load_file(f"runs/{name}/checkpoints/last.safetensors") for name in ("auto", "number"))
    assert {name: a.tobytes() for name, a in auto.items()} == {name: a.tobytes() for name, a in number.items()}
    assert run("train", "--resume", "auto", "--epochs", "3", "--progress", "off") == 0


def test_auto_without_a_fall_of_the_loss_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--init", "zeros", "--hidden", "4", "4", "--no-bias", "--lr", "auto")
    assert run("train", *WORDS, *words) == 2
    assert "--lr auto found no learning rate at which the loss falls" in said(capsys)
    assert not Path("runs").exists()


def test_auto_is_refused_where_nothing_looks_for_it() -> None:
    with pytest.raises(UsageError, match="lr is auto, which nnbackprop train finds"):
        build.learning_rate(Config(lr="auto"), 100)
