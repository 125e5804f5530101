"""`nb.save` and `nb.open`: a file gives the predictions of the trainer it was made of, and holds no code."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import nnbackprop as nb
from backends import Backend
from nnbackprop.runs.checkpoint import load, save
from nnbackprop.runs.plain_objects import KINDS, from_plain, to_plain
from tests.support import layer_rows, loss_rows
from tests.support.commands import run
from tests.support.small_runs import clouds, make_trainer

FILE = Path("model.nb")
TABLE = {
    "size": [1.0, 2.0, None, 4.0, 5.5, 6.0, 7.0, 8.5] * 8,
    "colour": ["red", "blue", None, "red", "blue", "green", "red", "blue"] * 8,
    "price": [10.5, 220.0, 35.0, 400.0, 510.0, 690.0, 700.0, 850.0] * 8,
    "kind": ["a", "b", "a", "b", "b", "a", "a", "b"] * 8,
}

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def of_table(target: str, loss: Any, outputs: int, **options: Any) -> tuple[nb.Trainer, nb.Splits]:
    data = nb.load({name: TABLE[name] for name in ("size", "colour", target)}, target=target, missing="median")
    scaling = nb.fit_scaling("per-feature", data.train)
    trainer = nb.Trainer(
        nb.Sequential(nb.Dense(5), nb.Tanh(), nb.Dense(outputs)),
        *(loss, nb.Adam()),
        **{"lr": 0.05, "epochs": 5, "scaling": scaling, **options},
    )
    trainer.fit(data.train)
    return trainer, data


def test_a_file_predicts_and_evaluates_as_its_trainer(backend: Backend) -> None:
    """Batch normalization, a residual block, dropout and a penalty; opened on NumPy and where it was trained."""
    network = nb.Sequential(
        *(
            nb.Dense(6, weight_init=nb.Glorot("uniform"), bias=False),
            nb.BatchNorm(momentum=0.2),
            nb.LeakyReLU(0.1),
        ),
        *(nb.Residual(nb.Dense(6), nb.Tanh()), nb.Dropout(0.2), nb.Dense(3)),
    )
    trainer = make_trainer(backend, network=network, penalty=nb.WeightPenalty(l2=0.01), epochs=2)
    trainer.fit(clouds())
    nb.save(trainer, FILE)
    same, numpy = nb.open(FILE, backend), nb.open(str(FILE), nb.select("numpy"))
    assert same.evaluator.objective == trainer.evaluator.objective
    predicted, probabilities = same.predict(clouds().inputs), same.predict_proba(clouds().inputs)
    assert np.array_equal(predicted, trainer.predict(clouds().inputs))
    assert np.array_equal(probabilities, trainer.predict_proba(clouds().inputs))
    assert same.evaluate(clouds()) == trainer.evaluate(clouds())
    np.testing.assert_allclose(numpy.predict_proba(clouds().inputs), probabilities, rtol=1e-9)


def test_files_have_the_averaged_weights_that_the_trainer_predicts_by() -> None:
    average = nb.ExponentialMovingAverage(nb.SGD(), decay=0.9)
    trainer = make_trainer(optimizer=average, lr=0.5, epochs=2)
    trainer.fit(clouds())
    wanted = trainer.predict_proba(clouds().inputs)
    trained = trainer.evaluator.predict_proba_or_values(trainer.params, clouds().inputs, trainer.sample_shape)
    assert np.abs(wanted - trained).max() > 0.01
    nb.save(trainer, FILE)
    assert np.array_equal(nb.open(FILE, trainer.backend).predict_proba(clouds().inputs), wanted)
    nb.export_safetensors(trainer, "weights.safetensors")
    kept = load_file("weights.safetensors")
    averaged = trainer.host_params()[0]["W"]
    assert np.array_equal(kept["0.weight"], averaged.T)


def test_the_preprocessing_of_a_table_is_in_the_file() -> None:
    trainer, data = of_table("kind", nb.SoftmaxCrossEntropy(), 2)
    nb.save(trainer, FILE)
    model = nb.open(FILE)
    rows = {"colour": [None, "green"], "size": [3.0, None]}
    assert np.array_equal(model.predict(rows), trainer.predict(rows))
    assert (model.classes, model.target_names) == (("a", "b"), ("kind",))
    assert data.test is not None
    assert model.evaluate(data.test) == trainer.evaluate(data.test)
    assert model.evaluate(TABLE) == trainer.evaluate(TABLE)
    with pytest.raises(nb.DataError, match="no column size"):
        model.predict({"colour": ["red"]})


def test_the_scaling_of_targets_is_in_the_file() -> None:
    """Predictions are in the targets' own units: hundreds, from a network that learnt standard scores."""
    _, data = of_table("price", nb.MeanSquaredError(), 1)
    scaling = nb.fit_scaling("per-feature", data.train, "standard")
    trainer, _ = of_table("price", nb.MeanSquaredError(), 1, scaling=scaling, epochs=40)
    nb.save(trainer, FILE)
    predicted = nb.open(FILE).predict(TABLE)
    assert np.array_equal(predicted, trainer.predict(TABLE))
    assert predicted.max() > 300
    assert nb.open(FILE).evaluate(data.train).metrics == trainer.evaluate(data.train).metrics


def test_images_keep_their_shape_and_what_was_opened_can_be_saved() -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 4), np.uint8)
    data = nb.Dataset(images, np.arange(20) % 2)
    trainer = make_trainer(
        network=nb.Sequential(nb.Flatten(), nb.Dense(2)), scaling=nb.fit_scaling("per-feature", data), epochs=1
    )
    trainer.fit(data)
    nb.save(trainer, FILE)
    nb.save(nb.open(FILE), "again.nb")
    assert np.array_equal(nb.open("again.nb").predict_proba(images), trainer.predict_proba(images))
    with pytest.raises(nb.DataError, match=r"\(n, 4, 4\) are needed"):
        nb.open(FILE).predict(images.reshape(20, 16))


@pytest.mark.usefixtures("two_clouds")
def test_open_takes_a_run_folder_too() -> None:
    flags = ["mnist-original", "--data", "two.npz", "--hidden", "4", "--dropout", "0", "--epochs", "20"]
    assert run("train", *flags, "--name", "a", "--progress", "off") == 0
    with np.load("two.npz") as arrays:
        x, y = arrays["X"], arrays["y"]
    by_path, by_name = nb.open(Path("runs/a")), nb.open("last")
    assert np.array_equal(by_path.predict_proba(x), by_name.predict_proba(x))
    assert by_path.evaluate(nb.Dataset(x, y)).accuracy > 0.9
    nb.save(by_path, FILE)
    assert np.array_equal(nb.open(FILE).predict_proba(x), by_path.predict_proba(x))


def test_every_class_of_the_package_comes_back_equal() -> None:
    ours = [row.layer for row in layer_rows.ROWS] + [row.loss for row in loss_rows.ROWS]
    ours += [
        nb.WeightPenalty(l1=0.1, biases=True),
        nb.Dense(3, weight_init=nb.Uniform(0.2), bias_init=nb.Normal(1.0)),
    ]
    for value in ours:
        assert from_plain(json.loads(json.dumps(to_plain(value)))) == value
    assert {type(value).__name__ for value in ours} <= KINDS.keys()


@dataclass(frozen=True)
class Own(nb.ReLU):
    """A layer of a person's own."""


def test_a_trainer_that_was_not_fit_has_nothing_to_save() -> None:
    with pytest.raises(nb.UsageError, match="call fit"):
        nb.save(make_trainer(), FILE)
    assert not FILE.exists()


def test_networks_nested_deeper_than_a_file_may_be_are_not_saved() -> None:
    network = nb.Sequential(nb.Dense(3))
    for _ in range(25):
        network = nb.Sequential(network)
    trainer = make_trainer(network=network, epochs=1)
    trainer.fit(clouds())
    with pytest.raises(nb.UsageError, match="nested over 20 deep"):
        nb.save(trainer, FILE)
    assert not Path(FILE).exists()


def test_a_layer_of_ones_own_is_refused_and_nothing_is_written() -> None:
    trainer = make_trainer(network=nb.Sequential(nb.Dense(4), Own(), nb.Dense(3)), epochs=1)
    trainer.fit(clouds())
    with pytest.raises(nb.UsageError, match=r"no code.*load_params"):
        nb.save(trainer, FILE)
    with pytest.raises(nb.UsageError, match="call fit"):
        nb.save(make_trainer(), FILE)
    with pytest.raises(nb.UsageError, match="save got list and needs a Trainer"):
        nb.save([], FILE)  # type: ignore[arg-type]
    assert not FILE.exists()


RELU = {"type": "ReLU"}


def nested(depth: int) -> dict[str, Any]:
    """A network in a network in a network ..."""
    layer = RELU
    for _ in range(depth):
        layer = {"type": "Sequential", "layers": [layer]}
    return layer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"type": "Popen", "args": "true"}}, "names 'Popen', which this version does not have"),
        ({"network": {"type": "Sequential", "layers": [{"type": "Dense", "units": -1}]}}, "Dense cannot be built"),
        ({"network": {"type": "Sequential", "layers": [{"type": "Dense", "units": "9"}]}}, "Expected `int`"),
        ({"network": {"type": "Sequential", "layers": [{"type": "Dense", "units": 2**60}]}}, "too big"),
        (
            {"network": {"type": "Sequential", "layers": [{"type": "Dropout", "rate": 0.1, "x": 1}]}},
            "cannot be built",
        ),
        ({"network": {"type": "Sequential", "layers": 5}}, "Sequential cannot be built"),
        ({"network": {"type": "Sequential", "layers": [5]}}, "5 describes no object"),
        ({"network": nested(100)}, "nested too deeply"),
        (
            {"network": {"type": "Sequential", "layers": [{"type": "Dense", "units": 3, "weight_init": RELU}]}},
            "ReLU stands where there must be",
        ),
        ({"network": {"type": "ReLU"}}, "no network"),
        ({"loss": {"type": "Dense", "units": 3}}, "no loss"),
        ({"penalty": {"type": "ReLU"}}, "no penalty"),
        ({"sample_shape": [3]}, "another network"),
        ({"sample_shape": [2, 2]}, "takes vectors"),
        ({"outputs": 4}, r"outputs of shape \(3,\), and it says 4"),
        ({"preprocessing": {"columns": ["a"]}}, "makes 1 features of 2"),
        ({"sample_shape": []}, "length"),
        ({"dtype": "object"}, "dtype"),
        ({"outputs": 0}, "outputs"),
    ],
)
def test_a_file_that_was_changed_is_refused(change: dict[str, Any], words: str) -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(clouds())
    nb.save(trainer, FILE)
    kept = load(FILE)
    save(FILE, replace(kept, meta={"model": {**kept.meta["model"], **change}}))
    with pytest.raises(nb.RunFolderError, match=words):
        nb.open(FILE)


@pytest.mark.parametrize("layers", [["BatchNorm"], ["LayerNorm"], ["BatchNorm"] * 9])
def test_a_file_that_claims_a_huge_network_takes_no_memory(layers: list[str]) -> None:
    """2^31 units and their normalization would take 8 GB an array; of what is not in the file nothing is made."""
    trainer = make_trainer(network=nb.Sequential(nb.Dense(3)), epochs=1)
    trainer.fit(clouds())
    nb.save(trainer, FILE)
    nb.open(FILE)  # what it imports is imported
    kept = load(FILE)
    described = [{"type": "Dense", "units": 2**31 - 1}, *({"type": name} for name in layers)]
    network = {"type": "Sequential", "layers": [*described, {"type": "Dense", "units": 3}]}
    model = {**kept.meta["model"], "network": network}
    save(FILE, replace(kept, meta={"model": model}))
    backend = nb.select("numpy")
    tracemalloc.start()
    with pytest.raises(nb.RunFolderError, match="another network"):
        nb.open(FILE, backend)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_files_that_are_none_are_refused() -> None:
    Path("text").write_text("no network", encoding="utf-8")
    with pytest.raises(nb.RunFolderError, match="text cannot be used as a checkpoint"):
        nb.open("text")
    with pytest.raises(nb.RunFolderError, match="is no run folder"):
        nb.open("nowhere.nb")


def test_a_checkpoint_of_a_run_describes_no_network_and_rows_must_be_of_one_length() -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(clouds())
    nb.save(trainer, FILE)
    with pytest.raises(nb.DataError, match=r"no array of numbers \(.*\): pass rows of the same length"):
        nb.open(FILE).predict([[1.0, 2.0], [3.0]])
    save(FILE, replace(load(FILE), meta={}))
    with pytest.raises(nb.RunFolderError, match="cannot be opened as a network: it does not describe one"):
        nb.open(FILE)
