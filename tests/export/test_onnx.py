"""Every layer, loss head and scaling in an ONNX file computes what it computes here: onnxruntime is the judge."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import NumpyBackend, tree_map
from nnbackprop import (
    Dataset,
    Dense,
    Dropout,
    Flatten,
    MeanSquaredError,
    PoissonNLL,
    ReLU,
    Residual,
    Sequential,
    SigmoidBinaryCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
    export_onnx,
    fit_scaling,
)
from nnbackprop.data.mapped import MappedArray
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import DataError, RunFolderError, UsageError
from nnbackprop.export.libraries import PIP_INSTALL
from nnbackprop.export.onnx_graph import OnnxGraph
from nnbackprop.export.onnx_model import OnnxModel
from nnbackprop.nn.layers import Layer
from nnbackprop.nn.losses import LOSSES
from nnbackprop.optim import SGD
from tests.support.layer_rows import ROWS, Row, every_pointwise, moved

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
NESTED = [
    Residual(Dense(5), Tanh(), Dense(4)),
    Sequential(Dense(5), Sequential(ReLU(), Dense(4))),
    Sequential(Residual(Residual(Dense(4)), ReLU())),
]


def onnxruntime() -> Any:
    return pytest.importorskip(
        "onnxruntime", reason="onnxruntime is not installed: nothing to run ONNX files with"
    )


@pytest.fixture
def onnx() -> Any:
    pytest.importorskip("ndonnx", reason="ndonnx is not installed: no ONNX files can be made")
    return pytest.importorskip("onnx", reason="onnx is not installed")


def untrained(
    network: Sequential, loss: Any, data: Dataset, dtype: str, scaling: Scaling | None = None
) -> Trainer:
    """A trainer of the data, whose parameters are none of them 0 or 1, batch statistics among them."""
    trainer = Trainer(
        network, loss, SGD(), 0.1, backend=NumpyBackend(), dtype=dtype, scaling=scaling or Scaling.identity()
    )
    trainer.initialize(data)
    rng = np.random.default_rng(1)
    trainer.load_params(tree_map(lambda w: moved(rng, w).astype(dtype), trainer.host_params()))
    return trainer


def run(path: Path, inputs: np.ndarray) -> Mapping[str, np.ndarray]:
    """What onnxruntime computes of `inputs`, by the outputs' names."""
    session = onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"inputs": inputs}), strict=True))


def numbers(shape: tuple[int, ...] = (4,), n: int = 7, outputs: int = 3) -> Dataset:
    """A regression's data: n samples of `shape`, float64."""
    rng = np.random.default_rng(0)
    return Dataset(rng.standard_normal((n, *shape)), rng.standard_normal((n, outputs)))


def labelled(classes: int = 3, n: int = 7) -> Dataset:
    inputs = np.random.default_rng(0).standard_normal((n, 4))
    return Dataset(inputs, np.arange(n) % classes, tuple("abcdefgh"[:classes]))


def saved(trainer: Trainer, folder: Path) -> Path:
    """Its ONNX file, which the checker of onnx accepts."""
    import onnx

    export_onnx(trainer, folder / "model.onnx")
    onnx.checker.check_model(folder / "model.onnx", full_check=True)
    return folder / "model.onnx"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [*((row.layer, row.in_shape) for row in ROWS), *((layer, (4,)) for layer in NESTED)],
    ids=str,
)
def test_a_layer_computes_the_same(
    onnx: Any, layer: Layer, in_shape: tuple[int, ...], dtype: str, tmp_path: Path
) -> None:
    data = numbers(in_shape)
    before = (Dense(4),) if in_shape == (4,) else ()
    network = Sequential(*before, layer, Flatten(), Dense(3))
    trainer = untrained(network, MeanSquaredError(), data, dtype)
    (got,) = run(saved(trainer, tmp_path), data.inputs.astype(dtype)).values()
    np.testing.assert_allclose(got, trainer.predict(data.inputs), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@every_pointwise
def test_an_activation_is_right_far_out_and_near_zero(onnx: Any, row: Row, dtype: str, tmp_path: Path) -> None:
    sizes = np.concatenate([np.geomspace(1e-9, 1e4, 40), [0]])
    x = np.concatenate([sizes, -sizes]).reshape(-1, 2).astype(dtype)
    graph = OnnxGraph()
    y, _ = row.layer.forward(graph.xp, {}, graph.input("inputs", dtype, (2,)), None)
    (tmp_path / "model.onnx").write_bytes(graph.to_bytes({"y": y}, {}))
    want, _ = row.layer.forward(NumpyBackend().xp, {}, x, None)
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x)["y"], want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n", [1, 7, 0])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 2)])
def test_images_are_flattened_in_batches_of_any_size(
    onnx: Any, shape: tuple[int, ...], n: int, dtype: str, tmp_path: Path
) -> None:
    data = numbers(shape)
    trainer = untrained(Sequential(Flatten(), Dense(3)), MeanSquaredError(), data, dtype)
    inputs = data.inputs[:n].astype(dtype)
    (got,) = run(saved(trainer, tmp_path), inputs).values()
    assert got.shape == (n, 3)
    np.testing.assert_allclose(got, trainer.predict(inputs), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("network", "loss", "data"),
    [
        (Sequential(Dense(3)), SoftmaxCrossEntropy(), labelled()),
        (Sequential(Dense(3)), SoftmaxCrossEntropy(label_smoothing=0.1), labelled()),
        (Sequential(Dense(3)), SigmoidBinaryCrossEntropy(), labelled()),
        (Sequential(Dense(1)), SigmoidBinaryCrossEntropy(), labelled(2)),
        (Sequential(Dense(3)), MeanSquaredError(), labelled()),
        (Sequential(Dense(1), Tanh()), MeanSquaredError("mean", off_value=-1, on_value=0.5), labelled(2)),
        (Sequential(Dense(3), Softmax()), MeanSquaredError(), labelled()),
    ],
    ids=str,
)
def test_a_loss_has_its_labels_and_probabilities(
    onnx: Any, network: Sequential, loss: Any, data: Dataset, dtype: str, tmp_path: Path
) -> None:
    trainer = untrained(network, loss, data, dtype)
    got = run(saved(trainer, tmp_path), data.inputs.astype(dtype))
    assert got["labels"].dtype == np.int32
    assert len(set(got["labels"].tolist())) > 1
    np.testing.assert_array_equal(got["labels"], trainer.predict(data.inputs))
    want = trainer.predict_proba(data.inputs)
    np.testing.assert_allclose(got["probabilities"], want, rtol=0, atol=TOLERANCE[dtype])


def test_several_labels_at_once_are_rows_of_zeros_and_ones(onnx: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((20, 4)), rng.integers(0, 2, (20, 3)).astype(np.float64))
    trainer = untrained(Sequential(Dense(3)), SigmoidBinaryCrossEntropy(), data, "float64")
    got = run(saved(trainer, tmp_path), data.inputs)
    np.testing.assert_allclose(got["probabilities"], trainer.predict_proba(data.inputs), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(got["labels"], got["probabilities"] >= 0.5)
    assert 0 < got["labels"].mean() < 1


@pytest.mark.parametrize("kind", ["none", "unit", "standard", "per-feature", "rashid"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_raw_bytes_are_scaled_in_the_graph(onnx: Any, kind: str, dtype: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4), np.uint8)
    data = Dataset(pixels, np.zeros((7, 3)))
    network = Sequential(Dense(3), Tanh())
    trainer = untrained(network, MeanSquaredError(), data, dtype, fit_scaling(kind, data))
    (got,) = run(saved(trainer, tmp_path), pixels).values()
    np.testing.assert_allclose(got, trainer.predict(pixels), rtol=0, atol=TOLERANCE[dtype])


def test_numbers_far_from_0_are_scaled_in_float64(onnx: Any, tmp_path: Path) -> None:
    x = 1.7e9 + np.random.default_rng(0).uniform(0, 100, (50, 2))
    data = Dataset(x, np.where(x[:, 0] > 1.7e9 + 50, "late", "early"))
    network, scaling = Sequential(Dense(2)), fit_scaling("per-feature", data)
    trainer = Trainer(network, SoftmaxCrossEntropy(), SGD(), 0.1, backend=NumpyBackend(), scaling=scaling)
    trainer.initialize(data)
    params = trainer.host_params()
    z = (x - x.mean(axis=0)) / x.std(axis=0) @ params[0]["W"]
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    path = saved(trainer, tmp_path)
    np.testing.assert_allclose(run(path, x)["probabilities"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(OnnxModel.open(path).predict(x)[1], trainer.predict_proba(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", [LOSSES[name]() for name in LOSSES if "cross-entropy" not in name], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_regressions_outputs_are_in_the_units_of_its_targets(
    onnx: Any, loss: Any, dtype: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((30, 4)), rng.uniform(1e3, 2e3, (30, 2)))
    fitted = fit_scaling("none", data, "mean" if isinstance(loss, PoissonNLL) else "standard")
    trainer = untrained(Sequential(Dense(2)), loss, data, dtype, fitted)
    (got,) = run(saved(trainer, tmp_path), data.inputs.astype(dtype)).values()
    np.testing.assert_allclose(got, trainer.predict(data.inputs), rtol=TOLERANCE[dtype])
    assert got.max() > 1e3


@pytest.mark.parametrize(
    ("trained_on", "dtype"), [("uint8", "uint8"), ("uint8", "float64"), ("float64", "float64")]
)
def test_inputs_larger_than_the_limit_of_memory_are_read_batch_by_batch(
    onnx: Any, trained_on: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evaluate model.onnx` scores what training takes from a memory map."""
    onnxruntime()
    pixels = np.random.default_rng(0).integers(0, 256, (4200, 100), np.uint8)
    data = Dataset(pixels.astype(trained_on), np.arange(4200) % 3, ("0", "1", "2"))
    trainer = untrained(Sequential(Dense(3)), SoftmaxCrossEntropy(), data, "float32", fit_scaling("unit", data))
    model = OnnxModel.open(saved(trainer, tmp_path))
    np.save(tmp_path / "X.npy", pixels.astype(dtype))
    np.save(tmp_path / "y.npy", data.targets)
    monkeypatch.setenv("NNBACKPROP_MAX_BYTES", "400000")  # the inputs take 420,000 bytes or more
    read, feeds = model.data(str(tmp_path / "X.npy"))
    assert isinstance(read.inputs, MappedArray)
    labels, _ = model.run(feeds)
    np.testing.assert_array_equal(labels, trainer.predict(data.inputs))
    np.save(tmp_path / "X.npy", pixels / 255)
    if trained_on == "uint8":
        with pytest.raises(DataError, match=r"takes bytes, .* these inputs lie in 0 \.\. 1:"):
            model.data(str(tmp_path / "X.npy"))


def test_class_names_come_back_in_the_metadata(onnx: Any, tmp_path: Path) -> None:
    names = ('rose "red"', "Nelke", "雏菊")
    data = Dataset(np.eye(3), [0, 1, 2], names)
    path = saved(untrained(Sequential(Dense(3)), SoftmaxCrossEntropy(), data, "float32"), tmp_path)
    session = onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(names)


def test_a_small_network_is_a_small_file_with_named_parameters(onnx: Any, tmp_path: Path) -> None:
    """12-5-3 has 83 parameters; ndonnx's own matmul and zeros_like take 60 kB."""
    data = Dataset(np.zeros((3, 12)), [0, 1, 2], ("a", "b", "c"))
    network = Sequential(Dense(5), ReLU(), Dense(3))
    path = saved(untrained(network, SoftmaxCrossEntropy(), data, "float32"), tmp_path)
    model = onnx.load(path)
    assert [(w.name, tuple(w.dims)) for w in model.graph.initializer] == [
        ("dense1/W", (12, 5)),
        ("dense1/b", (5,)),
        ("dense2/W", (5, 3)),
        ("dense2/b", (3,)),
    ]
    assert [node.op_type for node in model.graph.node if node.op_type in ("If", "Expand")] == []
    assert path.stat().st_size < 2500


def test_the_same_network_is_the_same_file(onnx: Any, tmp_path: Path) -> None:
    trainer = untrained(Sequential(Dense(5), ReLU(), Dense(3)), SoftmaxCrossEntropy(), labelled(), "float32")
    assert saved(trainer, tmp_path).read_bytes() == saved(trainer, tmp_path).read_bytes()


@dataclass(frozen=True)
class Own:
    """A layer that this library does not know: y = x sin(w x) + max x."""

    def build(self, rng: Any, in_shape: tuple[int, ...], dtype: str) -> Any:
        return {"w": np.full(in_shape, 0.5, dtype)}, in_shape

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
        return x * xp.sin(params["w"] * x) + xp.max(x, axis=1, keepdims=True), None

    def backward(self, xp: Any, params: Any, cache: Any, dy: Any, need_dx: bool) -> Any:
        raise NotImplementedError


def test_a_layer_of_somebodys_own_exports_itself(onnx: Any, tmp_path: Path) -> None:
    trainer = untrained(Sequential(Own(), Dense(3)), MeanSquaredError(), numbers(), "float64")
    (got,) = run(saved(trainer, tmp_path), numbers().inputs).values()
    np.testing.assert_allclose(got, trainer.predict(numbers().inputs), rtol=0, atol=1e-12)


class Looks(Own):
    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
        return (x if float(xp.sum(x)) > 0 else -x), None


def test_a_layer_that_looks_at_values_is_refused_and_no_file_written(onnx: Any, tmp_path: Path) -> None:
    trainer = untrained(Sequential(Looks(), Dense(3)), MeanSquaredError(), numbers(), "float64")
    with pytest.raises(UsageError, match=r"cannot be traced to ONNX .*look at no value"):
        export_onnx(trainer, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_trainer_without_parameters_is_refused(onnx: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="call fit"):
        export_onnx(Trainer(Sequential(Dense(3)), MeanSquaredError(), SGD(), 0.1), tmp_path / "model.onnx")


def test_what_a_file_held_stays_where_its_successor_cannot_be_written(onnx: Any, tmp_path: Path) -> None:
    trainer = untrained(Sequential(Dropout(0.5), Dense(3)), MeanSquaredError(), numbers(), "float64")
    with pytest.raises(RunFolderError, match="could not be written"):
        export_onnx(trainer, tmp_path / "nowhere" / "model.onnx")
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(RunFolderError, match="is a folder: name a file in it"):
        export_onnx(trainer, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_without_the_libraries_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    trainer = untrained(Sequential(Dense(3)), MeanSquaredError(), numbers(), "float64")
    with pytest.raises(UsageError, match=re.escape("ndonnx cannot be imported")) as raised:
        export_onnx(trainer, tmp_path / "model.onnx")
    assert str(raised.value).endswith(f"Install them: {PIP_INSTALL}")
    assert list(tmp_path.iterdir()) == []


def test_the_libraries_named_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    words = PIP_INSTALL.removeprefix("pip install ").replace('"', "").split()
    assert words == project["optional-dependencies"]["onnx"]
