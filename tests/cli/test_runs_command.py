"""`nnbackprop runs`, `nnbackprop compare`, and tags."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nnbackprop.lab.saved_history import saved_history
from nnbackprop.report.runs import runs_table
from nnbackprop.runs import run_dir
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.run_table import RunInfo, RunTable, list_runs
from tests.support.commands import run, said

pytestmark = pytest.mark.usefixtures("two_clouds")

WORDS = ("--data", "two.npz", "--hidden", "4", "--epochs", "3", "--backend", "numpy", "--progress", "off")


def train(name: str, *words: str) -> list[dict[str, Any]]:
    """The rows of a run of that name."""
    assert run("train", *WORDS, "--name", name, *words) == 0
    return RunDir(Path("runs") / name).read_metrics()


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # of NaN, which is no JSON


def test_the_list_has_status_best_score_and_tags(capsys: pytest.CaptureFixture[str]) -> None:
    """With a validation part it is that of the best epoch, without one that of the last, on the test part."""
    rows = train("old", "--validation", "0.2", "--lr", "3", "--tags", "first", "try")
    train("new", "--tags", "try", "--validation", "0")
    old, new = as_json(capsys, "runs")["runs"]
    best = min(rows, key=lambda row: row["validation_loss"])
    assert old["score"] == {"loss": best["validation_loss"], "accuracy": best["validation_accuracy"]}
    assert (old["part"], old["best_epoch"], old["tags"]) == ("validation", best["epoch"], ["first", "try"])
    assert (new["name"], new["part"], new["best_epoch"], new["status"]) == ("new", "test", 3, "finished")
    assert (new["epochs"], new["planned_epochs"]) == (3, 3)
    assert run("runs") == 0
    shown = said(capsys)
    assert shown.index("old") < shown.index("new")
    assert "3/3" in shown


def test_tags_select_runs_and_change_on_resume(capsys: pytest.CaptureFixture[str]) -> None:
    train("a", "--tags", "one", "two")
    train("b", "--tags", "two")
    for tags, names in ((["two"], ["a", "b"]), (["two", "one"], ["a"])):
        assert [r["name"] for r in as_json(capsys, "runs", "--tags", *tags)["runs"]] == names
    capsys.readouterr()
    assert run("runs", "--tags", "two", "four") == 0
    assert "No run in runs has all of the tags two, four." in said(capsys)
    assert run("train", "--resume", "b", "--epochs", "4", "--progress", "off", "--tags", "three") == 0
    assert [r["name"] for r in as_json(capsys, "runs", "--tags", "three")["runs"]] == ["b"]


def test_a_metric_that_is_nan_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    """R^2 of a target that does not vary; other runs are listed with it."""
    x = np.arange(8, dtype=np.float32) + 0.5
    np.savez("flat.npz", x_train=x[:, None], y_train=x, x_test=x[:, None], y_test=np.full_like(x, x.mean()))
    words = ("flat.npz", "--loss", "mse", "--hidden", "2", "--epochs", "1", "--backend", "numpy", "--name", "flat")
    capsys.readouterr()
    assert run("train", "--data", *words, "--validation", "0", "--progress", "json") == 0
    line = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert line["test_r2"] is None
    assert line["test_rmse"] > 0
    folder = RunDir(Path("runs/flat"))
    for name in ("metrics.jsonl", "summary.json"):
        written = (folder.path / name).read_text(encoding="utf-8")
        assert json.loads(written, parse_constant=pytest.fail)["test_r2"] is None
    train("a")
    for nan in ("null", "NaN"):  # as earlier versions wrote it
        for name in ("metrics.jsonl", "summary.json"):
            written = (folder.path / name).read_text(encoding="utf-8")
            folder.write(name, re.sub('"test_r2": (null|NaN)', f'"test_r2": {nan}', written))
        flat, other = sorted(as_json(capsys, "runs")["runs"], key=lambda found: found["name"], reverse=True)
        assert (flat["score"]["r2"], flat["score"]["rmse"]) == (None, line["test_rmse"])
        assert other["score"]["accuracy"] > 0
        assert [row["test"]["metrics"]["r2"] for row in saved_history(folder).epochs] == [None]
        capsys.readouterr()
        assert run("runs") == run("compare", "flat", "a", "--plot", "compared.png") == 0
        assert run("replay", "flat") == 0
        assert "the same, bit for bit" in said(capsys)


def test_a_run_under_way_is_running_and_one_without_a_summary_unfinished() -> None:
    train("a")
    folder = RunDir(Path("runs/a"))
    (folder.path / "summary.json").unlink()
    with folder.lock():
        assert [r.status for r in list_runs(Path("runs")).runs] == ["running"]
    assert [r.status for r in list_runs(Path("runs")).runs] == ["unfinished"]
    with (folder.path / ".lock").open(encoding="utf-8") as reader:  # another list of the runs, at the same time
        run_dir._lock(reader, shared=True)
        assert not folder.in_use
    assert (
        folder.path.joinpath("metrics.jsonl").read_text(encoding="utf-8").count("\n") == 3
    )  # looking changed nothing


def test_a_run_that_diverged_and_a_damaged_one_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("train", *WORDS, "--name", "far", "--lr", "1e30", "--optimizer", "sgd", "--schedule", "constant") == 4
    )
    train("cut")
    Path("runs/cut/config.toml").write_text("lr = ", encoding="utf-8")
    statuses = {r["name"]: r for r in as_json(capsys, "runs")["runs"]}
    assert statuses["far"]["status"] == "diverged"
    assert statuses["cut"]["status"] == "damaged"
    assert "cannot be read as a run's configuration" in statuses["cut"]["problem"]
    assert run("replay", "far") == 2
    assert "runs/far has saved no step that could be compared" in said(capsys)
    Path("runs/far/doctor.json").write_text('{"findings": 3}', encoding="utf-8")
    Path("runs/far/metrics.jsonl").write_text('{"epoch": 1}\n', encoding="utf-8")
    listed = {r["name"]: (r["status"], r["seconds"]) for r in as_json(capsys, "runs")["runs"]}
    assert listed["far"] == ("unfinished", 0)
    assert run("compare", "far", "cut") == 5
    assert "cannot be read as a run's configuration" in said(capsys)


def test_ages_are_those_of_the_last_write(capsys: pytest.CaptureFixture[str]) -> None:
    train("a")
    two_hours_ago = time.time() - 7300
    for name in ("config.toml", "metrics.jsonl"):
        os.utime(Path("runs/a") / name, (two_hours_ago, two_hours_ago))
    assert run("runs") == 0
    assert "2 h" in said(capsys)


def test_the_list_is_whole_in_80_columns() -> None:
    """A long name goes on in another line; a status or a part of the data is not cut."""
    row = {
        "epoch": 12,
        "train_loss": 0.1,
        "validation_loss": 0.1,
        "validation_accuracy": 0.98765,
        "seconds": 100.0,
    }
    config = resolve("mnist", {"epochs": 100})
    for name, tags in (("mnist-of-three-layers", ()), ("a-run-with-a-name-of-forty-characters-40", ("try",))):
        info = RunInfo(name, "unfinished", time.time() - 4000, replace(config, tags=tags), [row])
        file = io.StringIO()
        Console(width=80, file=file).print(runs_table(RunTable((info,))))
        words = file.getvalue().split()
        assert {"unfinished", "12/100", "0.1000", "98.77%", "validation", *tags} <= set(words)
        assert ("tags" in words) == bool(tags)


def test_a_folder_without_runs_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("runs") == 0
    assert "There are no runs here" in said(capsys)


def test_a_comparison_names_the_settings_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    train("sgd", "--optimizer", "sgd", "--lr", "0.5", "--schedule", "constant")
    train("adam", "--lr", "0.01", "--schedule", "constant", "--tags", "x")
    found = as_json(capsys, "compare", "sgd", "adam")
    assert found["differences"] == {"lr": [0.5, 0.01], "optimizer": ["sgd", "adam"]}
    assert [r["name"] for r in found["runs"]] == ["sgd", "adam"]
    assert run("compare", "sgd", "adam", "--plot", "curves.png") == 0
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    shown = said(capsys)
    assert "optimizer sgd adam" in shown
    assert "loss by epoch" in shown
    assert run("compare", "sgd", "sgd") == 0
    assert "All settings are the same" in said(capsys)


def test_a_comparison_names_learning_rates_that_changed_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Both begin at 0.01 and have 4 epochs in the end."""
    for name, words in (("a", ()), ("b", ("--lr", "0.3"))):
        train(name, "--lr", "0.01")
        assert run("train", "--resume", name, "--epochs", "4", "--progress", "off", *words) == 0
    (without, ((_, lr),)), *others = as_json(capsys, "compare", "a", "b")["differences"].values()
    assert (without, lr, others) == ([], 0.3, [])


def test_a_comparison_of_numbers_is_whole_in_80_columns() -> None:
    Path("numbers.csv").write_text("a,b\n" + "".join(f"{i},{i / 7}\n" for i in range(30)), encoding="utf-8")
    words = ("--task", "regression", "--epochs", "30", "--backend", "numpy", "--progress", "off")
    for name in ("first", "second"):
        assert run("train", "numbers.csv", *words, "--name", name) == 0
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "nnbackprop", "compare", "first", "second"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["status", "finished", "finished"] in lines
    assert {line[0] for line in lines if len(line) == 3} >= {"loss", "rmse", "mae", "r2", "time"}
    assert [len(line[1]) for line in lines if line[:1] in (["first"], ["second"]) and len(line) == 2][-2:] == [
        24,
        24,
    ]


def test_a_run_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "nothing") == 5
    assert "'nothing' is no run folder" in said(capsys)
