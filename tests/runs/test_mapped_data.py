"""Runs on inputs that stay in their file: the same run, bit for bit, as on those in memory, also when killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars
import pytest

from backends import Backend, leaves
from nnbackprop import TrainedModel
from nnbackprop.data import Dataset, fit_scaling, load
from nnbackprop.data.mapped import MappedArray
from nnbackprop.data.readers.npz import read_pair
from nnbackprop.nn.layers import Dense, ReLU
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Adam
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_files import recipe_for
from nnbackprop.runs.run_data import RunData
from nnbackprop.training.trainer import Trainer
from tests.stress import child_run
from tests.support.commands import draw_no_plots, run, said

MAX_BYTES = "60000"  # of a file, an eighth of which is less than the inputs take


def write_pair(folder: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    np.save(folder / "X.npy", (labels[:, None] + rng.standard_normal((600, 4))).astype(np.float32))
    np.save(folder / "y.npy", labels)


def words(name: str, epochs: int) -> tuple[str, ...]:
    given = [word for word in child_run.train_words(name, epochs) if not word.startswith(("--data", "--test"))]
    return (*given, "--data=X.npy", "--test-fraction=0.1", "--scale=per-feature")


def test_two_epochs_are_those_of_data_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path)
    child_run.run_to_end(tmp_path, *words("memory", 2))
    config = Config(data=str(tmp_path / "X.npy"), test_fraction=0.1, validation=0.2)
    in_memory = RunData.load(config)
    monkeypatch.setenv("NNBACKPROP_MAX_BYTES", MAX_BYTES)
    child_run.run_to_end(tmp_path, *words("file", 2))
    child_run.assert_same_outcome(tmp_path / "runs" / "file", tmp_path / "runs" / "memory")
    in_file = RunData.load(config)
    assert all(isinstance(part.inputs, MappedArray) for part in in_file.parts.values() if part)
    assert in_file.fingerprint == in_memory.fingerprint


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_weights_are_those_of_a_resident_set_on_every_backend(
    tmp_path: Path, dtype: str, backend: Backend
) -> None:
    """A compiled library may round x * scale + shift once, where the step does it, and twice outside."""
    write_pair(tmp_path)
    np.save(tmp_path / "X.npy", (40 + 20 * np.load(tmp_path / "X.npy")).astype(dtype))
    parts = [read_pair(tmp_path / "X.npy", tmp_path / "y.npy", limit) for limit in (0, 2**30)]
    trained = []
    for part, resident in zip(parts, ("no", "yes"), strict=True):
        data = Dataset(part.inputs, part.labels, ("a", "b", "c"))
        trainer = Trainer(
            Sequential(Dense(8), ReLU(), Dense(3)),
            SoftmaxCrossEntropy(),
            Adam(),
            lr=1e-3,
            batch_size=50,
            epochs=2,
            scaling=fit_scaling("per-feature", data),
            backend=backend,
            resident=resident,
        )
        trainer.fit(data)
        trained.append(leaves(trainer.host_params()))
    assert [type(part.inputs) for part in parts] == [MappedArray, np.ndarray]
    assert all(np.array_equal(a, b) for a, b in zip(*trained, strict=True))


@pytest.mark.parametrize(("shift", "recipe"), [(0.0, "mnist"), (-0.5, "table"), (300.0, "table")])
def test_a_square_number_of_features_is_an_image_where_they_are_pixels(
    tmp_path: Path, shift: float, recipe: str
) -> None:
    x = np.random.default_rng(0).random((20, 100), np.float32) + np.float32(shift)
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    np.savez_compressed(tmp_path / "x.npz", X=x, y=np.arange(20) % 2)
    for data in (tmp_path, tmp_path / "X.npy", tmp_path / "x.npz"):
        assert recipe_for(str(data), {})[0] == recipe


def test_a_converted_regression_trains_from_its_file_as_its_table_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_no_plots(monkeypatch)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 6)).astype(np.float32)
    price = (2e5 + 5e4 * (x @ rng.standard_normal(6))).round()
    columns = {f"c{i}": x[:, i] for i in range(6)}
    polars.DataFrame({**columns, "price": price}).write_parquet("houses.parquet")
    assert run("data", "convert", "houses.parquet", "houses", "--target", "price") == 0
    words = ("--epochs", "3", "--progress", "off")
    assert run("train", "houses.parquet", "--target", "price", "--name", "table", *words) == 0
    monkeypatch.setenv("NNBACKPROP_MAX_BYTES", "500000")  # an eighth of it is less than the inputs take
    assert isinstance(load("houses").train.inputs, MappedArray)
    capsys.readouterr()
    assert run("train", "houses", "--name", "file", *words[:-1], "plain") == 0
    assert "task: regression (" in said(capsys)
    table, file = (
        json.loads(Path(f"runs/{name}/summary.json").read_text(encoding="utf-8")) for name in ("table", "file")
    )
    assert table["test_r2"] > 0.9
    for key in ("test_loss", "test_rmse", "test_mae", "test_r2"):
        assert file[key] == table[key]
    of_table, of_file = (leaves(TrainedModel.open(name).params) for name in ("table", "file"))
    assert all(np.array_equal(a, b) for a, b in zip(of_table, of_file, strict=True))


def test_a_killed_run_resumes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNBACKPROP_MAX_BYTES", MAX_BYTES)
    write_pair(tmp_path)
    child_run.run_to_end(tmp_path, *words("whole", 2))
    with child_run.start(tmp_path, *words("killed", 2), waits=True) as process:
        child_run.wait_for_step(process, 20)
        process.kill()
        assert process.wait() == -9
    child_run.run_to_end(tmp_path, "--resume", "killed")
    child_run.assert_same_outcome(tmp_path / "runs" / "killed", tmp_path / "runs" / "whole")
