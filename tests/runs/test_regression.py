"""Runs that learn numbers: targets are scaled within, and in their own units in all that is shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnbackprop import TrainedModel
from nnbackprop.report.prediction_metrics import number_scores
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import draw_no_plots, run, said
from tests.support.tables import write_table

RNG = np.random.default_rng(7)
N = 300
AREA, AGE = RNG.uniform(30, 200, N).round(1), RNG.integers(0, 80, N)
PRICE = (2e6 + 3000 * AREA - 40 * AGE**2 + RNG.normal(0, 5000, N)).round(0)
HOUSES = {"area": AREA, "age": AGE, "price": PRICE}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    draw_no_plots(monkeypatch)
    write_table("houses.csv", HOUSES)


def train(*words: str, epochs: int = 10) -> None:
    words = ("houses.csv", "--task", "regression", "--epochs", str(epochs), "--progress", "off", *words)
    assert run("train", *words) == 0


def summary(name: str = "houses") -> dict[str, float]:
    return json.loads(Path("runs", name, "summary.json").read_text(encoding="utf-8"))


def test_prices_in_millions_are_learnt_and_scored_in_their_own_unit() -> None:
    """The spread of the targets is 150,000; unscaled, the first outputs would be 2,000,000 off."""
    train("--l2", "0")
    figures = summary()
    assert figures["test_r2"] > 0.97
    assert figures["test_mae"] < figures["test_rmse"] < 25_000
    assert figures["test_loss"] == pytest.approx((figures["test_rmse"] / train_std()) ** 2, rel=1e-4)


def train_std() -> float:
    return 1 / float(
        load(RunDir.open(Path("runs"), "houses").checkpoint_path("best")).arrays["target_scaling/scale"][0]
    )


def test_scores_are_those_of_the_predictions() -> None:
    train()
    model = TrainedModel.open("houses")
    data = model.data()
    scores, predicted = model.evaluate(data), model.predict(data.inputs)
    assert abs(predicted.mean() - PRICE.mean()) < 50_000
    want = number_scores(data.targets, predicted)
    assert dict(scores.metrics) == pytest.approx(
        {n: float(getattr(want, n)[0]) for n in ("rmse", "mae", "r2")}, rel=1e-4
    )
    assert scores.metrics["rmse"] == pytest.approx(summary()["test_rmse"], rel=1e-6)


def test_the_scaling_is_that_of_the_training_part() -> None:
    train()
    arrays = load(RunDir.open(Path("runs"), "houses").checkpoint_path("last")).arrays
    scale, shift = (arrays[f"target_scaling/{name}"] for name in ("scale", "shift"))
    from nnbackprop.runs.config_files import load_run_config
    from nnbackprop.runs.run_data import RunData

    part = RunData.load(load_run_config(Path("runs/houses/config.toml"))).train.targets
    assert len(part) < N
    scaled = part * scale + shift
    assert scaled.mean() == pytest.approx(0, abs=1e-10)
    assert scaled.std() == pytest.approx(1, rel=1e-10)


def test_evaluate_and_predict_print_numbers_under_the_targets_name(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    capsys.readouterr()
    assert run("evaluate", "last") == 0
    output = said(capsys)
    assert "target RMSE MAE R²" in output
    assert "price" in output
    write_table("new.csv", {"age": [0, 0], "area": [50, 150]})
    assert run("predict", "last", "new.csv", "--output", "prices.csv") == 0
    output = said(capsys)
    assert "sample price" in output
    (cheap, *_), (dear, *_) = TrainedModel.open("last").predict({"age": [0, 0], "area": [50, 150]})
    assert f"1 {cheap:,.0f}" in output
    assert 200_000 < dear - cheap < 400_000
    lines = Path("prices.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "file,sample,price"
    assert [float(line.rpartition(",")[2]) for line in lines[1:]] == pytest.approx([cheap, dear], rel=1e-6)


def test_predictions_of_all_rows_are_written_where_few_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=1)
    write_table("new.csv", {"age": [0] * 50, "area": [*range(50, 100)]})
    assert run("predict", "last", "new.csv", "new.csv", "--output", "prices.csv") == 0
    assert "Wrote prices.csv" in said(capsys)
    rows = [line.split(",") for line in Path("prices.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert [row[:2] for row in rows] == [["new.csv", str(i)] for i in range(1, 51)] * 2
    assert run("predict", "last", "new.csv", "--output", "nowhere/prices.csv") == 5
    assert "see that its folder is there" in said(capsys)
    assert run("predict", "last", "new.csv") == 0
    assert "--output FILE.csv writes a row for each sample" in said(capsys)


def test_an_attack_is_for_classes(capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=1)
    assert run("attack", "last") == 2
    assert "An attack moves a sample to another class, and" in said(capsys)


def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted() -> None:
    train("--name", "whole", "--schedule", "constant", epochs=8)
    train("--name", "parts", "--schedule", "constant", epochs=3)
    assert run("train", "--resume", "parts", "--epochs", "8", "--progress", "off") == 0
    whole, parts = (load(Path("runs", name, "checkpoints/last.safetensors")).arrays for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert "target_scaling/scale" in whole
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_a_run_replays_to_the_same_bits(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    assert run("replay", "last") == 0
    assert "the same, bit for bit" in said(capsys)


def test_early_stopping_keeps_the_weights_of_the_least_validation_loss() -> None:
    train("--patience", "3", "--lr", "0.05", "--schedule", "constant", epochs=200)
    rows = [
        json.loads(line) for line in Path("runs/houses/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    losses = [row["validation_loss"] for row in rows]
    assert summary()["best_epoch"] == 1 + int(np.argmin(losses))
    assert len(rows) == summary()["best_epoch"] + 3 < 200
    rmse = rows[int(np.argmin(losses))]["validation_rmse"]
    assert summary()["validation_rmse"] == pytest.approx(rmse, rel=1e-6)


@pytest.mark.parametrize("loss", ["mae", "huber", "huber:0.5", "pinball", "half-mse"])
def test_every_loss_of_numbers_learns_the_prices(loss: str) -> None:
    train("--loss", loss, epochs=20)
    assert summary()["test_r2"] > 0.95


def test_a_quantile_has_its_share_of_the_targets_below_it() -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 10, 4000)
    write_table("noise.csv", {"x": x.round(3), "y": (x + rng.normal(0, 1 + x / 5)).round(3)})
    words = ("--loss", "pinball:0.9", "--hidden", "16", "--test-fraction", "0.5", "--epochs", "10")
    assert run("train", "noise.csv", *words, "--progress", "off") == 0
    model = TrainedModel.open("last")
    data = model.data()
    assert np.mean(data.targets <= model.predict(data.inputs)) == pytest.approx(0.9, abs=0.03)


def test_counts_are_learnt_by_a_poisson_loss_and_predicted_as_rates() -> None:
    rng = np.random.default_rng(1)
    rate = np.exp(rng.uniform(2, 6, 2000))
    write_table("counts.csv", {"x": np.log(rate).round(4), "visits": rng.poisson(rate)})
    words = ("--task", "regression", "--loss", "poisson", "--epochs", "20")
    assert run("train", "counts.csv", *words, "--progress", "off") == 0
    assert summary("counts")["test_r2"] > 0.95
    predicted = TrainedModel.open("last").predict({"x": [3.0, 4.0, 5.0]})
    np.testing.assert_allclose(predicted[:, 0], np.exp([3.0, 4.0, 5.0]), rtol=0.1)


def test_negative_counts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("counts.csv", {"x": AREA, "visits": np.linspace(-1, 1, N).round(3)})
    assert run("train", "counts.csv", "--loss", "poisson", "--progress", "off") == 3
    assert "PoissonNLL is for counts of at least 0 and the targets go down to -" in said(capsys)
    assert not Path("runs").exists() or not list(Path("runs").glob("counts*"))


def test_targets_are_left_as_they_are_where_asked() -> None:
    write_table("small.csv", {"x": AREA, "y": (AREA / 100).round(3)})
    words = ("--target-scale", "none", "--l2", "0", "--epochs", "5")
    assert run("train", "small.csv", *words, "--progress", "off") == 0
    figures = summary("small")
    assert figures["test_loss"] == pytest.approx(figures["test_rmse"] ** 2, rel=1e-5)
    assert not [n for n in load(Path("runs/small/checkpoints/last.safetensors")).arrays if n.startswith("target")]


@pytest.mark.parametrize("spec", ["huber:", "huber:wide", "mse:2", "pinball:0.9:1"])
def test_a_loss_with_a_parameter_it_has_not_is_refused(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "houses.csv", "--loss", spec) == 2
    assert f"--loss {spec} cannot be: a number follows huber, as in huber:1.5" in said(capsys)


def test_several_numbers_each_have_their_own_scale_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    share = (AGE / 1e5 + np.random.default_rng(1).normal(0, 1e-5, N)).round(7)
    write_table("two.csv", {**HOUSES, "share": share})
    assert run("train", "two.csv", "--target", "price", "share", "--epochs", "20", "--progress", "off") == 0
    model = TrainedModel.open("last")
    data = model.data()
    scores = number_scores(data.targets, model.predict(data.inputs))
    assert (scores.r2 > 0.95).all()
    assert scores.rmse[0] / scores.rmse[1] > 1e8
    assert run("evaluate", "last") == 0
    output = said(capsys)
    assert "price" in output
    assert "share" in output
