"""Weights in PyTorch's layout: PyTorch loads them as a `state_dict`, and the programs of docs/export.md work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from backends import NumpyBackend, tree_map
from nnbackprop import (
    SGD,
    BatchNorm,
    Dataset,
    Dense,
    Dropout,
    LayerNorm,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    TrainedModel,
    Trainer,
    export_safetensors,
    fit_scaling,
)
from tests.support.commands import draw_no_plots, run
from tests.support.layer_rows import moved

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_pytorch_loads_every_layer_and_computes_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((7, 4)), np.arange(7) % 3, ("a", "b", "c"))
    inner = Sequential(Dense(6), LayerNorm(), Tanh())
    network = Sequential(Dropout(0.5), Dense(5, bias=False), BatchNorm(), ReLU(), inner, Dense(3))
    options: dict[str, Any] = {"dtype": "float64", "scaling": fit_scaling("per-feature", data)}
    trainer = Trainer(network, SoftmaxCrossEntropy(), SGD(), 0.1, backend=NumpyBackend(), **options)
    trainer.initialize(data)
    trainer.load_params(tree_map(lambda w: moved(rng, w), trainer.host_params()))
    export_safetensors(trainer, tmp_path / "model.safetensors")

    nn, state = torch.nn, {k: torch.tensor(w) for k, w in load_file(tmp_path / "model.safetensors").items()}
    scale, shift = state.pop("scale"), state.pop("shift")
    theirs = nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(4, 5, bias=False),
        nn.BatchNorm1d(5),
        nn.ReLU(),
        nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh()),
        nn.Linear(6, 3),
    ).double()
    theirs.load_state_dict(state)
    y = torch.softmax(theirs.eval()(torch.tensor(data.inputs) * scale + shift), 1).detach().numpy()
    np.testing.assert_allclose(y, trainer.predict_proba(data.inputs), rtol=0, atol=1e-12)
    with safe_open(tmp_path / "model.safetensors", "np") as file:
        assert json.loads(file.metadata()["classes"]) == ["a", "b", "c"]


@pytest.fixture
def exported(digits: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """The working folder holds the page's files, of a run on few digits; the run's test images and labels."""
    draw_no_plots(monkeypatch)
    (train,) = re.findall(r"\$ nnbackprop (train .*)", PAGE.read_text())
    assert run(*train.split(), "--data", str(digits), "--test-fraction", "0.25", "--progress", "off") == 0
    assert run("export", "small", "--safetensors", "model.safetensors") == 0
    trained = TrainedModel.open("small")
    images = trained.data().inputs
    return images, trained.predict(images)[0]


def of(library: str) -> str:
    """The page's program that uses a library."""
    (program,) = [code for code in PROGRAMS if library in code]
    return program


def test_the_pages_program_in_pytorch_gives_the_labels(exported: tuple[np.ndarray, np.ndarray]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    images, labels = exported
    names = {"images": torch.tensor(images, dtype=torch.float32)}
    exec(compile(of("from torch"), str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["labels"].numpy(), labels)


def test_the_pages_program_in_numpy_gives_the_labels(exported: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = exported
    names = {"images": images}
    exec(compile(of("safetensors.numpy"), str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["labels"], labels)


@pytest.mark.parametrize("library", ["from torch", "safetensors.numpy"])
def test_the_programs_that_load_weights_have_twelve_lines_at_most(library: str) -> None:
    assert len([line for line in of(library).splitlines() if line.strip()]) <= 12


def test_the_pages_program_in_onnxruntime_names_the_classes(
    exported: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("ndonnx", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    images, labels = exported
    assert run("export", "small", "--onnx", "model.onnx") == 0
    capsys.readouterr()
    exec(compile(of("onnxruntime"), str(PAGE), "exec"), {"images": images})
    assert capsys.readouterr().out == f"{[str(label) for label in labels[:10]]}\n"
