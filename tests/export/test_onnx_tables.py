"""The file of a network that was trained on a table takes its columns; `evaluate` scores each task by it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb
from nnbackprop.errors import DataError, UsageError
from nnbackprop.export.onnx_model import OnnxModel
from tests.support.commands import draw_no_plots, run, said
from tests.support.tables import write_table

pytest.importorskip("ndonnx", reason="ndonnx is not installed: no ONNX files can be made")
onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: nothing to run ONNX files with"
)


N = 120
TARGETS = {"classification": ["animal"], "regression": ["price"], "multilabel": ["wet", "cold"]}

METRICS = {
    "classification": ["accuracy"],
    "regression": ["rmse", "mae", "r2"],
    "multilabel": ["subset accuracy", "f1"],
}


def columns() -> dict[str, Any]:
    """Numbers, numbers far from 0, truth values and text, with values missing in two of them."""
    rng = np.random.default_rng(2)
    age, colour = rng.normal(5, 2, N).round(3), np.array(["red", "green", "blue"])[rng.integers(0, 3, N)]
    time = 1e9 + rng.normal(0, 1, N).round(4)
    animal = np.where(age + 2 * (colour == "red") > 6, "dog", "cat")
    return {
        "age": ["" if i % 17 == 0 else f"{a}" for i, a in enumerate(age)],
        "colour": ["" if i % 19 == 0 else c for i, c in enumerate(colour)],
        "scale": time,  # which is also what a constant of the graph is called
        "tame": np.where(rng.random(N) < 0.5, "true", "false"),
        "animal": animal,
        "price": (100 + 5 * age + (time - 1e9)).round(3),
        "wet": (age > 5).astype(int),
        "cold": (colour != "blue").astype(int),
    }


@pytest.fixture(autouse=True)
def _folder(in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_no_plots(monkeypatch)
    write_table("table.csv", columns())


def train(task: str, *words: str) -> None:
    """A run `a` of the table's task, exported to model.onnx."""
    drop = [name for names in TARGETS.values() for name in names if name not in TARGETS[task]]
    roles = ["--target", *TARGETS[task], "--task", task, "--drop", *drop, "--missing", "median"]
    options = ["--name", "a", "--progress", "off", "--epochs", "5", "--backend", "numpy"]
    assert run("train", "table.csv", *roles, *options, *words) == 0
    assert run("export", "a", "--onnx", "model.onnx") == 0


def metrics(text: str) -> dict[str, str]:
    """The metrics of the line that `evaluate` prints first, without the loss; of 120 samples."""
    line = " ".join(text.split()).partition(f" of {N} samples")[0].partition("table.csv: ")[2]
    found = dict(item.rsplit(" ", 1) for item in line.split(", "))
    return {name: value for name, value in found.items() if name != "loss"}


@pytest.mark.filterwarnings("ignore:column 'colour' has 'pink'")
@pytest.mark.parametrize(
    ("task", "dtype"), [("classification", "float32"), ("regression", "float64"), ("multilabel", "float32")]
)
def test_columns_go_in_and_the_runs_predictions_come_out(task: str, dtype: str) -> None:
    """Also of a category that training did not have, and of missing values."""
    train(task, "--dtype", dtype)
    trained = nb.TrainedModel.open("a")
    rows = {
        "age": np.array([3.5, np.nan, 7.25, 1e3]),
        "colour": np.array(["red", "pink", "", "blue"], dtype=object),
        "scale": 1e9 + np.array([0.5, -0.25, 0.0, np.nan]),
        "tame": np.array([1.0, 0.0, np.nan, 1.0]),
    }
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    assert {i.name: (i.type, i.shape) for i in session.get_inputs()} == {
        name: ("tensor(string)" if name == "colour" else "tensor(double)", ["n"]) for name in rows
    }
    got = session.run(None, rows)
    frame = {**rows, "colour": np.array(["red", "pink", None, "blue"], dtype=object)}
    want = trained.predict_proba_or_values(frame)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(got[-1], want, rtol=tolerance, atol=tolerance)
    if task == "classification":
        np.testing.assert_array_equal(got[0], trained.predict(frame))
    if task == "multilabel":
        np.testing.assert_array_equal(got[0], want >= 0.5)


@pytest.mark.parametrize("task", TARGETS)
def test_evaluate_prints_the_metrics_and_the_table_of_the_run(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(task)
    said(capsys)
    assert run("evaluate", "a", "--data", "table.csv") == 0
    of_run = capsys.readouterr().out
    assert run("evaluate", "model.onnx", "--data", "table.csv") == 0
    of_file = capsys.readouterr().out
    assert metrics(of_file) == metrics(of_run)
    assert list(metrics(of_file)) == METRICS[task]
    assert of_file.splitlines()[1:] == of_run.splitlines()[1:]


def test_evaluate_weighs_samples_by_the_runs_column_of_weights(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("table.csv", {**columns(), "weight": np.linspace(0, 3, N).round(3)})
    train("regression", "--sample-weight", "weight")
    said(capsys)
    assert run("evaluate", "a", "--data", "table.csv") == 0
    of_run = metrics(said(capsys))
    assert run("evaluate", "model.onnx", "--data", "table.csv") == 0
    assert metrics(said(capsys)) == of_run


def test_a_file_without_one_of_the_columns_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    train("classification")
    write_table("other.csv", {name: values for name, values in columns().items() if name != "colour"})
    said(capsys)
    assert run("evaluate", "model.onnx", "--data", "other.csv") == 3
    assert "other.csv has no column colour" in said(capsys)
    with pytest.raises(DataError, match="takes the columns of a table"):
        OnnxModel.open(Path("model.onnx")).predict(np.zeros((3, 4)))


def test_a_column_called_as_an_output_is_refused_and_no_file_written() -> None:
    rng = np.random.default_rng(0)
    data = nb.load({"labels": rng.normal(size=40), "y": np.arange(40) % 2}, target="y").train
    trainer = nb.Trainer(nb.Sequential(nb.Dense(2)), nb.SoftmaxCrossEntropy(), nb.SGD(), 0.1)
    trainer.initialize(data)
    with pytest.raises(UsageError, match="column 'labels', and an output of the ONNX file is called so"):
        nb.export_onnx(trainer, "model.onnx")
    assert not Path("model.onnx").exists()


def test_folders_of_images_are_resized_to_the_networks_size(capsys: pytest.CaptureFixture[str]) -> None:
    """Trained on 6 x 5 grey images; evaluated on a folder of 9 x 8 ones, as the run does."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for folder, rows, cols in (("small", 6, 5), ("large", 9, 8)):
        for name, level in (("dark", 40), ("light", 200)):
            Path(folder, name).mkdir(parents=True)
            for i in range(12):
                image = rng.integers(level - 40, level + 40, (rows, cols)).astype(np.uint8)
                Image.fromarray(image).save(Path(folder, name, f"{i}.png"))
    words = ("--hidden", "4", "--dropout", "0", "--epochs", "3", "--name", "a", "--progress", "off")
    assert run("train", "images", "--data", "small", *words) == 0
    assert run("export", "a", "--onnx", "model.onnx") == 0
    assert OnnxModel.open(Path("model.onnx")).info.image_shape == (6, 5)
    outputs = []
    for model in ("a", "model.onnx"):
        said(capsys)
        assert run("evaluate", model, "--data", "large") == 0
        outputs.append(capsys.readouterr().out.split("accuracy ")[1])
    assert outputs[0] == outputs[1]


def test_the_metadata_says_what_the_file_is_of() -> None:
    train("multilabel")
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    assert metadata["task"] == "multilabel"
    assert json.loads(metadata["preprocessing"])["targets"] == ["wet", "cold"]
    assert OnnxModel.open(Path("model.onnx")).target_names == ("wet", "cold")


def test_the_pages_program_for_tables_gives_the_labels_of_the_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    words = re.findall(r"\$ nnbackprop (train iris .*|export iris --onnx .*)", page)
    assert [run(*line.split(), *(["--progress", "off"] * line.startswith("train"))) for line in words] == [0, 0]
    trained = nb.TrainedModel.open("iris")
    flowers = Path(nb.__file__).parent / "data" / "tables" / "iris.csv"
    Path("flowers.csv").write_bytes(flowers.read_bytes())
    (program,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "iris.onnx" in code]
    names: dict[str, Any] = {}
    exec(compile(program, "export.md", "exec"), names)
    np.testing.assert_array_equal(names["labels"], trained.predict(trained.data("iris").inputs))
