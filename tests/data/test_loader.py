"""Batches: nothing dropped, nothing twice, the same whether resident or streamed, on every backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from backends import Backend, Memory, tree_map
from backends.prefetch import prefetch
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader, chunk_rows, fetch
from nnbackprop.data.scaling import Scaling


def images(n: int = 10) -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(rng.integers(0, 256, (n, 6), dtype=np.uint8), np.arange(n, dtype=np.int32) % 3, ("a", "b", "c"))


@pytest.mark.parametrize(("n", "batch", "length"), [(10, 3, 4), (12, 3, 4), (7, 10, 8), (1000, 7, 16), (5, 1, 2)])
def test_cut_covers_every_row_once_in_order(n: int, batch: int, length: int) -> None:
    chunks = list(chunk_rows(np.arange(n), batch, length))
    assert np.concatenate([chunk.ravel() for chunk in chunks]).tolist() == list(range(n))
    assert all(chunk.shape[1] == batch for chunk in chunks[:-1])
    assert all(len(chunk) <= length for chunk in chunks)
    assert {len(chunk) for chunk in chunks} <= {1 << k for k in range(12)}


@pytest.mark.parametrize("resident", ["yes", "no"])
def test_a_step_is_handed_the_scaled_rows_it_asked_for(backend: Backend, resident: str) -> None:
    data, scaling = images(), Scaling(np.array(0.5), np.array(-3.0))
    loader = DataLoader.of(backend, data, scaling, "float64", resident)
    rows = np.array([[9, 0, 4], [1, 2, 3]])
    ((_, xs),) = loader.move([(None, loader.xs(rows))])
    for k in range(2):
        x, t = fetch(backend.xp, loader.data, tree_map(lambda a: a[k, ...], xs))  # noqa: B023
        assert np.array_equal(backend.to_numpy(x), data.inputs[rows[k]] * 0.5 - 3.0)
        assert np.array_equal(backend.to_numpy(t), data.targets[rows[k]])


def test_floats_are_scaled_once_and_bytes_on_the_way(backend: Backend) -> None:
    bytes_, scaling = images(), Scaling(np.array(0.5), np.array(-3.0))
    floats = Dataset(bytes_.inputs.astype("float32"), bytes_.targets, bytes_.classes)
    kept = [DataLoader.of(backend, data, scaling, "float64", "yes").data for data in (floats, bytes_)]
    assert np.array_equal(backend.to_numpy(kept[0]["inputs"]), bytes_.inputs * 0.5 - 3.0)
    assert "scale" not in kept[0]
    assert backend.to_numpy(kept[1]["inputs"]).dtype == np.uint8


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_batch_of_the_whole_set_is_not_gathered_and_in_the_sets_order(backend: Backend, dtype: str) -> None:
    data = images()
    data = Dataset(data.inputs.astype(dtype), data.targets, data.classes)
    loader = DataLoader.of(backend, data, Scaling(np.array(0.5), np.array(-3.0)), "float64", "yes")
    xs = loader.xs(np.arange(10)[::-1].reshape(1, -1).repeat(3, axis=0))
    assert {name: a.shape for name, a in xs.items()} == {"all": (3,)}
    x, t = fetch(backend.xp, loader.data, tree_map(lambda a: backend.asarray(a)[0, ...], xs))
    assert np.array_equal(backend.to_numpy(x), data.inputs * 0.5 - 3.0)
    assert np.array_equal(backend.to_numpy(t), data.targets)


def test_scaling_leaves_the_resident_set_as_it_is(backend: Backend) -> None:
    loader = DataLoader.of(backend, images(), Scaling(np.array(0.5), np.array(-3.0)), "float32", "yes")
    for _ in range(2):
        fetch(backend.xp, loader.data, {"all": None})
    assert np.array_equal(backend.to_numpy(loader.data["inputs"]), images().inputs)


@pytest.mark.parametrize(("free", "kept"), [(60 * 4, True), (60 * 4 - 1, False), (None, True)])
def test_a_set_stays_on_the_device_if_it_fits_a_quarter_of_what_is_free(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, free: int | None, kept: bool
) -> None:
    monkeypatch.setattr(backend, "memory", lambda: Memory(None, free))
    assert DataLoader.of(backend, images(), Scaling.identity(), "float32").resident is kept


def test_ahead_gives_the_same_items_and_runs_on_a_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        for i in range(20):
            threads.add(threading.current_thread())
            yield i

    assert list(prefetch(items())) == list(range(20))
    assert threading.current_thread() not in threads


def test_ahead_raises_where_the_items_did() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk went away")

    got = prefetch(items())
    assert next(got) == 1
    with pytest.raises(OSError, match="went away"):
        next(got)


def test_ahead_ends_its_thread_when_it_is_left_early() -> None:
    before = threading.active_count()
    got = prefetch(iter(range(10**9)))
    assert next(got) == 0
    got.close()
    assert threading.active_count() == before
