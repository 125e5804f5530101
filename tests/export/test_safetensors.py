"""Weights in PyTorch's layout: PyTorch loads them as a `state_dict`, and the programs of docs/export.md work."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
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
    Conv2D,
    Dataset,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool2D,
    PReLU,
    Reshape,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    TrainedModel,
    Trainer,
    export_safetensors,
    fit_scaling,
    load,
)
from nnbackprop.errors import UsageError
from tests.support.commands import draw_no_plots, run
from tests.support.layer_rows import moved
from tests.support.tables import write_table

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@dataclass(frozen=True)
class Scale:
    """A layer that this library does not know: y = a x."""

    def build(self, rng: Any, in_shape: tuple[int, ...], dtype: str) -> Any:
        return {"a": np.ones(in_shape, dtype)}, in_shape

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
        return params["a"] * x, None

    def backward(self, xp: Any, params: Any, cache: Any, dy: Any, need_dx: bool) -> Any:
        raise NotImplementedError


def untrained(network: Sequential, data: Dataset, rng: np.random.Generator) -> Trainer:
    """A trainer of the data, whose parameters are none of them 0 or 1, and whose inputs are scaled."""
    options: dict[str, Any] = {"dtype": "float64", "scaling": fit_scaling("per-feature", data)}
    trainer = Trainer(network, SoftmaxCrossEntropy(), SGD(), 0.1, backend=NumpyBackend(), **options)
    trainer.initialize(data)
    trainer.load_params(tree_map(lambda w: moved(rng, w), trainer.host_params()))
    return trainer


def test_pytorch_loads_every_layer_and_computes_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((7, 4)), np.arange(7) % 3, ("a", "b", "c"))
    inner = Sequential(Dense(6), LayerNorm(), Tanh())
    network = Sequential(Dropout(0.5), Dense(5, bias=False), BatchNorm(), PReLU(), inner, Dense(3))
    trainer = untrained(network, data, rng)
    export_safetensors(trainer, tmp_path / "model.safetensors")

    nn, state = torch.nn, {k: torch.tensor(w) for k, w in load_file(tmp_path / "model.safetensors").items()}
    scale, shift = state.pop("scale"), state.pop("shift")
    theirs = nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(4, 5, bias=False),
        nn.BatchNorm1d(5),
        nn.PReLU(5),
        nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh()),
        nn.Linear(6, 3),
    ).double()
    theirs.load_state_dict(state)
    y = torch.softmax(theirs.eval()(torch.tensor(data.inputs) * scale + shift), 1).detach().numpy()
    np.testing.assert_allclose(y, trainer.predict_proba(data.inputs), rtol=0, atol=1e-12)
    with safe_open(tmp_path / "model.safetensors", "np") as file:
        assert json.loads(file.metadata()["classes"]) == ["a", "b", "c"]


def test_pytorch_loads_a_convolutional_network_and_computes_the_same(tmp_path: Path) -> None:
    """Images are (channels, rows, columns) there, and so are the features after Flatten."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((7, 9, 8, 3)), np.arange(7) % 3, ("a", "b", "c"))
    block = Sequential(Conv2D(6, (1, 3), padding="same"), Tanh(), Conv2D(4, 2, bias=False))
    convolutions = Conv2D(5, 3, stride=2, padding=1), PReLU(shared=True), block, MaxPool2D((2, 1))
    features = Flatten(), BatchNorm(), PReLU(), PReLU(shared=True), Dropout(0.5)
    trainer = untrained(Sequential(*convolutions, *features, Dense(4), LayerNorm(), Dense(3)), data, rng)
    export_safetensors(trainer, tmp_path / "model.safetensors")

    nn, state = torch.nn, {k: torch.tensor(w) for k, w in load_file(tmp_path / "model.safetensors").items()}
    scale, shift = state.pop("scale"), state.pop("shift")
    theirs = nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.PReLU(),
        nn.Sequential(nn.Conv2d(5, 6, (1, 3), padding="same"), nn.Tanh(), nn.Conv2d(6, 4, 2, bias=False)),
        nn.MaxPool2d((2, 1)),
        nn.Flatten(),
        nn.BatchNorm1d(24),
        nn.PReLU(24),
        nn.PReLU(),
        nn.Dropout(0.5),
        nn.Linear(24, 4),
        nn.LayerNorm(4),
        nn.Linear(4, 3),
    ).double()
    theirs.load_state_dict(state)
    images = torch.tensor(data.inputs).permute(0, 3, 1, 2)
    y = torch.softmax(theirs.eval()(images * scale + shift), 1).detach().numpy()
    np.testing.assert_allclose(y, trainer.predict_proba(data.inputs), rtol=0, atol=1e-12)


def test_the_pages_program_for_images_is_twelve_lines_and_gives_the_labels(in_a_folder_of_its_own: None) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28, 1), np.uint8)
    data = Dataset(images, np.arange(20) % 10, tuple("0123456789"))
    names: dict[str, Any] = {"images": images, "labels": np.arange(20) % 10}
    exec(compile(of("nb.Conv2D"), str(PAGE), "exec"), names)
    trainer = untrained(names["network"], data, rng)
    export_safetensors(trainer, "images.safetensors")
    program = of("permute")
    assert len([line for line in program.splitlines() if line.strip()]) <= 12
    torch.set_default_dtype(torch.float64)
    try:
        exec(compile(program, str(PAGE), "exec"), names)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(names["labels"].numpy(), trainer.predict(images))


@pytest.mark.parametrize("layer", [Residual(Dense(12)), Scale()], ids=str)
def test_a_layer_that_needs_the_order_of_flattened_features_is_refused(layer: Any, tmp_path: Path) -> None:
    data = Dataset(np.zeros((3, 2, 2, 3)), np.arange(3), ("a", "b", "c"))
    trainer = untrained(Sequential(Flatten(), layer, Dense(3)), data, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"(residual|scale)1 takes the features of a flattened image"):
        export_safetensors(trainer, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []
    export_safetensors(
        untrained(Sequential(Flatten(), Dense(4), Scale(), Dense(3)), data, np.random.default_rng(0)),
        tmp_path / "own.safetensors",
    )
    assert load_file(tmp_path / "own.safetensors")["2.a"].shape == (4,)


@pytest.mark.parametrize(
    ("shape", "layers", "theirs"),
    [
        ((6, 6, 2), (Conv2D(3, 3), Reshape((48,)), Dense(3)), "Conv2d(2, 3, 3), Flatten(), Linear(48, 3)"),
        (
            (6, 6, 2),
            (Flatten(), BatchNorm(), PReLU(), Reshape((6, 6, 2)), Conv2D(3, 6), Flatten()),
            "Flatten(), BatchNorm1d(72), PReLU(72), Unflatten(1, (2, 6, 6)), Conv2d(2, 3, 6), Flatten()",
        ),
        (
            (6, 6, 2),
            (Reshape((3, 12, 2)), Conv2D(3, (3, 12)), Flatten()),
            "Sequential(Unflatten(2, (3, 2)), Flatten(3, 4)), Conv2d(2, 3, (3, 12)), Flatten()",
        ),
        (
            (36,),
            (Reshape((6, 6, 1)), Conv2D(3, 6), Flatten()),
            "Unflatten(1, (1, 6, 6)), Conv2d(1, 3, 6), Flatten()",
        ),
        ((2, 2, 1), (Flatten(), Residual(Dense(4)), Dense(3)), "Flatten(), Skip(Linear(4, 4)), Linear(4, 3)"),
    ],
    ids=["vector", "back to the image", "channels kept", "one channel to an image", "one channel to a vector"],
)
def test_pytorch_computes_the_same_where_samples_are_reshaped(
    shape: tuple[int, ...], layers: tuple[Any, ...], theirs: str, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Skip(torch.nn.Sequential):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((7, *shape)), np.arange(7) % 3, ("a", "b", "c"))
    trainer = untrained(Sequential(*layers), data, rng)
    export_safetensors(trainer, tmp_path / "model.safetensors")
    state = {k: torch.tensor(w) for k, w in load_file(tmp_path / "model.safetensors").items()}
    scale, shift = state.pop("scale"), state.pop("shift")
    network = eval(f"Sequential({theirs})", {**vars(torch.nn), "Skip": Skip}).double()
    network.load_state_dict(state)
    x = torch.tensor(data.inputs)
    x = (x.permute(0, 3, 1, 2) if len(shape) == 3 else x) * scale + shift
    y = torch.softmax(network.eval()(x), 1).detach().numpy()
    np.testing.assert_allclose(y, trainer.predict_proba(data.inputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((72,), (Reshape((6, 6, 2)), Conv2D(3, 6), Flatten())),
        ((6, 6, 2), (Reshape((6, 4, 3)), Conv2D(3, (6, 4)), Flatten())),
        ((6, 6, 2), (Flatten(), Reshape((6, 4, 3)), Conv2D(3, (6, 4)), Flatten())),
        ((6, 6, 2), (Reshape((36, 2)), Flatten(), Dense(3))),
    ],
    ids=["vector", "image", "flattened image", "table"],
)
def test_a_reshape_that_pytorch_does_otherwise_is_refused(
    shape: tuple[int, ...], layers: tuple[Any, ...], tmp_path: Path
) -> None:
    data = Dataset(np.random.default_rng(0).normal(size=(3, *shape)), np.arange(3), ("a", "b", "c"))
    trainer = untrained(Sequential(*layers), data, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"The layer reshape1 makes .* use export_onnx"):
        export_safetensors(trainer, tmp_path / "model.safetensors")


@pytest.fixture
def exported(digits: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """The working folder holds the page's files, of a run on few digits; the run's test images and labels."""
    draw_no_plots(monkeypatch)
    (train,) = re.findall(r"\$ nnbackprop (train .* --name small)", PAGE.read_text(encoding="utf-8"))
    assert run(*train.split(), "--data", str(digits), "--test-fraction", "0.25", "--progress", "off") == 0
    assert run("export", "small", "--safetensors", "model.safetensors") == 0
    trained = TrainedModel.open("small")
    images = trained.data().inputs
    return images, trained.predict(images)


def of(library: str) -> str:
    """The page's program that uses a library."""
    (program,) = [code for code in PROGRAMS if library in code]
    return program


def test_the_pages_program_in_pytorch_gives_the_labels(exported: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    images, labels = exported
    names = {"images": images}
    exec(compile(of("nn.Linear(784, 100)"), str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["labels"].numpy(), labels)


def test_the_pages_program_in_numpy_gives_the_labels(exported: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = exported
    names = {"images": images}
    exec(compile(of("safetensors.numpy"), str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["labels"], labels)


@pytest.mark.parametrize("library", ["nn.Linear(784, 100)", "safetensors.numpy"])
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
    exec(compile(of('{"inputs": images}'), str(PAGE), "exec"), {"images": images})
    assert capsys.readouterr().out == f"{[str(label) for label in labels[:10]]}\n"


def test_the_pages_program_for_a_table_makes_its_inputs(in_a_folder_of_its_own: None) -> None:
    """Of a column far from 0, of text, truth values and missing ones."""
    rng = np.random.default_rng(0)
    time = 1.7e9 + rng.uniform(0, 100, 40)
    table = {
        "age": [None if i % 7 == 0 else float(i) for i in range(40)],
        "colour": [None if i % 9 == 0 else ("red", "blue")[i % 2] for i in range(40)],
        "time": time,
        "tame": ["true" if i % 3 else "false" for i in range(40)],
        "kind": np.where(time > 1.7e9 + 50, "late", "early"),
    }
    write_table("flowers.csv", table)
    data = load("flowers.csv", missing="mean", split=False).train
    trainer = untrained(Sequential(Dense(2)), data, rng)
    export_safetensors(trainer, "iris.safetensors")
    names: dict[str, Any] = {}
    exec(compile(of("safe_open"), str(PAGE), "exec"), names)
    np.testing.assert_allclose(names["inputs"], data.inputs, rtol=1e-6)
    np.testing.assert_allclose(names["x"], trainer.scaling.apply(data.inputs, "float64"), rtol=0, atol=1e-5)
    with safe_open("iris.safetensors", "np") as file:
        assert json.loads(file.metadata()["feature_names"]) == list(data.feature_names)


def test_a_shift_that_float32_cannot_hold_is_float64(tmp_path: Path) -> None:
    x = 1.7e9 + np.random.default_rng(0).uniform(0, 100, (50, 1))
    data = Dataset(x, np.where(x[:, 0] > 1.7e9 + 50, "late", "early"))
    trainer = Trainer(
        Sequential(Dense(2)), SoftmaxCrossEntropy(), SGD(), 0.1, scaling=fit_scaling("per-feature", data)
    )
    trainer.initialize(data)
    export_safetensors(trainer, tmp_path / "model.safetensors")
    state = load_file(tmp_path / "model.safetensors")
    np.testing.assert_allclose(x * state["scale"] + state["shift"], (x - x.mean()) / x.std(), rtol=0, atol=1e-6)
    assert state["0.weight"].dtype == np.float32
