"""What must be refused or must not be lost: found once by a sceptic, held here."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from nnbackprop import TrainedModel
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import run

PEOPLE = ["train", "weight-height", "--progress", "off"]


pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def summary(name: str) -> dict[str, object]:
    return json.loads((Path("runs") / name / "summary.json").read_text())


def table(path: str, n: int = 40, seed: int = 0) -> None:
    """A table of two clouds that a line tells apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    np.savez(path, X=rng.standard_normal((n, 3)) + 4 * labels[:, None], y=labels)


def test_a_folder_or_file_of_the_name_is_left_alone() -> None:
    Path("runs/weight-height").mkdir(parents=True)
    Path("runs/weight-height/config.toml").write_text("precious")
    Path("runs/weight-height-2").write_text("precious too")
    assert run(*PEOPLE, "--epochs", "2") == 0
    assert Path("runs/weight-height/config.toml").read_text() == "precious"
    assert Path("runs/weight-height-2").read_text() == "precious too"
    assert Path("runs/weight-height-3/summary.json").is_file()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    assert run(*PEOPLE, "--epochs", "2", "--name", name) == 2
    assert not Path("x").exists()


def test_weights_that_were_best_are_so_no_more_when_the_run_goes_on() -> None:
    assert run(*PEOPLE, "--epochs", "2", "--name", "a") == 0
    before = TrainedModel.open("a").evaluate(TrainedModel.open("a").data()).loss
    assert run("train", "--resume", "a", "--epochs", "200", "--progress", "off") == 0
    after = TrainedModel.open("a").evaluate(TrainedModel.open("a").data()).loss
    assert after == pytest.approx(summary("a")["train_loss"])
    assert after < before


@pytest.mark.parametrize(
    "flags", [["--epochs", "0"], ["--patience", "0"], ["--max-time", "-1"], ["--epochs", "2"]]
)
def test_a_resume_that_cannot_be_leaves_the_run_as_it_was(flags: list[str]) -> None:
    assert run(*PEOPLE, "--epochs", "5", "--name", "a") == 0
    before = {path: path.read_bytes() for path in Path("runs/a").rglob("*") if path.is_file()}
    assert run("train", "--resume", "a", "--progress", "off", *flags) == 2
    assert {path: path.read_bytes() for path in Path("runs/a").rglob("*") if path.is_file()} == before


def test_a_last_update_that_diverges_is_found_and_leaves_no_summary() -> None:
    table("two.npz")
    words = ["--data", "two.npz", "--epochs", "1", "--lr", "1e30", "--dropout", "0", "--progress", "off"]
    assert run("train", "mnist", *words, "--name", "a") == 4
    assert not Path("runs/a/summary.json").exists()
    assert "NaN" not in Path("runs/a/metrics.jsonl").read_text()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("unit", "flags", "status", "said"),
    [
        (1, ["--init", "normal:1e308"], 2, "W of layer dense1"),
        (1, ["--init", "uniform:1e308"], 2, "uniform:0.12"),
        (5e-324, ["--scale", "standard"], 3, "the scaling of all features"),
        (5e-324, ["--scale", "per-feature"], 3, "the scaling of feature 0"),
        (1e-40, ["--scale", "standard"], 3, "float32 cannot hold"),
        (1e200, ["--scale", "standard", "--dtype", "float64"], 3, "the scaling of all features"),
    ],
)
def test_a_beginning_that_is_not_finite_leaves_nothing_behind(
    unit: float, flags: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.savez("two.npz", X=np.round(9 * rng.standard_normal((40, 3))) * unit, y=np.arange(40) % 2)
    words = ["--data", "two.npz", "--hidden", "5", "--dropout", "0", "--progress", "off", *flags]
    assert run("train", "mnist", *words) == status
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


def test_one_class_is_refused_before_anything_is_written() -> None:
    np.savez("one.npz", X=np.random.default_rng(0).standard_normal((9, 3)), y=np.zeros(9, int))
    assert run("train", "mnist", "--data", "one.npz", "--test-fraction", "0", "--dropout", "0") == 3
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--output", "sigmoid", "--loss", "binary-cross-entropy", "--outputs", "1"],
        ["--output", "softmax", "--loss", "softmax-cross-entropy"],
        ["--output", "identity", "--loss", "softmax-cross-entropy", "--outputs", "1"],
        ["--output", "softmax", "--loss", "mse", "--outputs", "1"],
        ["--targets", "1", "0"],
        ["--output", "identity", "--loss", "binary-cross-entropy", "--targets", "-1", "2"],
        ["--output", "identity", "--loss", "softmax-cross-entropy", "--outputs", "2", "--targets", "0", "2"],
        ["--weight-decay", "0.5"],
        ["--penalize-biases"],
    ],
)
def test_a_pairing_that_computes_nonsense_or_nothing_is_refused(flags: list[str]) -> None:
    assert run(*PEOPLE, "--epochs", "2", *flags) == 2
    assert not Path("runs").exists()


def test_the_threshold_of_one_plain_output_lies_between_its_targets() -> None:
    table("two.npz")
    words = [
        "--loss",
        "mse",
        "--outputs",
        "1",
        "--output",
        "tanh",
        "--targets",
        "-1",
        "1",
        "--test-fraction",
        "0.5",
    ]
    assert (
        run("train", "mnist", "--data", "two.npz", "--epochs", "200", "--dropout", "0", *words, "--name", "a") == 0
    )
    assert summary("a")["test_accuracy"] == 1.0
    trained = TrainedModel.open("a")
    data = trained.data()
    assert np.array_equal(trained.predict(data.inputs)[0], data.targets)


def test_a_run_that_stopped_early_has_stopped() -> None:
    table("noise.npz")
    words = ["--data", "noise.npz", "--validation", "0.3", "--patience", "2", "--epochs", "300", "--lr", "2"]
    assert run("train", "mnist", *words, "--dropout", "0", "--progress", "off", "--name", "a") == 0
    first = summary("a")
    assert first["reason"] == "early-stopping"
    assert run("train", "--resume", "a", "--progress", "off") == 0
    assert {**summary("a"), "seconds": 0, "samples_per_second": 0} == {
        **first,
        "seconds": 0,
        "samples_per_second": 0,
    }


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--gpu-memory-limit", "4"], "numpy on cpu has no limit of GPU memory"),
        (["--dtype", "tf32"], "TF32 is a way in which NVIDIA GPUs multiply"),
        (["--dtype", "bfloat16"], "numpy has no bfloat16"),
        (["--save-every", "0"], "--save-every takes a number of steps, such as 500, or of seconds, such as 60s"),
        (["--save-every", "5m"], "got '5m'"),
    ],
)
def test_what_this_machine_or_nobody_has_is_refused_before_anything_is_written(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*PEOPLE, "--backend", "numpy", *flags) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


def test_a_run_that_diverges_goes_back_and_on_at_half_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """Half-MSE of outputs without an activation, at rates that overshoot until they are halved often enough."""
    table("two.npz")
    words = ["train", "mnist", "--data", "two.npz", "--loss", "half-mse", "--dropout", "0", "--epochs", "30"]
    words += ["--lr", "2", "--progress", "off", "--name", "a"]
    assert run(*words) == 4
    assert run(*words[:-1], "b", "--on-nan", "restore-and-halve-lr") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Training diverged. Step " in said
    rates = [json.loads(line)["lr"] for line in Path("runs/b/metrics.jsonl").read_text().splitlines()]
    assert len(rates) == 30
    assert rates[-1] < 2
    assert set(rates) <= {2 * 0.5**k for k in range(11)}
    assert f"on at {rates[-1] / 2:g} of the learning rate" in said
    assert np.isfinite(summary("b")["train_loss"])
    assert run("train", "--resume", "b", "--epochs", "31", "--progress", "off") == 0  # which keeps the rate
    assert json.loads(Path("runs/b/metrics.jsonl").read_text().splitlines()[-1])["lr"] == rates[-1]


@pytest.mark.parametrize("every", ["1", "2", "3"])
def test_checkpoints_that_are_past_saving_are_left_behind(every: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Saved so often, the last three are all of steps at which the weights had grown too far, and finite still."""
    table("two.npz")
    words = ["train", "mnist", "--data", "two.npz", "--loss", "half-mse", "--dropout", "0", "--epochs", "30"]
    words += ["--lr", "2", "--progress", "off", "--on-nan", "restore-and-halve-lr", "--save-every", every]
    assert run(*words) == 0
    assert "Back to step 0, and on at 0.0625 of the learning rate" in " ".join(capsys.readouterr().out.split())


def test_two_runs_do_not_write_to_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*PEOPLE, "--epochs", "2", "--name", "a") == 0
    with RunDir(Path("runs/a")).held():
        assert run("train", "--resume", "a", "--epochs", "5", "--progress", "off") == 5
        assert "another process" in capsys.readouterr().err.replace("\n", " ")
    assert run("train", "--resume", "a", "--epochs", "5", "--progress", "off") == 0


def test_best_weights_that_went_missing_come_back_with_the_run() -> None:
    table("two.npz")
    words = ["--data", "two.npz", "--validation", "0.3", "--epochs", "3", "--dropout", "0", "--name", "a"]
    assert run("train", "mnist", *words) == 0
    best = Path("runs/a/checkpoints/best.safetensors")
    before = best.read_bytes()
    best.unlink()
    assert run("train", "--resume", "a") == 0
    assert best.read_bytes() == before


def test_a_resumed_run_keeps_where_it_was_asked_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        run("train", "mnist", "--data", "weight-height", "--epochs", "2", "--name", "a", "--batch-size", "1") == 0
    )
    monkeypatch.setenv("NNBACKPROP_BACKEND", "numpy")
    assert run("train", "--resume", "a", "--epochs", "3") == 0
    assert tomllib.loads(Path("runs/a/config.toml").read_text())["backend"] == "auto"


def test_inputs_of_another_range_or_not_finite_are_refused() -> None:
    rng = np.random.default_rng(0)
    np.savez("bytes.npz", X=rng.integers(0, 256, (40, 4)), y=np.arange(40) % 2)
    assert run("train", "mnist", "--data", "bytes.npz", "--epochs", "1", "--dropout", "0", "--name", "a") == 0
    np.savetxt("shares.csv", rng.random((3, 4)), delimiter=",")
    np.savetxt("nan.csv", np.full((3, 4), np.nan), delimiter=",")
    assert run("predict", "a", "shares.csv") == 3
    assert run("predict", "a", "nan.csv") == 3


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNBACKPROP_BACKEND", "")
    monkeypatch.setenv("NNBACKPROP_DEVICE", "")
    assert run(*PEOPLE, "--epochs", "2") == 0


def test_a_console_without_dashes_gets_the_summary_all_the_same() -> None:
    import os
    import subprocess
    import sys

    command = [sys.executable, "-m", "nnbackprop", "train", "weight-height", "--epochs", "2"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Run folder" in done.stdout
