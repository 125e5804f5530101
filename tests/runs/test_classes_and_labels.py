"""Runs that learn classes or several labels: weights of classes and samples, and what evaluate prints of each."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from nnbackprop import TrainedModel
from nnbackprop.report.prediction_metrics import class_scores, label_scores
from tests.support.commands import draw_no_plots, run, said
from tests.support.tables import write_table


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    draw_no_plots(monkeypatch)


def train(*words: str, epochs: int = 10) -> None:
    assert run("train", *words, "--epochs", str(epochs), "--progress", "off") == 0


def rare_disease(n: int = 1500) -> dict[str, np.ndarray]:
    """One in twenty is ill, and the two groups overlap."""
    rng = np.random.default_rng(3)
    ill = rng.random(n) < 0.05
    return {
        "pulse": (rng.normal(70, 10, n) + 12 * ill).round(1),
        "fever": (rng.normal(37, 0.5, n) + 0.7 * ill).round(2),
        "state": np.where(ill, "ill", "well"),
    }


def test_balanced_classes_find_more_of_the_rare_one() -> None:
    write_table("patients.csv", rare_disease())
    recalls = {}
    for name, words in {"plain": (), "balanced": ("--class-weight", "balanced")}.items():
        train("patients.csv", "--name", name, *words)
        model = TrainedModel.open(name)
        data = model.data()
        assert data.weights is None  # the test part is scored as it is
        recalls[name] = class_scores(data.targets, model.predict(data.inputs), 2).recall[0]
    assert recalls["balanced"] > recalls["plain"] + 0.2


def test_a_weight_of_2_is_a_row_that_is_there_twice() -> None:
    """On full batches of one epoch's order, the same gradients but for rounding."""
    rng = np.random.default_rng(4)
    x, weight = rng.normal(size=60).round(3), rng.integers(1, 4, 60)
    rows = {"x": x, "label": np.where(x + rng.normal(0, 0.5, 60) > 0, "up", "down")}
    write_table("weighted.csv", {**rows, "w": weight})
    write_table("repeated.csv", {name: np.repeat(column, weight) for name, column in rows.items()})
    options = ("--test-fraction", "0", "--validation", "0", "--batch-size", "full", "--scale", "none")
    options = (*options, "--target", "label", "--dtype", "float64", "--no-shuffle")
    train("weighted.csv", "--sample-weight", "w", *options)
    train("repeated.csv", *options)
    weighted, repeated = (
        json.loads(Path("runs", name, "summary.json").read_text(encoding="utf-8"))
        for name in ("weighted", "repeated")
    )
    for name in ("train_loss", "train_accuracy"):
        assert weighted[name] == pytest.approx(repeated[name], rel=1e-9)


def test_a_weighted_run_resumes_to_the_same_bits_and_its_data_are_known_by_the_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns = {**rare_disease(200), "w": np.linspace(0, 2, 200).round(3)}
    write_table("patients.csv", columns)
    words = ("patients.csv", "--target", "state", "--sample-weight", "w", "--class-weight", "balanced")
    words = (*words, "--schedule", "constant")
    train(*words, "--name", "whole", epochs=4)
    train(*words, "--name", "parts", epochs=2)
    assert run("train", "--resume", "parts", "--epochs", "4", "--progress", "off") == 0
    whole, parts = (
        json.loads(Path("runs", name, "summary.json").read_text(encoding="utf-8")) for name in ("whole", "parts")
    )
    assert [whole[f"{part}_loss"] for part in ("train", "validation", "test")] == [
        parts[f"{part}_loss"] for part in ("train", "validation", "test")
    ]
    assert run("replay", "parts") == 0
    write_table("patients.csv", {**columns, "w": np.ones(200)})
    capsys.readouterr()
    assert run("train", "--resume", "parts", "--epochs", "5", "--progress", "off") == 3
    assert "is not what" in said(capsys)


def test_new_data_without_the_column_of_weights_is_evaluated_unweighted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns = rare_disease(300)
    write_table("patients.csv", {**columns, "w": np.linspace(0, 2, 300)})
    train("patients.csv", "--target", "state", "--sample-weight", "w", epochs=2)
    write_table("new.csv", columns)
    data = TrainedModel.open("last").data("new.csv")
    assert data.weights is None
    assert "there is no column 'w' of sample weights: all samples count alike" in data.reader_notes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("mnist", "--sample-weight", "w"),
            "is no table, and --sample-weight w is for the columns of one: leave it out",
        ),
        (("houses.csv", "--class-weight", "balanced"), "--class-weight balanced is for classes"),
        (("houses.csv", "--sample-weight", "v"), "--sample-weight v: houses.csv has no such column"),
    ],
)
def test_weights_that_cannot_be_are_refused(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table("houses.csv", {"area": np.arange(40) / 3, "price": np.arange(40) * 1.5})
    assert run("train", *words, "--progress", "off") == 2
    assert message in said(capsys).replace(str(Path.cwd()) + "/", "")
    assert not Path("runs").exists()


def table_rows(output: str) -> dict[str, list[str]]:
    """The rows of the tables printed, by their first cell."""
    cells = [line.split() for line in output.splitlines()]
    return {row[0] if row[0] != "weighted" else "weighted mean": row for row in cells if len(row) > 3}


def test_evaluate_has_a_row_for_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("patients.csv", rare_disease())
    train("patients.csv", "--class-weight", "balanced")
    model = TrainedModel.open("last")
    data = model.data()
    scores = class_scores(data.targets, model.predict(data.inputs), 2)
    capsys.readouterr()
    assert run("evaluate", "last") == 0
    output = capsys.readouterr().out
    rows = table_rows(output)
    for k, name in enumerate(("ill", "well")):
        numbers = [scores.precision[k], scores.recall[k], scores.f1[k]]
        assert rows[name] == [name, *(f"{x:.4f}" for x in numbers), f"{scores.support[k]:.0f}"]
    assert rows["mean"][1:4] == [f"{x:.4f}" for x in scores.mean()]
    assert "expected calibration error 0." in output
    assert "top-" not in output


def test_the_five_likeliest_of_many_classes_count_or_as_many_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(5)
    label = np.arange(600) % 12
    write_table("many.csv", {"a": label + rng.normal(0, 1, 600), "label": [f"class {k}" for k in label]})
    train("many.csv")
    found = {}
    for words in ((), ("--top-k", "1"), ("--top-k", "2"), ("--top-k", "11")):
        capsys.readouterr()
        assert run("evaluate", "last", *words) == 0
        output = said(capsys)
        k, percent = re.findall(r"top-(\d+) accuracy ([\d.]+)%", output)[0]
        found[int(k)] = float(percent)
        if k == "1":
            assert f"accuracy {float(percent) / 100:.4f} of" in output
    assert list(found) == [5, 1, 2, 11]
    assert found[1] < found[2] < found[5] <= found[11]
    assert run("evaluate", "last", "--top-k", "12") == 2
    assert "--top-k 12 is among 12 classes: give a number from 1 to 11" in said(capsys)


def test_losses_without_probabilities_have_no_calibration(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("patients.csv", rare_disease(300))
    train("patients.csv", "--loss", "mse", epochs=2)
    capsys.readouterr()
    assert run("evaluate", "last") == 0
    output = said(capsys)
    assert "ill" in output
    assert "calibration" not in output


def test_several_labels_have_a_row_each_and_are_predicted_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(600, 3)).round(3)
    labels = {"red": x[:, 0] > 0, "green": x[:, 1] > 1, "never": np.zeros(600)}
    columns = {**{f"x{j}": x[:, j] for j in range(3)}, **{n: v.astype(int) for n, v in labels.items()}}
    write_table("films.csv", columns)
    train("films.csv", "--target", *labels, epochs=20)
    summary = json.loads(Path("runs/films/summary.json").read_text(encoding="utf-8"))
    assert summary["test_subset_accuracy"] > 0.9
    assert summary["test_f1"] > 0.9
    capsys.readouterr()
    assert run("evaluate", "last") == 0
    rows = table_rows(capsys.readouterr().out)
    model = TrainedModel.open("last")
    data = model.data()
    scores = label_scores(data.targets > 0.5, model.predict(data.inputs) == 1)
    for k, name in enumerate(("red", "green")):
        assert rows[name][1:4] == [f"{column[k]:.4f}" for column in scores[:3]]
        assert rows[name][4] == f"{data.targets[:, k].sum():.0f}"
    assert scores.f1[:2].min() > 0.8
    assert rows["never"][1:] == ["0.0000", "0.0000", "0.0000", "0"]
    write_table("new.csv", {f"x{j}": [2.0, -2.0] for j in range(3)})
    assert run("predict", "last", "new.csv", "--output", "predicted.csv") == 0
    output = said(capsys)
    assert "sample red green never labels" in output
    model, samples = TrainedModel.open("last"), {f"x{j}": [2.0, -2.0] for j in range(3)}
    probabilities = model.predict_proba(samples)
    for i, labels in enumerate(("red, green", "–"), 1):
        assert " ".join([str(i), *(f"{p:.2%}" for p in probabilities[i - 1]), labels]) in output
    assert model.predict(samples).tolist() == [[1, 1, 0], [0, 0, 0]]
    with Path("predicted.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("red", "green", "never")
    assert [[int(row[name]) for name in names] for row in rows] == [[1, 1, 0], [0, 0, 0]]
    assert [[float(row[f"probability_{name}"]) for name in names] for row in rows] == pytest.approx(probabilities)
