"""Records: the command that a result names makes its configuration again, and its table has medians over seeds."""

from __future__ import annotations

import gzip
import importlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nnbackprop.cli import app
from nnbackprop.cli.flags import given_settings
from nnbackprop.data import load
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.train import start

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("figures.records")


def test_the_flags_of_a_run_make_its_configuration_again(records: ModuleType) -> None:
    changes = {
        "augment": ("elastic 4 30", "shift 1"),
        "augment_half_angle": ("4", "9"),
        "epochs": 7,
        "label_smoothing": 0.1,
    }
    config = resolve("deformed", {**changes, "backend": "jax", "bias": False})
    command = shlex.split(f"train deformed {records.flags(config)}")
    _, bound, _ = app.parse_args(command, exit_on_error=False, print_error=False)
    assert resolve("deformed", given_settings(bound.arguments["flags"])) == config
    assert records.flags(config, config) == ""
    assert records.flags(replace(config, init_from="runs/first"), config) == "--init-from first"


def test_a_record_is_the_median_over_seeds(records: ModuleType) -> None:
    def run(seed: int, wrong: int, averaged: int, seconds: float) -> dict:
        return {
            "seed": seed,
            "epochs": 80,
            "median_epoch": seconds / 80,
            "fastest_epoch": seconds / 100,
            "wrong": list(range(wrong)),
            "averaged_wrong": averaged,
            "machine": "M",
            "date": "2030-01-31",
        }

    runs = [run(0, 57, 50, 480.0), run(1, 49, 47, 540.0), run(2, 53, 51, 300.0)]
    result = {"recipe": "deformed", "network": "784-10", "samples": 10_000, "flags": "--epochs 80", "runs": runs}
    text = records.record_table({"deformed": result})
    errors = "**0.53%** | 0.57%, 0.49%, 0.53% | **0.50%** | 0.50%, 0.47%, 0.51%"
    assert f"| 784-10 | 0.49% | {errors} | 80 | 6.4 min; 8.0 min |" in text
    assert "`nnbackprop train deformed --epochs 80 --seed S`, S = 0, 1, 2, on M, 2030-01-31." in text


def test_what_is_kept_of_a_run_is_what_it_gets_wrong(
    records: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path / "records")
    monkeypatch.setattr(records, "PICTURES", tmp_path)
    images = load("mnist")
    assert images.test
    train, test = images.train.take(np.arange(500)), images.test.take(np.arange(60))
    arrays = {"x_train": train.inputs, "y_train": train.targets, "x_test": test.inputs, "y_test": test.targets}
    shaped = {name: a.reshape(-1, 28, 28) if name.startswith("x") else a for name, a in arrays.items()}
    np.savez(tmp_path / "small.npz", **shaped)
    small = {
        "data": str(tmp_path / "small.npz"),
        "hidden": (16,),
        "epochs": 2,
        "backend": "numpy",
        "progress": "off",
    }
    config = resolve("deformed", {**small, "seed": 3, "runs_dir": str(tmp_path / "runs")})
    with start(config) as run:
        summary = run.fit()
    assert summary
    records.keep("small", [run.run_dir.path])
    kept = json.loads((tmp_path / "records" / "small.json").read_text(encoding="utf-8"))
    (found,) = kept["runs"]
    assert (kept["samples"], len(found["wrong"])) == (60, round(60 * (1 - summary["test_accuracy"])))
    assert 0 < found["averaged_wrong"] < kept["samples"]
    assert (found["seed"], found["epochs"], found["steps"]) == (3, 2, summary["steps"])
    metrics = gzip.decompress((tmp_path / "records" / "small-3.jsonl.gz").read_bytes())
    assert metrics == run.run_dir.metrics_path.read_bytes()
    assert (tmp_path / "small-wrong.png").stat().st_size > 10_000
    records.keep_attempts("deformed", [run.run_dir.path])
    assert gzip.decompress((tmp_path / "records" / f"{run.run_dir.path.name}.jsonl.gz").read_bytes()) == metrics
    rows = [json.loads(line) for line in metrics.splitlines()]
    lowest, end = min(rows, key=lambda row: row["test_loss"]), rows[-1]
    cells = (
        "2 of 2",
        f"{lowest['test_loss']:.4f}, {lowest['epoch']}, {1 - lowest['test_accuracy']:.2%}",
        f"{end['test_loss']:.4f}, {1 - end['test_accuracy']:.2%}",
    )
    assert f"| {' | '.join(cells)} |" in records.blocks()["record-attempts"]
