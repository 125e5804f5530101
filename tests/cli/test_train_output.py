"""`train --progress json`, `train --dry-run` and `--install-completion`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import median

import pytest

from backends import select
from benchmarks.results import Result, saved
from benchmarks.workloads import WORKLOADS
from nnbackprop.cli.flags import out
from nnbackprop.errors import UsageError
from nnbackprop.report.progress import progress
from nnbackprop.runs import build
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.dry_run import dry_run, estimate_step, memory_of
from nnbackprop.runs.jax_estimate import JAX, NUMPY
from nnbackprop.runs.run_data import RunData
from nnbackprop.runs.train import initialized_trainer
from tests.support.commands import run, said
from tests.support.memory import peak_of

WORDS = ("--data", "two.npz", "--hidden", "4", "--validation", "0", "--epochs", "3", "--backend", "numpy")


@pytest.mark.usefixtures("two_clouds")
def test_json_progress_prints_the_rows_of_metrics_jsonl_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", *WORDS, "--progress", "json", "--name", "a") == 0
    out, err = capsys.readouterr()
    kept = [json.loads(line) for line in Path("runs/a/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in kept:
        row.pop("threads", None)  # of ThreadControl, where threads may change
    assert [json.loads(line) for line in out.splitlines()] == kept
    assert [row["epoch"] for row in kept] == [1, 2, 3]
    assert "Run folder: runs/a" in err


@pytest.mark.usefixtures("two_clouds")
def test_json_progress_is_kept_by_a_resumed_run_whose_messages_go_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", *WORDS, "--progress", "json", "--name", "a") == 0
    metrics = Path("runs/a/metrics.jsonl")
    metrics.write_text(
        metrics.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8"
    )  # without its first row
    capsys.readouterr()
    assert run("train", "--resume", "a", "--epochs", "4") == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["epoch"] for line in out.splitlines()] == [4]
    assert "lacks 1 of its rows" in " ".join(err.split())


def test_messages_of_a_trainer_go_to_stderr_under_json_progress(capsys: pytest.CaptureFixture[str]) -> None:
    progress("json", out).message("memory ran out")
    assert capsys.readouterr() == ("", "memory ran out\n")


@pytest.mark.usefixtures("two_clouds")
def test_json_progress_of_a_process_is_json_alone() -> None:
    words = [sys.executable, "-m", "nnbackprop", "train", *WORDS, "--progress", "json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert [json.loads(line)["epoch"] for line in done.stdout.splitlines()] == [1, 2, 3]


@pytest.mark.usefixtures("two_clouds")
def test_a_dry_run_shows_everything_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--lr", "auto", "--batch-size", "8", "--dry-run")
    assert run("train", *WORDS, *words) == 0
    printed = capsys.readouterr().out
    config = tomllib.loads(printed.split("\n\n")[0])
    assert (config["hidden"], config["lr"], config["data"]) == ([4], "auto", "two.npz")
    shown = " ".join(printed.split())
    assert f"total {3 * 4 + 4 + 4 * 2 + 2} " in shown  # the parameters, of 3 inputs and 2 classes
    assert "samples 32 train, 8 test" in shown
    assert "steps 4 steps an epoch of 8 samples, 3 epochs" in shown
    assert "memory about" in shown
    assert "time about" in shown
    assert [path.name for path in Path().iterdir()] == ["two.npz"]


@pytest.mark.usefixtures("two_clouds")
def test_a_dry_run_refuses_what_a_run_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", *WORDS, "--weight-decay", "0.5", "--dry-run") == 2
    assert "--weight-decay without adamw would do nothing" in said(capsys)
    assert run("train", *WORDS, "--name", "a/b", "--dry-run") == 2
    assert "'a/b' cannot be the name of a run" in said(capsys)
    assert run("train", *WORDS, "--log", "nowhere", "--dry-run") == 2
    assert "--log 'nowhere' is not known" in said(capsys)
    normalized = ("train", *WORDS, "--norm", "batch", "--name", "b")
    weighted = ("--class-weight", "balanced", "--shards", "2", "--sync-batchnorm")
    for words, problem in ((("--batch-size", "31"), "leave a batch of 1"), (weighted, "these have weights")):
        for dry in (("--dry-run",), ()):
            assert run(*normalized, *words, *dry) == 2
            assert problem in said(capsys)
            assert not Path("runs").exists()
    with pytest.raises(UsageError, match="dropout_changes are of a run whose rates the lab changed"):
        dry_run(resolve("mnist", {"data": "two.npz", "dropout_changes": ((5, (0.1, 0.1)),)}))
    assert run("train", "--resume", "last", "--dry-run") == 2
    assert "--dry-run is of a run that has not begun" in said(capsys)


@pytest.mark.usefixtures("two_clouds")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("hidden", [(1200, 1200, 1200), (2000,)])
def test_estimated_memory_is_within_a_quarter_of_what_training_holds(
    optimizer: str, hidden: tuple[int, ...]
) -> None:
    """On NumPy, whose arrays Python counts: most of it parameters, or most of it activations."""
    words = {"data": "two.npz", "hidden": hidden, "dropout": (), "optimizer": optimizer, "epochs": 2}
    config = resolve("mnist", {**words, "batch_size": 16, "backend": "numpy"})
    data, backend = RunData.load(config), select("numpy")

    def train() -> None:
        initialized_trainer(config, backend, data).fit(data.train)

    train()  # imports what it needs, which Python would count too
    trainer = initialized_trainer(config, backend, data)
    estimated = sum(memory_of(trainer, data, 16).values())
    del trainer
    assert 0.75 * estimated < peak_of(train) < 1.25 * estimated


ON_CPU = [pytest.param(r, id=r.machine.kernel or r.date) for r in saved() if r.machine.gpu is None]


@pytest.mark.parametrize("result", ON_CPU)
def test_estimated_time_is_within_a_factor_of_3_of_each_measurement(result: Result) -> None:
    """Of the workloads of the benchmark, on NumPy with numba and on JAX."""
    features, compared = {"mnist": 784, "mnist-20x20": 400}, 0
    for timing in result.timings:
        workload = WORKLOADS.get(timing.workload)
        for rival, cost in (("numpy-fast", NUMPY), ("jax", JAX)):
            row = timing.row(rival)
            if workload is None or row is None or timing.on_gpu:
                continue
            layers = workload.network.summary((features[workload.data],), workload.dtype)
            batch = workload.batch or 5000
            estimated = timing.steps * estimate_step(cost, layers, batch, result.machine.threads, workload.dtype)
            compared += 1
            assert 1 / 3 < estimated / median(row.seconds) < 3, (timing.workload, rival)
    assert compared


@pytest.mark.usefixtures("two_clouds")
def test_a_deterministic_run_is_estimated_on_its_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnbackprop.runs.dry_run.cores", lambda: 16)
    monkeypatch.setattr("nnbackprop.runs.train.set_num_threads", lambda *_, **__: None)
    seconds = [
        dry_run(resolve("mnist", {"data": "two.npz", "hidden": (2000,), "backend": "numpy", **threads})).seconds
        for threads in ({}, {"threads": 1}, {"deterministic": True})
    ]
    assert seconds[0] < seconds[1] == seconds[2]


@pytest.mark.usefixtures("two_clouds")
def test_a_dry_run_estimates_no_time_of_a_library_that_was_not_measured() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    config = resolve("mnist", {"data": "two.npz", "hidden": (4,), "backend": "torch", "device": "cpu"})
    assert dry_run(config).seconds is None
    assert build.batch_size(config, 32) == dry_run(config).batch_size == 32


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_the_shell_in_use(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    assert run("--install-completion") == 0
    scripts = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("lr-find" in script and "--batch-size" in script for script in scripts)
