"""Records: the command that a result names makes its configuration again, and its table has medians over seeds."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from nnbackprop.cli import app
from nnbackprop.cli.flags import given_settings
from nnbackprop.runs.config_files import resolve

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


def test_a_record_is_the_median_over_seeds(records: ModuleType) -> None:
    def run(seed: int, wrong: int, averaged: int, seconds: float) -> dict:
        return {
            "seed": seed,
            "epochs": 80,
            "seconds": seconds,
            "wrong": list(range(wrong)),
            "averaged_wrong": averaged,
            "machine": "M",
            "date": "2030-01-31",
        }

    runs = [run(0, 57, 50, 480.0), run(1, 49, 47, 540.0), run(2, 53, 51, 300.0)]
    result = {"recipe": "deformed", "network": "784-10", "samples": 10_000, "flags": "--epochs 80", "runs": runs}
    text = records.record_table({"deformed": result})
    assert "| 784-10 | 0.49% | **0.53%** | 0.57%, 0.49%, 0.53% | 0.50% | 80 | 8.0 min |" in text
    assert "`nnbackprop train deformed --epochs 80 --seed S`, S = 0, 1, 2, on M, 2030-01-31." in text
