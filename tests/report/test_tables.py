"""Tables: totals, missing values, and text that is not parsed as markup, at any width."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from backends import BackendStatus, Memory
from nnbackprop.report.tables import (
    backends_table,
    label_table,
    layer_table,
    prediction_table,
    recipes_table,
    summary_table,
    value_table,
)
from nnbackprop.runs.config import Config
from nnbackprop.training.events import LayerRow

SUMMARY: dict[str, Any] = {
    "recipe": "mnist",
    "backend": "numpy",
    "device": "cpu",
    "dtype": "float32",
    "seed": 0,
    "parameters": 535818,
    "epochs": 20,
    "steps": 10000,
    "train_loss": 0.0123,
    "train_accuracy": 0.9961,
    "validation_loss": None,
    "validation_accuracy": None,
    "test_loss": 0.0567,
    "test_accuracy": 0.9823,
    "seconds": 31.2,
    "samples_per_second": 38461.5,
}


def printed(table: RenderableType, width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_the_layer_table_has_totals() -> None:
    layers = (
        LayerRow(1, "dense1", (512,), 401_920, 1_607_680, 803_328),
        LayerRow(2, "relu1", (512,), 0, 0, 512),
        LayerRow(3, "conv", (28, 28), 1024, 4096, 2),
    )
    lines = [cells(line) for line in printed(layer_table(layers))]
    assert lines[0] == ["layer", "shape", "parameters", "bytes", "FLOPs"]
    assert lines[2] == ["dense1", "512", "401,920", "1.5 MiB", "803,328"]
    assert lines[3] == ["relu1", "512", "–", "–", "512"]
    assert lines[4] == ["conv", "28 x 28", "1,024", "4.0 KiB", "2"]
    assert lines[-1] == ["total", "402,944", "1.5 MiB", "803,842"]


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 80])
def test_no_number_of_the_layer_table_is_cut(width: int) -> None:
    """Columns are left out instead; the widest names are folded."""
    rows = [
        LayerRow(1, "dense1", (64,), 50_240, 200_960, 100_352),
        LayerRow(2, "residual1.leakyrelu1", (64,), 0, 0, 64),
        LayerRow(3, "dense2", (10,), 650, 2600, 1280),
    ]
    lines = printed(layer_table(rows, width), width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert all(number in text for number in ("50,240", "650", "50,890"))
    columns = lines[0].split()
    assert columns == ["layer", "shape", "parameters", "bytes", "FLOPs"] if width == 80 else len(columns) < 5


def test_a_summary_shows_what_is_missing_as_a_dash() -> None:
    lines = printed(summary_table(SUMMARY))
    assert [cells(line) for line in lines[2:5]] == [
        ["train", "0.0123", "99.61%"],
        ["validation", "–", "–"],
        ["test", "0.0567", "98.23%"],
    ]
    assert lines[5] == "20 epochs, 10,000 steps in 31.20s, 38,462 samples/s, on numpy (cpu, float32)"


def test_a_summary_of_a_regression_has_its_metrics_in_plain_numbers() -> None:
    values = {"loss": 0.25, "rmse": 0.5**0.5, "mae": 0.5, "r2": -1.5}
    parts = {f"{part}_{name}": value for part in ("train", "test") for name, value in values.items()}
    parts |= {f"validation_{name}": None for name in values}
    kept = {key: value for key, value in SUMMARY.items() if "accuracy" not in key and "loss" not in key}
    lines = printed(summary_table({**kept, **parts}))
    assert cells(lines[0]) == ["loss", "rmse", "mae", "r2"]
    assert cells(lines[2]) == ["train", "0.2500", "0.70711", "0.50000", "-1.5000"]
    assert cells(lines[3]) == ["validation", "–", "–", "–", "–"]


def test_a_summary_of_no_steps_has_no_speed() -> None:
    lines = printed(
        summary_table({**SUMMARY, "epochs": 1, "steps": 0, "seconds": 0.0, "samples_per_second": None})
    )
    assert lines[-1] == "1 epoch, 0 steps in 0.0ms, on numpy (cpu, float32)"


def test_backends_show_what_they_are_or_the_reason_and_the_fix() -> None:
    rows = [
        BackendStatus("numpy", usable=True, version="2.4.0", device="cpu", fused=True),
        BackendStatus("cupy", usable=False, reason="No driver.", fix='Install "cupy-cuda12x[ctk]".'),
        BackendStatus("torch", True, "", "", "2.9", "cuda:0", Memory(0, 3 * 2**29), description="H200"),
    ]
    lines = [cells(line) for line in printed(backends_table(rows), width=140)]
    assert lines[2] == ["numpy", "2.4.0", "cpu", "–", "works, elementwise kernels fused by numba"]
    assert lines[3] == ["cupy", "–", "–", "–", 'No driver. Install "cupy-cuda12x[ctk]".']
    assert lines[4] == ["torch", "2.9", "cuda:0", "1.5 GiB free", "works: H200"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_text_is_lost_on_narrow_terminals(width: int) -> None:
    rows = [BackendStatus("cupy", usable=False, reason="Not installed.", fix='pip install "cupy-cuda12x[ctk]"')]
    lines = printed(backends_table(rows), width)
    assert max(map(len, lines)) <= width
    remarks = lines[0].index("remarks")
    text = "".join(line[remarks:].replace(" ", "") for line in lines[2:])
    assert text == 'Notinstalled.pipinstall"cupy-cuda12x[ctk]"'


def test_recipes_have_their_titles() -> None:
    lines = printed(
        recipes_table([Config(recipe="ex4", title="400-26-10 [sigmoid]"), Config(recipe="mnist", title="784")])
    )
    assert [cells(line) for line in lines[2:]] == [["ex4", "400-26-10 [sigmoid]"], ["mnist", "784"]]


def test_predictions_show_the_three_likeliest_classes() -> None:
    probabilities = np.array([[0.1, 0.2, 0.65, 0.05]])
    lines = printed(prediction_table("digit.png", ("a", "b", "[c]", "d"), np.array([2]), probabilities))
    assert lines[0] == "digit.png"
    assert cells(lines[-1]) == ["1", "[c]", "[c] 65.00%, b 20.00%, a 10.00%"]


def test_brackets_in_the_names_of_targets_and_labels_are_no_markup() -> None:
    """`load [/h]` closes a style that was never opened, if it is read as markup."""
    names = ("length [cm]", "load [/h]")
    values = printed(value_table("houses.csv", names, np.array([[1.5, 2.5]])))
    assert cells(values[1]) == ["sample", *names]
    labels = printed(label_table("songs.csv", names, np.array([[0.75, 0.25]])))
    assert cells(labels[1]) == ["sample", *names, "labels"]
    assert cells(labels[-1]) == ["1", "75.00%", "25.00%", "length [cm]"]


def test_a_single_output_is_shown_as_two_probabilities() -> None:
    lines = printed(prediction_table("people.csv", ("M", "F"), np.array([1, 0]), np.array([[0.75], [0.1]])))
    assert [cells(line)[1:] for line in lines[-2:]] == [["F", "F 75.00%, M 25.00%"], ["M", "M 90.00%, F 10.00%"]]


def test_samples_beyond_twenty_are_counted() -> None:
    n = 50
    lines = printed(prediction_table("many.csv", ("a", "b"), np.zeros(n, int), np.tile([0.9, 0.1], (n, 1))))
    assert sum("90.00%" in line for line in lines) == 20
    assert lines[-1].strip() == "and 30 more"
