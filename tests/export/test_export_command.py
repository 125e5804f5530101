"""The command `export`, and `evaluate` of what it writes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nnbackprop import TrainedModel
from nnbackprop.runs.config_files import load_recipe, recipes
from tests.support.commands import draw_no_plots, run, said

OF_DIGITS = ["--data", "digits.npz", "--test-fraction", "0.25", "--batch-size", "100"]
TRAIN = ["--progress", "off", "--epochs", "3", "--name", "a"]


@pytest.fixture
def _onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_no_plots(monkeypatch)
    for library in ("ndonnx", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library} is not installed")


def accuracy(capsys: pytest.CaptureFixture[str]) -> str:
    """What `evaluate` has printed: the accuracy, and of how many samples."""
    return re.findall(r"accuracy (\S+ of \d+) samples", said(capsys))[0]


@pytest.mark.usefixtures("two_clouds")
def test_a_folder_is_no_file_to_export_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--data", "two.npz", "--hidden", "4", "--backend", "numpy", *TRAIN) == 0
    for folder in (".", "runs", "/"):
        assert run("export", "a", "--safetensors", folder) == 5
        assert f"{folder} is a folder: name a file in it" in said(capsys)
    assert not list(Path(".").glob(".*.tmp"))


@pytest.mark.usefixtures("_onnx", "digits")
@pytest.mark.parametrize("recipe", [name for name in recipes() if name != "ciresan"])  # deformed, but wider: 34 s
def test_a_recipes_file_predicts_as_the_run_does(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its test part; of a table all rows, whose columns the file takes as they are."""
    words = OF_DIGITS if load_recipe(recipe).data == "mnist" else []
    assert run("train", recipe, *words, *TRAIN) == 0
    assert run("export", "a", "--onnx", "model.onnx") == 0
    from nnbackprop.export.onnx_model import OnnxModel

    trained, exported = TrainedModel.open("a"), OnnxModel.open(Path("model.onnx"))
    assert exported.info.classes == trained.classes
    if trained.preprocessing is None:
        test = trained.data()
        labels, outputs = exported.predict(test.inputs)
    else:
        test, feeds = exported.data(trained.config.data)
        labels, outputs = exported.run(feeds)
    want = trained.predict_proba_or_values(test.inputs)
    tolerance = 1e-12 if trained.config.dtype == "float64" else 1e-5
    if trained.classes:
        np.testing.assert_array_equal(labels, trained.predict(test.inputs))
        np.testing.assert_allclose(outputs, want, rtol=0, atol=tolerance)
    else:
        np.testing.assert_allclose(outputs, want, rtol=0, atol=tolerance * test.targets.std())
    if words:
        assert exported.dtype == "uint8"
        assert len(test) == 1000
        assert len(set(labels.tolist())) > 5


@pytest.mark.usefixtures("_onnx", "digits")
@pytest.mark.parametrize(
    "network",
    [
        ("--hidden", "16", "--dropout", "0"),
        (
            "--layers",
            "conv 4 5x5 stride=2",
            "residual(conv 4 3x3 padding=same, batchnorm, relu)",
            "flatten",
            "dense",
        ),
    ],
    ids=lambda words: words[0],
)
def test_evaluate_gives_the_accuracy_of_the_run(
    network: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "mnist", *network, *OF_DIGITS, *TRAIN) == 0
    assert run("export", "a", "--onnx", "model.onnx") == 0
    said(capsys)
    assert run("evaluate", "a", "--data", "digits.npz") == 0
    of_run = accuracy(capsys)
    assert of_run.endswith(" of 4000")
    assert run("evaluate", "model.onnx", "--data", "digits.npz") == 0
    assert accuracy(capsys) == of_run
    assert run("evaluate", "model.onnx", "--data", "digits.npz", "--top-k", "3") == 0
    assert "top-3 accuracy" in said(capsys)
    assert run("evaluate", "model.onnx", "--data", "digits.npz", "--top-k", "10") == 2
    assert "give a number from 1 to 9" in said(capsys)


@pytest.mark.usefixtures("_onnx", "two_clouds")
def test_data_of_another_range_or_shape_and_files_that_are_no_models_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 4))
    np.savez("bytes.npz", X=pixels, y=np.arange(40) % 2)
    np.savez("unit.npz", X=pixels / 255, y=np.arange(40) % 2)
    np.savez("negative.npz", X=pixels - 128.0, y=np.arange(40) % 2)
    assert run("train", "mnist", "--data", "bytes.npz", "--hidden", "8", "--dropout", "0", *TRAIN) == 0
    assert run("export", "a", "--onnx", "model.onnx") == 0
    Path("text.onnx").write_text("zork", encoding="utf-8")
    for words, status, reason in (
        (["model.onnx", "--data", "unit.npz"], 3, "takes bytes, whole numbers in 0..255"),
        (["model.onnx", "--data", "negative.npz"], 3, "these inputs lie in -128"),
        (["model.onnx", "--data", "two.npz"], 3, "has samples of shape (3,) and model.onnx takes (4,)"),
        (["model.onnx"], 2, "does not know its data"),
        (["model.onnx", "--data", "bytes.npz", "--backend", "torch"], 2, "run by onnxruntime"),
        (["model.onnx", "--data", "bytes.npz", "--device", "cuda"], 2, "--device cuda was asked for"),
        (["model.onnx", "--data", "bytes.npz", "--augment", "5"], 2, "--augment 5 was asked for"),
        (["text.onnx", "--data", "bytes.npz"], 3, "text.onnx cannot be used"),
        (["nowhere.onnx", "--data", "bytes.npz"], 3, "nowhere.onnx cannot be read"),
    ):
        said(capsys)
        assert run("evaluate", *words) == status
        text = said(capsys)
        assert text.startswith("error: ")
        assert reason in text


@pytest.mark.usefixtures("two_clouds")
def test_export_needs_a_run_and_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "nothing", "--onnx", "model.onnx") == 5
    assert run("export", "nothing") == 2
    assert "give --onnx model.onnx" in said(capsys)
    assert not list(Path().glob("model*"))
