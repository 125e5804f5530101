"""Batches: nothing dropped, nothing twice, the same whether resident or streamed, on every backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends import Backend, Memory, tree_map
from nnbackprop.data.batch import batch_size, get_batch, microbatch
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.device_dataset import DeviceDataset, chunk_indices
from nnbackprop.data.scaling import Scaling

SCALING = Scaling(np.array(0.5), np.array(-3.0))


def images(n: int = 10, shape: tuple[int, ...] = (6,), weighted: bool = False) -> Dataset:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    weights = rng.random(n) if weighted else None
    return Dataset(inputs, np.arange(n, dtype=np.int32) % 3, ("a", "b", "c"), weights=weights)


def regression(n: int = 10) -> Dataset:
    rng = np.random.default_rng(1)
    return Dataset(rng.random((n, 4), np.float32), rng.random((n, 2)), weights=rng.random(n))


def check_batch(batch: tuple, data: Dataset, rows: np.ndarray, backend: Backend) -> None:
    x, t, w = batch
    assert np.array_equal(backend.to_numpy(x), data.inputs[rows].astype("float64") * 0.5 - 3.0)
    assert np.array_equal(backend.to_numpy(t), data.targets[rows])
    assert backend.to_numpy(t).dtype == data.targets.dtype
    if data.weights is None:
        assert w is None
    else:
        assert np.array_equal(backend.to_numpy(w), data.weights[rows])


@pytest.mark.parametrize(("n", "batch", "length"), [(10, 3, 4), (12, 3, 4), (7, 10, 8), (1000, 7, 16), (5, 1, 2)])
def test_chunks_cover_every_row_once_in_order(n: int, batch: int, length: int) -> None:
    chunks = list(chunk_indices(np.arange(n), batch, length))
    assert np.concatenate([chunk.ravel() for chunk in chunks]).tolist() == list(range(n))
    assert all(chunk.shape[1] == batch for chunk in chunks[:-1])
    assert all(len(chunk) <= length for chunk in chunks)
    assert {len(chunk) for chunk in chunks} <= {1 << k for k in range(12)}


@pytest.mark.parametrize("resident", ["yes", "no"])
@pytest.mark.parametrize(
    "data",
    [images(), images(shape=(2, 3, 4), weighted=True), regression()],
    ids=["labels", "weighted-images", "regression"],
)
def test_batches_hold_the_scaled_rows_asked_for(backend: Backend, resident: str, data: Dataset) -> None:
    device_data = DeviceDataset(backend, data, SCALING, "float64", resident)
    rows = np.array([[9, 0, 4], [1, 2, 3]])
    ((_, xs),) = device_data.to_device([(None, device_data.batches(rows))])
    for k in range(2):
        x = tree_map(lambda a: a[k, ...], xs)  # noqa: B023
        assert batch_size(device_data.arrays, x) == 3
        check_batch(get_batch(backend.xp, device_data.arrays, x), data, rows[k], backend)
        part = microbatch(device_data.arrays, x, 1, 3)
        assert batch_size(*part) == 2
        check_batch(get_batch(backend.xp, *part), data, rows[k, 1:3], backend)


@pytest.mark.parametrize("data", [images(weighted=True), regression()], ids=["weighted", "regression"])
def test_targets_and_weights_that_are_numbers_have_the_dtype_of_the_parameters(
    backend: Backend, data: Dataset
) -> None:
    for resident in ("yes", "no"):
        device_data = DeviceDataset(backend, data, SCALING, "float32", resident)
        xs = tree_map(lambda a: backend.asarray(a)[0, ...], device_data.batches(np.array([[1, 2]])))
        _, t, w = (backend.to_numpy(array) for array in get_batch(backend.xp, device_data.arrays, xs))
        assert (t.dtype, w.dtype) == (np.int32 if data.classes else np.float32, np.float32)


def test_floats_are_scaled_once_and_bytes_in_each_step(backend: Backend) -> None:
    bytes_ = images()
    floats = Dataset(bytes_.inputs.astype("float32"), bytes_.targets, bytes_.classes)
    kept = [DeviceDataset(backend, data, SCALING, "float64", "yes").arrays for data in (floats, bytes_)]
    assert np.array_equal(backend.to_numpy(kept[0]["inputs"]), bytes_.inputs * 0.5 - 3.0)
    assert "scale" not in kept[0]
    assert backend.to_numpy(kept[1]["inputs"]).dtype == np.uint8


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_a_batch_of_the_whole_set_is_not_gathered_and_in_the_order_of_the_set(
    backend: Backend, dtype: str
) -> None:
    data = images(weighted=True)
    data = replace(data, inputs=data.inputs.astype(dtype))
    device_data = DeviceDataset(backend, data, SCALING, "float64", "yes")
    xs = device_data.batches(np.arange(10)[::-1].reshape(1, -1).repeat(3, axis=0))
    assert {name: a.shape for name, a in xs.items()} == {"all": (3,)}
    x = tree_map(lambda a: backend.asarray(a)[0, ...], xs)
    assert batch_size(device_data.arrays, x) == 10
    check_batch(get_batch(backend.xp, device_data.arrays, x), data, np.arange(10), backend)
    part = get_batch(backend.xp, *microbatch(device_data.arrays, x, 4, 7))
    check_batch(part, data, np.arange(4, 7), backend)


def test_scaling_leaves_the_resident_set_as_it_is(backend: Backend) -> None:
    device_data = DeviceDataset(backend, images(), SCALING, "float32", "yes")
    for _ in range(2):
        get_batch(backend.xp, device_data.arrays, {"all": None})
    assert np.array_equal(backend.to_numpy(device_data.arrays["inputs"]), images().inputs)


@pytest.mark.parametrize(("free", "kept"), [(60 * 4, True), (60 * 4 - 1, False), (None, True)])
def test_a_set_stays_on_the_device_if_it_fits_a_quarter_of_what_is_free(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, free: int | None, kept: bool
) -> None:
    monkeypatch.setattr(backend, "memory", lambda: Memory(None, free))
    assert DeviceDataset(backend, images(), Scaling.identity(), "float32").resident is kept
