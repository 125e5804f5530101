"""Runs on tables: from a file to predictions under the targets' names, by any order of columns."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars
import pytest

from nnbackprop import TrainedModel
from nnbackprop.data.catalog import OPTION_NAMES
from nnbackprop.data.split import split_rows
from nnbackprop.runs.config import DATA_OPTIONS
from nnbackprop.runs.config_files import load_run_config
from tests.support.commands import draw_no_plots, run, said
from tests.support.tables import income_table, write_table

RNG = np.random.default_rng(2)
N = 200
A, B = RNG.normal(5, 2, N).round(3), RNG.normal(0, 1, N).round(3)
COLOUR = np.array(["red", "green", "blue"])[RNG.integers(0, 3, N)]
ANIMAL = np.where(A + 2 * (COLOUR == "red") > 6, "dog", "cat")
ANIMALS = {"a": A, "colour": COLOUR, "b": B, "animal": ANIMAL}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_no_plots(monkeypatch)
    return tmp_path


def train(*words: str) -> int:
    return run("train", *words, "--epochs", "12", "--progress", "off")


def test_the_settings_of_a_table_are_its_options() -> None:
    assert set(DATA_OPTIONS) == set(OPTION_NAMES)


def test_a_csv_with_text_labels_takes_two_commands_to_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("animals.csv", ANIMALS)
    assert run("train", "animals.csv", "--progress", "plain", "--epochs", "12") == 0
    output = said(capsys)
    assert "recipe: table" in output
    assert "target: animal (the last column)" in output
    assert "task: classification (2 different values)" in output
    config = load_run_config(Path("runs/animals/config.toml"))
    assert (config.target, config.task, config.loss) == (("animal",), "classification", "softmax-cross-entropy")
    assert json.loads(Path("runs/animals/summary.json").read_text(encoding="utf-8"))["test_accuracy"] > 0.9
    write_table("new.csv", {"colour": ["red", "blue", "pink"], "b": [0, 0, 0], "a": [9, 1, 9]})
    assert run("predict", "last", "new.csv", "--output", "animals-of-new.csv") == 0
    output = said(capsys)
    with Path("animals-of-new.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["sample"], row["class"]) for row in rows[:2]] == [
        ("new.csv", "1", "dog"),
        ("new.csv", "2", "cat"),
    ]
    assert float(rows[0]["probability_cat"]) + float(rows[0]["probability_dog"]) == pytest.approx(1, rel=1e-6)
    assert float(rows[0]["probability_dog"]) > 0.5
    assert "1 dog dog" in output
    assert "2 cat cat" in output
    assert "new.csv: column 'colour' has 'pink', which training did not have: 0 in all of its features" in output


def test_rows_are_predicted_with_or_without_their_target_and_header() -> None:
    write_table("animals.csv", ANIMALS)
    assert train("animals.csv") == 0
    model = TrainedModel.open("last")
    expected = model.predict({"a": A, "b": B, "colour": COLOUR})
    for columns in (ANIMALS, {name: ANIMALS[name] for name in ("b", "a", "colour")}):
        write_table("rows.csv", columns)
        assert np.array_equal(predictions(model, "rows.csv"), expected)
    write_table("rows.csv", {name: ANIMALS[name] for name in ("a", "colour", "b")}, header=False)
    assert np.array_equal(predictions(model, "rows.csv"), expected)
    assert np.array_equal(expected, model.predict(model.preprocessing.transform(table(ANIMALS))[0]))


def table(columns: dict) -> object:
    from nnbackprop.data.table import table_of

    return table_of(columns)


def rows_read(model: TrainedModel, name: str) -> np.ndarray:
    from nnbackprop.runs.samples import read_samples

    ((_, inputs),) = read_samples([name], model, lambda note: None)
    return inputs


def predictions(model: TrainedModel, name: str) -> np.ndarray:
    return model.predict(rows_read(model, name), name)


def test_text_of_training_is_text_in_other_files_whatever_it_looks_like() -> None:
    room = np.array(["1000", "2000", "A7", "007"])[np.arange(N) % 4]
    flag = np.array(["True", "False", "Unknown"])[np.arange(N) % 3]
    write_table("rooms.csv", {"room": room, "a": A, "flag": flag})
    assert train("rooms.csv") == 0
    model = TrainedModel.open("last")
    write_table("new.csv", {"room": ["1000", "007"], "a": [1, 2]})
    expected = [[0, 1, 0, 0, 1], [1, 0, 0, 0, 2]]
    assert rows_read(model, "new.csv").tolist() == expected
    write_table("other.csv", {"room": ["1000", "007"], "a": [1, 2], "flag": ["True", "False"]})
    data = model.data("other.csv")
    assert data.inputs.tolist() == expected
    assert [data.classes[k] for k in data.targets] == ["True", "False"]
    write_table("bare.csv", {"room": room, "a": A, "flag": flag}, header=False)
    assert train("bare.csv") == 0
    write_table("new.csv", {"room": ["1000", "007"], "a": [1, 2]}, header=False)
    assert rows_read(TrainedModel.open("last"), "new.csv").tolist() == expected


def test_missing_columns_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("animals.csv", ANIMALS)
    assert train("animals.csv") == 0
    write_table("rows.csv", {"a": A, "c": B})
    assert run("predict", "last", "rows.csv") == 3
    assert "rows.csv has no column colour, b, which the network was trained on" in said(capsys)
    write_table("rows.csv", {"a": A, "c": B}, header=False)
    assert run("predict", "last", "rows.csv") == 3
    assert "has 2 columns without names and the network takes 3: a, colour, b" in said(capsys)


def test_another_file_is_evaluated_by_the_names_of_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("animals.csv", ANIMALS)
    assert train("animals.csv") == 0
    reordered = {name: ANIMALS[name] for name in ("animal", "b", "colour", "a")}
    write_table("other.csv", reordered)
    assert run("evaluate", "last", "--data", "other.csv") == 0
    output = said(capsys)
    model = TrainedModel.open("last")
    right = np.mean(np.array(model.classes)[model.predict(ANIMALS)] == ANIMAL)
    assert f"accuracy {right:.4f} of 200 samples" in output
    write_table("other.csv", {"a": A, "b": B, "colour": COLOUR})
    assert run("evaluate", "last", "--data", "other.csv") == 3
    assert "has no column animal, which the network was trained to predict" in said(capsys)
    write_table("other.csv", {**ANIMALS, "animal": ["cow"] * N})
    assert run("evaluate", "last", "--data", "other.csv") == 3
    assert "line 2, column 'animal': class 'cow' is not among the 2 known ones (cat, dog)" in said(capsys)


def test_a_file_that_was_changed_is_not_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows in another order would be split anew, and the network judged on rows that it was trained on."""
    write_table("animals.csv", ANIMALS)
    assert train("animals.csv") == 0
    assert run("evaluate", "last") == 0
    write_table("animals.csv", {name: column[::-1] for name, column in ANIMALS.items()})
    capsys.readouterr()
    assert run("evaluate", "last") == 3
    assert "animals.csv is not what" in said(capsys)
    assert run("evaluate", "last", "--data", "animals.csv") == 0
    assert "animals.csv: the network was trained on rows of this file" in said(capsys)
    write_table("others.csv", {**ANIMALS, "colour": ["pink"] * N})
    assert run("evaluate", "last", "--data", "others.csv") == 0
    output = said(capsys)
    assert "others.csv: column 'colour' has 'pink', which training did not have" in output
    assert "was trained on rows" not in output


def test_train_inspect_and_doctor_say_which_column_is_the_target_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_table("x.csv", {"glucose": A, "outcome": (A > 5).astype(int), "bmi": B})
    for words in (
        ("data", "inspect", "x.csv"),
        ("doctor", "--data", "x.csv"),
        ("train", "x.csv", "--epochs", "1"),
    ):
        assert run(*words) == 0
        output = said(capsys)
        assert "target: outcome (by its name)" in output
        assert "task: classification (2 different whole numbers; --task regression for amounts)" in output


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_regression_predicts_numbers_under_the_targets_name(
    suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(name: str, columns: dict) -> str:
        write_table(f"{name}.csv", columns)
        if suffix == "parquet":
            polars.read_csv(f"{name}.csv").write_parquet(f"{name}.parquet")
        return f"{name}.{suffix}"

    houses = write("houses", {"a": A, "colour": COLOUR, "b": B, "price": (A + 0.3 * B).round(3)})
    assert run("train", houses, "--target", "price", "--progress", "off", "--epochs", "30") == 0
    summary = json.loads(Path("runs/houses/summary.json").read_text(encoding="utf-8"))
    assert summary["test_r2"] > 0.9
    assert load_run_config(Path("runs/houses/config.toml")).loss == "mse"
    assert run("evaluate", "last") == 0
    assert f"r2 {summary['test_r2']:.4f} of 40 samples" in said(capsys)
    assert run("predict", "houses", write("new", {"a": [5], "b": [0], "colour": ["red"]})) == 0
    assert "sample price" in said(capsys)
    assert abs(TrainedModel.open("last").predict({"a": [5.0], "b": [0.0], "colour": ["red"]})[0, 0] - 5) < 1


def test_several_labels_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("tags.csv", {"a": A, "b": B, "big": (A > 5).astype(int), "up": (B > 0).astype(int)})
    assert run("train", "tags.csv", "--target", "big", "up", "--progress", "off", "--epochs", "20") == 0
    summary = json.loads(Path("runs/tags/summary.json").read_text(encoding="utf-8"))
    assert summary["test_subset_accuracy"] > 0.85
    write_table("new.csv", {"a": [9], "b": [-2]})
    assert run("predict", "last", "new.csv") == 0
    assert "sample big up" in said(capsys)


def test_a_recipe_for_classes_refuses_numbers_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("houses.csv", {"a": A, "price": A * 2})
    assert train("mnist", "--data", "houses.csv", "--hidden", "4", "--dropout", "0") == 2
    assert "--loss softmax-cross-entropy is for classes and the task of houses.csv is regression" in said(capsys)
    words = ("--loss", "auto", "--hidden", "4", "--dropout", "0", "--lr", "0.001", "--scale", "per-feature")
    assert train("mnist", "--data", "houses.csv", *words) == 0


def test_the_preprocessing_is_kept_with_the_weights_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("income.csv", income_table(400))
    assert run("train", "income.csv", "--epochs", "2", "--progress", "off") == 3
    assert "the value is missing" in said(capsys)
    assert not Path("runs/income").exists()
    assert run("train", "income.csv", "--missing", "median", "--epochs", "2", "--progress", "off") == 0
    before = TrainedModel.open("last")
    assert run("train", "--resume", "last", "--epochs", "3", "--progress", "off") == 0
    after = TrainedModel.open("last")
    assert before.preprocessing == after.preprocessing
    assert after.preprocessing.missing == "median"
    capsys.readouterr()
    assert run("describe", "last") == 0
    output = said(capsys)
    assert "classification of income" in output
    assert "workclass one-hot: gov, private, self, missing its own category" in output
    assert f"hours (x - {after.preprocessing.fill['hours']:.6g}"[:8] in output
    assert run("describe", "last", "--json") == 0
    columns = {row["column"]: row for row in json.loads(capsys.readouterr().out)["columns"]}
    assert columns["age"]["indicator"] == "age=missing"
    assert columns["sex"] == {"column": "sex", "categories": ["f", "m"]}


def test_a_column_far_from_0_is_described_in_its_own_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """Training takes an offset off before it computes in float32."""
    time = 1.7e9 + 3 * B
    write_table("times.csv", {"t": time, "animal": ANIMAL})
    assert run("train", "times.csv", "--epochs", "1", "--test-fraction", "0", "--validation", "0") == 0
    capsys.readouterr()
    assert run("describe", "last", "--json") == 0
    (column,) = json.loads(capsys.readouterr().out)["columns"]
    assert column["mean"] == pytest.approx(time.mean(), rel=0, abs=1e-5)
    assert column["std"] == pytest.approx(time.std(), rel=1e-5)


def test_mixed_data_with_missing_values_is_learnt_as_well_as_by_scikit_learn() -> None:
    """Within 0.5% of its pipeline of imputer, encoder, scaler and MLPClassifier on the same split."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = income_table(4000)
    write_table("income.csv", columns)
    assert run("train", "income.csv", "--missing", "mean", "--progress", "off") == 0
    summary = json.loads(Path("runs/income/summary.json").read_text(encoding="utf-8"))
    x, classes = pd.DataFrame(columns), ("<=50K", ">50K")
    y = (x.pop("income") == classes[1]).to_numpy().astype(np.int32)
    rows, test_rows = split_rows(len(x), y, 2, 0.2, 0, "income.csv")
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    text = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    prepared = ColumnTransformer(
        [("numbers", numbers, ["age", "hours", "gain"]), ("text", text, ["workclass", "education", "sex"])]
    )
    judge = make_pipeline(prepared, MLPClassifier((64, 64), early_stopping=True, random_state=0))
    accuracy = judge.fit(x.iloc[rows], y[rows]).score(x.iloc[test_rows], y[test_rows])
    assert summary["test_accuracy"] >= accuracy - 0.005


def test_inspect_shows_each_column_and_what_it_is_used_as(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("income.csv", {"id": np.arange(400), **income_table(400)})
    assert run("data", "inspect", "income.csv", "--missing", "mean") == 0
    output = said(capsys)
    assert "│ id │ number │ │ 0 .. 399 │ left out │" in output
    assert "3: gov, private, self │ feature" in output
    assert "2: <=50K, >50K │ target" in output
    assert "target: income (the last column)" in output
    assert "--target COLUMN" in output
    assert run("data", "inspect", "income.csv") == 3
    assert "the value is missing" in said(capsys)
    assert run("data", "inspect", "income.csv", "--missing", "mean", "--target", "hours", "--drop", "id") == 3
    assert "the target is missing" in said(capsys)


def test_a_file_and_data_are_not_both_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("animals.csv", ANIMALS)
    assert run("train", "animals.csv", "--data", "mnist") == 2
    assert "animals.csv is data and --data mnist too" in said(capsys)


def test_an_attack_moves_each_column_by_its_own_range_and_no_category(capsys: pytest.CaptureFixture[str]) -> None:
    """A column a million times as wide changes nothing for the one that decides."""
    z = np.where(np.arange(N) % 2, 1, -1) * RNG.uniform(1, 2, N)
    write_table(
        "attacked.csv",
        {"income": 1e6 * RNG.normal(size=N), "z": z, "colour": COLOUR, "label": np.where(z > 0, "up", "down")},
    )
    assert train("attacked.csv", "--name", "attacked") == 0
    model = TrainedModel.open("attacked")
    data = model.data()
    attack = model.attack(data, 0.01)
    moved = np.abs(attack.moved - attack.clean)
    limits = 0.01 * (data.inputs.max(axis=0) - data.inputs.min(axis=0)) * [1, 1, 0, 0, 0]
    assert (moved <= limits * (1 + 1e-5) + [0.1, 1e-6, 0, 0, 0]).all()  # float32 rounds an income to 0.06
    assert moved[:, :2].max(axis=0) == pytest.approx(limits[:2], rel=1e-4)
    assert attack.accuracy_after == attack.accuracy_before == 1.0
    capsys.readouterr()
    assert run("attack", "attacked", "--epsilon", "0.01") == 0
    assert "after moving each feature by 0.01 of its own range; categories are not moved" in said(capsys)


def test_predictions_neither_overwrite_their_input_nor_share_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("rows.csv", {"a": A, "file": 1e-9 * A, "sample": B})
    assert train("rows.csv", "--target", "file", "sample", "--name", "places") == 0
    before = Path("rows.csv").read_bytes()
    assert run("predict", "places", "rows.csv", "--output", "./rows.csv") == 2
    assert "--output rows.csv is rows.csv, which it would overwrite" in said(capsys)
    assert Path("rows.csv").read_bytes() == before
    assert run("predict", "places", ".", "--output", "found.csv") == 3
    assert ". is a folder, and files are needed: name them, as in *.png" in said(capsys)
    assert run("predict", "places", "rows.csv", "--output", "found.csv") == 0
    with Path("found.csv").open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert list(first) == ["file_", "sample_", "file", "sample"]
    assert (first["file_"], first["sample_"]) == ("rows.csv", "1")
    assert abs(float(first["file"])) < 1e-7


def test_a_tiny_metric_keeps_its_digits(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("tiny.csv", {"a": A, "b": B, "y": 1e-9 * B})
    assert train("tiny.csv", "--name", "tiny") == 0
    capsys.readouterr()
    assert run("evaluate", "tiny") == 0
    words = said(capsys).partition("rmse ")[2].split()
    model = TrainedModel.open("tiny")
    data = model.data()
    rmse = np.sqrt(np.mean((model.predict(data.inputs) - data.targets) ** 2))
    assert float(words[0].rstrip(",")) == pytest.approx(rmse, rel=1e-4)
