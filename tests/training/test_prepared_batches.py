"""`TrainStep.precompute`: samples and masks of several steps made at once are those that each step makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends import Backend, Tree, leaves, select, tree_map
from nnbackprop import MeanSquaredError, RngKey, Trainer
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.nn.augmentation import Augmentation
from nnbackprop.nn.layer_fusion import FusedSequential
from nnbackprop.nn.layers import Dense, Dropout, Flatten, Tanh
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.training import step as training_step
from nnbackprop.training.step import Microbatch
from tests.support.small_runs import make_trainer

RNG = np.random.default_rng(0)
STEPS, BATCH, SAMPLES = 3, 5, 17
IMAGES = RNG.integers(0, 256, (SAMPLES, 4, 3), np.uint8)
LABELS = RNG.integers(0, 3, SAMPLES, np.int32)
SETS = {
    "bytes": Dataset(IMAGES, LABELS, ("a", "b", "c"), weights=RNG.uniform(1, 2, SAMPLES)),
    "floats": Dataset(RNG.standard_normal((SAMPLES, 4, 3)), RNG.standard_normal((SAMPLES, 3))),
}
NETWORK = Sequential(
    Dropout(0.2),
    Flatten(),
    Dense(8),
    Tanh(),
    Residual(Dropout(0.3), Dense(8), Sequential(Tanh(), Dropout(0.4))),
    Dense(3),
)


def prepared_and_not(
    backend: Backend, name: str, rows: np.ndarray | None = None, resident: str = "yes", **options: Any
) -> tuple[Trainer, Tree, Tree, Tree]:
    """A trainer that has begun, its data, and the batches of the rows, prepared and as they are."""
    data, loss = SETS[name], {} if SETS[name].classes else {"loss": MeanSquaredError()}
    trainer = make_trainer(backend, network=NETWORK, **loss, **options)
    trainer.initialize(data)
    dtype = backend.to_numpy(leaves(trainer.params)[0]).dtype.name
    device_data = DeviceDataset(backend, data, trainer.scaling, dtype, resident)
    rows = RNG.permutation(SAMPLES)[: STEPS * BATCH].reshape(STEPS, BATCH) if rows is None else rows
    scalars = {n: np.full(STEPS, v, dtype) for n, v in trainer.optimizer.step_scalars(1, 0.1).items()}
    host = {**device_data.batches(rows), "step": np.arange(4, 4 + STEPS, dtype=np.int32), "scalars": scalars}
    batches = tree_map(backend.asarray, host)
    return trainer, device_data.arrays, trainer.train_step.precompute(device_data.arrays, batches), batches


@pytest.mark.parametrize("network", [Sequential, FusedSequential])
@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("resident", ["yes", "no"])
@pytest.mark.parametrize("name", SETS)
def test_steps_on_prepared_batches_have_the_same_bits(
    backend: Backend, name: str, resident: str, microbatches: int, network: type[Sequential]
) -> None:
    trainer, data, _, batches = prepared_and_not(backend, name, resident=resident)
    step = replace(
        trainer.train_step,
        objective=replace(trainer.train_step.objective, network=network(*NETWORK.layers)),
        n_microbatches=microbatches,
    )
    prepared = step.precompute(data, batches)
    assert set(prepared["masks"]) == {"0", "4.0", "4.2.1"}
    results = []
    for given in (prepared, batches):
        state = tree_map(lambda a: backend.asarray(backend.to_numpy(a)), trainer.state)
        state = Backend.scan(backend, step, state, data, given, step.with_gradient_norms)
        results.append([backend.to_numpy(a) for a in leaves(state)])
    for ahead, in_steps in zip(*results, strict=True):
        assert ahead.dtype == in_steps.dtype
        np.testing.assert_array_equal(ahead, in_steps)


@pytest.mark.parametrize("kind", ["numpy", "torch"])  # PyTorch captures graphs, for which this is made
def test_augmented_images_made_ahead_are_those_of_each_step(kind: str) -> None:
    pytest.importorskip(kind)
    augment = Augmentation("elastic 2 5", "rotate 20", "noise 0.1", "cutout 2")
    trainer, data, prepared, batches = prepared_and_not(select(kind), "bytes", augment=augment)
    for k in range(STEPS):
        ahead, in_step = (
            trainer.train_step.step_inputs(Microbatch(0, data, tree_map(lambda a: a[k, ...], b), None))  # noqa: B023
            for b in (prepared, batches)
        )
        x = trainer.train_step.objective.network.precompute(trainer.backend.xp, in_step.x, in_step.key)[0]
        np.testing.assert_allclose(np.asarray(ahead.x), np.asarray(x), atol=1e-12)


def test_masks_of_several_steps_are_those_of_each(backend: Backend) -> None:
    xp, steps = backend.xp, np.array([7, 1, 8], np.int32)
    at_once = RngKey(2, backend.asarray(steps), first_row=3, path="1").dropout_mask(
        xp, (12, 3, 3), 0.4, xp.float32
    )
    for k, step in enumerate(steps):
        mask = RngKey(2, backend.asarray(step), first_row=3, path="1").dropout_mask(xp, (4, 3, 3), 0.4, xp.float32)
        np.testing.assert_array_equal(backend.to_numpy(at_once)[4 * k : 4 * k + 4], backend.to_numpy(mask))


def test_masks_of_mixed_precision_have_its_dtype() -> None:
    _, _, prepared, _ = prepared_and_not(make_trainer().backend, "bytes", dtype="float16")
    assert {a.dtype for a in prepared["masks"].values()} == {np.dtype(np.float16)}
    assert prepared["precomputed_inputs"].dtype == np.float32


def test_large_batches_and_whole_sets_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = make_trainer().backend
    _, _, prepared, batches = prepared_and_not(backend, "bytes", np.arange(SAMPLES)[None, :].repeat(STEPS, axis=0))
    assert prepared is batches
    assert "all" in batches
    for limit, is_prepared in ((BATCH * (12 + 12 + 8 + 8), True), (BATCH * (12 + 12 + 8 + 8) - 1, False)):
        monkeypatch.setattr(training_step, "MAX_PRECOMPUTED_SIZE", limit)
        _, _, prepared, batches = prepared_and_not(backend, "bytes")
        assert (prepared is not batches) == is_prepared
