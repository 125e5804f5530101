"""Convolutions, batch normalization, augmentation and averaged weights in everything a run can do."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Backend, BackendError, leaves, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.replay import replay
from nnbackprop.nn.augmentation import Augmentation
from nnbackprop.nn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.mixed_precision import MixedPrecision
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import Adam, ExponentialMovingAverage
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.step import Objective
from nnbackprop.training.trainer import Trainer
from tests.stress import child_run
from tests.support import mpi
from tests.support.commands import draw_no_plots, run
from tests.support.small_runs import assert_close_state, make_trainer

SIZE = 10
AUGMENT = ("elastic 2 6", "rotate 20 or shear 20", "scale 10", "shift 1.5", "flip", "noise 0.1", "cutout 3")
LAYERS = ("conv 4 3x3", "batchnorm", "relu", "maxpool 2", "flatten", "dropout 0.2", "dense")


def squares(n: int = 46) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright square whose place tells the class, (n, 10, 10) bytes, and labels."""
    rng = np.random.default_rng(0)
    x, t = rng.integers(0, 60, (n, SIZE, SIZE)), np.arange(n) % 3
    for image, label in zip(x, t, strict=True):
        image[2 + 2 * label : 5 + 2 * label, 3:7] += 180
    return x.astype(np.uint8), t


def dataset(n: int = 46) -> Dataset:
    x, t = squares(n)
    return Dataset(x[..., np.newaxis] / 255, t.astype(np.int32), ("a", "b", "c"))


def trainer(*layers: Any, backend: Backend | None = None, **options: Any) -> Trainer:
    network = Sequential(Conv2D(4, 3), *layers, ReLU(), MaxPool2D(), Flatten(), Dropout(0.2), Dense(3))
    return make_trainer(backend, network=network, **{"epochs": 2, "lr": 0.01, **options})


def train_words(name: str, *more: str) -> tuple[str, ...]:
    flags = ("--data=squares.npz", "--scale=unit", "--test-fraction=0", "--validation=0.2", "--batch-size=7")
    flags += ("--optimizer=adam", "--lr=0.01", "--ema=0.9", "--backend=numpy", "--save-every=3", "--epochs=3")
    lists = ("--layers", *LAYERS, "--augment", *AUGMENT, "--augment-half-angle", "1")
    return ("mnist", *flags, "--progress=off", f"--name={name}", *more, *lists)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and `runs/whole`, trained to its end."""
    folder = tmp_path_factory.mktemp("images")
    x, t = squares()
    np.savez(folder / "squares.npz", x=x, y=t)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw_no_plots(patch)
        assert run("train", *train_words("whole")) == 0
    return folder


def test_a_replay_of_an_augmented_run_is_bit_identical(whole: Path) -> None:
    found = replay(str(whole / "runs/whole"), {}, whole)
    assert found.exact
    assert {tensor.name for tensor in found.tensors} >= {"conv2d1.W", "batchnorm1.mean", "batchnorm1.var"}
    config = whole / "runs/whole/config.toml"
    text = config.read_text(encoding="utf-8")
    try:  # what a replay does depends on the augmentation
        config.write_text(text.replace("shift 1.5", "shift 1.6"), encoding="utf-8")
        with pytest.raises(OSError, match=r"has augment = .*shift 1\.6"):
            replay(str(whole / "runs/whole"), {}, whole)
    finally:
        config.write_text(text, encoding="utf-8")


def test_a_resume_within_an_epoch_of_an_augmented_run_is_bit_identical(whole: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(whole / "runs/whole", part)
    older = sorted((part / "checkpoints").glob("step-*"))[0]
    assert load(older).meta["progress"]["samples"] > 0  # within an epoch
    assert (
        load(older).meta["progress"]["step"] < load(part / "checkpoints/last.safetensors").meta["progress"]["step"]
    )
    shutil.move(older, part / "checkpoints" / "last.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(whole)
        draw_no_plots(patch)
        assert run("train", "--resume", str(part), "--progress", "off") == 0
    child_run.assert_same_outcome(part, whole / "runs/whole")


def test_another_library_replays_an_augmented_run_in_float64(whole: Path) -> None:
    """Every random number is the same, so that 15 steps of Adam part by roundings alone."""
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(whole)
        draw_no_plots(patch)
        assert run("train", *train_words("double", "--dtype=float64")) == 0
    found = replay(str(whole / "runs/double"), {"backend": "torch"}, whole)
    assert found.passed
    assert max(tensor.relative for tensor in found.tensors) <= 1e-12


def test_parity_of_an_augmented_recipe_passes(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.chdir(whole)
    assert run("parity", "runs/whole/config.toml", "--backends", "numpy,torch", "--steps", "3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    compared = {row["layer"] for part in found["comparisons"] for row in part["tensors"]}
    assert {"conv2d1", "batchnorm1", "maxpool2d1"} <= compared


def test_two_processes_have_the_bits_of_one_with_augmentation_and_averaged_weights(whole: Path) -> None:
    mpi.mpiexec()  # skips without it
    words = ("--shards=2", "--threads=1")
    for name, processes in (("one", 1), ("two", 2)):
        with child_run.start(whole, *train_words(name, *words), processes=processes) as process:
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    child_run.assert_same_outcome(whole / "runs/two", whole / "runs/one")
    rows = RunDir(whole / "runs/two").read_metrics()
    validation = [np.array(row["confusion"]) for row in rows]
    assert [c.sum() for c in validation] == [9] * 3  # a fifth of 46 samples
    assert [float(np.trace(c)) / 9 for c in validation] == [row["validation_accuracy"] for row in rows]


@pytest.mark.parametrize("augment", [None, Augmentation(*AUGMENT)], ids=["plain", "augmented"])
@pytest.mark.parametrize("microbatches", [2, 5])
def test_microbatches_of_images_have_the_gradients_of_the_batch(
    augment: Augmentation | None, microbatches: int
) -> None:
    """But for the order in which rows are summed: 1e-12 of float64."""
    one, parts = trainer(augment=augment), trainer(augment=augment)
    parts.initialize(dataset())
    parts.train_step = replace(parts.train_step, n_microbatches=microbatches)
    for made in (one, parts):
        made.fit(dataset())
    assert_close_state(one, parts)


def test_batch_normalization_in_microbatches_is_that_of_each_one_of_channels() -> None:
    """The running mean after a step without an update: a tenth of the way to each microbatch's, in their order."""
    made = trainer(BatchNorm(), batch_size=16, epochs=1, lr=1e-300, shuffle=False)
    data = dataset(16)
    made.initialize(data)
    made.train_step = replace(made.train_step, n_microbatches=2)
    p = tree_map(np.array, made.params[0])
    z, _ = made.network.layers[0].forward(made.backend.xp, p, data.inputs, None)
    made.fit(data)
    mean, var = np.zeros(4), np.ones(4)
    for half in (z[:8], z[8:]):
        mean, var = (
            0.9 * mean + 0.1 * half.mean(axis=(0, 1, 2)),
            0.9 * var + 0.1 * half.var(axis=(0, 1, 2), ddof=1),
        )
    np.testing.assert_allclose(made.params[1]["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(made.params[1]["var"], var, rtol=1e-12)


DIGITS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


@pytest.fixture(params=["numpy float16", "torch bfloat16", "cupy float16"])
def half(request: pytest.FixtureRequest) -> tuple[Backend, str]:
    """A library and a narrow dtype that it has."""
    name, dtype = request.param.split()
    try:
        return select(name), dtype
    except BackendError as error:
        pytest.skip(f"{name}: {error.reason}")


def test_mixed_precision_of_convolutions_has_the_gradients_of_float64_to_its_digits(
    half: tuple[Backend, str],
) -> None:
    """Running statistics stay in float32."""
    library, dtype = half
    network = Sequential(
        *(Conv2D(6, 3, padding="same", bias=False), BatchNorm(), ReLU(), MaxPool2D()),
        *(Residual(Conv2D(6, 3, padding="same", bias=False), BatchNorm(), ReLU()), Flatten(), Dense(3)),
    )
    data, key = dataset(), RngKey(3, np.int32(7))
    exact_params = network.init(data.sample_shape, 1, "float64")
    numpy = select("numpy")

    def grads(backend: Backend, of: Sequential, wide: str) -> tuple[Any, Any]:
        params = tree_map(lambda a: backend.asarray(a.astype(wide)), exact_params)
        x, t = backend.asarray(data.inputs.astype(wide)), backend.asarray(data.targets)
        k = replace(key, step=backend.asarray(np.int32(7)))
        found = Objective(of, SoftmaxCrossEntropy()).value_and_grad(backend.xp, params, x, t, k)
        buffers = of.new_buffers(backend.xp, params, found.caches)
        return tree_map(backend.to_numpy, found.grads), tree_map(backend.to_numpy, buffers)

    exact, statistics = grads(numpy, network, "float64")
    found, found_statistics = grads(library, MixedPrecision(network, dtype, library), "float32")
    for g, e in zip(leaves(found), leaves(exact), strict=True):
        assert g.dtype == np.float32
        assert 0 < np.linalg.norm(g - e) <= 32 * DIGITS[dtype] * np.linalg.norm(e)
    for a, b in zip(leaves(found_statistics), leaves(statistics), strict=True):
        assert a.dtype == np.float32
        assert np.linalg.norm(a - b) <= 4 * DIGITS[dtype] * np.linalg.norm(b)


@pytest.mark.parametrize(("name", "dtype"), [("numpy", "float16"), ("torch", "bfloat16")])
def test_mixed_precision_learns_augmented_images(name: str, dtype: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    augment = Augmentation("shift 0.5", "noise 0.1")
    options: dict[str, Any] = {"epochs": 12, "dtype": dtype, "optimizer": ExponentialMovingAverage(Adam(), 0.9)}
    made = trainer(BatchNorm(), backend=select(name), augment=augment, **options)
    made.fit(dataset(96))
    assert made.evaluate(dataset(96)).accuracy >= 0.95
