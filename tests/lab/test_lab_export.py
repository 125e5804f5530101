"""`nnbackprop lab --export`: a folder that holds all that the page needs, and the network's own numbers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data.bundled import FOLDER
from nnbackprop.data.readers import idx
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.train import start
from nnbackprop.runs.trained_model import TrainedModel
from tests.support.commands import run, said

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def train_digits(scale: str, **others: Any) -> None:
    """A run `digits` of a few of MNIST's digits."""
    test = idx.read_part(FOLDER, "t10k")
    Path("data").mkdir()
    for kind, array in (("images-idx3", test.inputs[:200]), ("labels-idx1", test.labels[:200])):
        content = np.asarray(array).reshape(-1, 28, 28) if kind == "images-idx3" else np.asarray(array)
        Path(f"data/train-{kind}-ubyte").write_bytes(idx.to_bytes(content))
    network = {} if "layers" in others else {"hidden": [12, 8], "activation": "tanh"}
    settings = {"data": "data", "epochs": 2, "scale": scale, "name": "digits", **network, **others}
    with start(resolve("cnn" if "layers" in others else "mnist", settings)) as made:
        made.fit()


@pytest.mark.parametrize("scale", ["unit", "standard"])
def test_the_weights_of_the_page_give_the_probabilities_of_the_run(scale: str) -> None:
    train_digits(scale)
    assert run("lab", "digits", "--export", "page") == 0
    content = json.loads(Path("page/lab.json").read_text(encoding="utf-8"))
    draw, a = (
        content["draw"],
        np.asarray(idx.read_part(FOLDER, "t10k").inputs[300:310], np.float64).reshape(10, -1),
    )
    raw, a = a.astype(np.uint8), (a - np.asarray(draw["shift"])) * np.asarray(draw["factor"])
    for layer in draw["layers"]:
        if layer["kind"] == "dense":
            W, b = (np.frombuffer(base64.b64decode(layer[name]), "<f4") for name in ("W", "b"))
            a = a @ W.reshape(layer["in"], layer["out"]) + b
        else:
            assert layer["function"] == "tanh"
            a = np.tanh(a)
    e = np.exp(a - a.max(axis=1, keepdims=True))
    expected = TrainedModel.open("digits").predict_proba(raw)
    np.testing.assert_allclose(e / e.sum(axis=1, keepdims=True), expected, rtol=1e-4, atol=1e-6)
    assert draw["title"] == "784-12-8-10"


def test_the_page_is_whole_and_static(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a trained network it has the rest."""
    assert run("lab", "--export", "page") == 0
    assert "no network to draw for" in said(capsys)
    index = Path("page/index.html").read_text(encoding="utf-8")
    assert 'data-mode="static"' in index
    for name in ("static/js/main.js", "static/lab.css"):
        assert f'"{name}"' in index
        assert Path("page", name).is_file()
    content = json.loads(Path("page/lab.json").read_text(encoding="utf-8"))
    assert content["draw"] is None
    assert [len(step["samples"]) for step in content["step"].values()] == [4, 8]
    assert {recipe["name"] for recipe in content["options"]["recipes"]} >= {"mnist", "weight-height"}


def test_a_folder_that_holds_something_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("page").mkdir()
    Path("page/mine.txt").write_text("mine", encoding="utf-8")
    assert run("lab", "--export", "page") == 2
    assert "not empty" in said(capsys)
    assert [path.name for path in Path("page").iterdir()] == ["mine.txt"]
    assert not list(Path().glob("tmp*"))


@pytest.mark.parametrize("words", [("--port", "1"), ("--no-browser",), ("--host", "0.0.0.0"), ("--token", "a")])
def test_flags_of_a_server_are_refused_beside_export(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("lab", "--export", "page", *words) == 2
    assert f"{words[0]} is for a server" in said(capsys)
    assert not Path("page").exists()


def test_a_layer_that_the_page_cannot_compute_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    layers = ["conv 2 3x3 stride=3", "residual(conv 2 3x3 padding=same)", "relu", "flatten", "dense"]
    train_digits("unit", layers=layers, epochs=1)
    assert run("lab", "digits", "--export", "page") == 2
    assert "the layer residual1" in said(capsys)
    assert not Path("page").exists()


def train_fashion(**others: Any) -> None:
    """A run `fashion` of images as large as MNIST's that are no digits: each pixel is bright."""
    np.savez("fashion.npz", X=np.full((40, 28, 28), 200, np.uint8) - np.arange(40, dtype=np.uint8)[:, None, None],
             y=np.array(["Coat", "Shirt"] * 20))  # fmt: skip
    settings = {"data": "fashion.npz", "epochs": 1, "hidden": [4], "dropout": [], "name": "fashion", **others}
    with start(resolve("mnist", settings)) as made:
        made.fit()


def test_images_that_are_no_digits_are_refused_as_drawings_are_prepared_as_digits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_fashion()
    assert run("lab", "fashion", "--export", "page") == 2
    assert "fashion.npz, which are no such digits" in said(capsys)
    assert not Path("page").exists()
    assert run("lab", "--export", "page") == 0
    assert "no network to draw for. The page prepares drawings as MNIST's digits" in said(capsys)


def test_without_a_run_the_newest_is_taken_that_can_be_exported(capsys: pytest.CaptureFixture[str]) -> None:
    train_digits("unit", epochs=1)
    train_fashion()
    os.utime("runs/fashion/metrics.jsonl", (2**31, 2**31))  # the newest
    assert run("lab", "--export", "page") == 0
    assert "no network to draw for" not in said(capsys)
    assert json.loads(Path("page/lab.json").read_text(encoding="utf-8"))["draw"]["title"] == "784-12-8-10"


def test_a_run_that_the_page_cannot_compute_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with start(resolve("iris", {"epochs": 1})) as made:
        made.fit()
    assert run("lab", "last", "--export", "page") in (2, 3)
    assert "iris" in said(capsys)
    assert not Path("page").exists()
