"""Batches in shards, in one process: `tests/distributed/test_processes.py` has several."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb
from backends import Backend, leaves, select
from nnbackprop._shared_memory import FOLDER, shared_memory
from nnbackprop.distributed.communicator import SingleProcess
from nnbackprop.distributed.sharding import ShardedTraining
from nnbackprop.errors import UsageError
from nnbackprop.training.flat_layout import FlatLayout
from nnbackprop.training.lockstep import Exchange, in_lockstep
from tests.support import sharded_runs
from tests.support.gradients import distance


@pytest.mark.parametrize("resident", ["yes", "no"])
def test_shards_come_to_the_whole_batch_but_for_rounding(backend: Backend, resident: str) -> None:
    """Dropout masks, weights of samples, and a smaller last batch."""
    data = sharded_runs.dataset(weighted=True)
    options = {"backend": backend, "dtype": "float64", "resident": resident, "epochs": 1}
    whole, sharded = (sharded_runs.trainer("numpy", **options) for _ in range(2))
    sharded.use_sharding(ShardedTraining(4))
    rows, others = (made.fit(data, validation=data) for made in (sharded, whole))
    for layer, other in zip(sharded.host_params(), whole.host_params(), strict=True):
        for name in layer:
            np.testing.assert_allclose(layer[name], other[name], rtol=1e-9, atol=1e-12)
    for row, other_row in zip(rows, others, strict=True):
        assert row.train.loss == pytest.approx(other_row.train.loss, rel=1e-9)
        assert row.validation is not None
        assert other_row.validation is not None
        assert row.validation.accuracy == pytest.approx(other_row.validation.accuracy, rel=1e-9)


def test_chunks_of_shards_have_the_steps_of_one_shard_alone() -> None:
    """A tenth of a second for as many processes as shards, at any number of them."""
    alone, whole, sharded = (
        nb.Trainer(
            nb.Sequential(nb.Dense(10_000), nb.Dense(3)),
            nb.SoftmaxCrossEntropy(),
            nb.SGD(),
            0.01,
            backend=select("numpy"),
            batch_size=size,
            epochs=1,
        )
        for size in (30, 120, 120)
    )
    sharded.use_sharding(ShardedTraining(4))
    for made in (alone, whole, sharded):
        made.fit(sharded_runs.dataset())
    assert (
        sharded.batch_schedule.steps_per_chunk
        == alone.batch_schedule.steps_per_chunk
        == 4 * whole.batch_schedule.steps_per_chunk
    )


class OnDevice(SingleProcess):
    """Shards are added up where they are, as NCCL needs them."""

    def reduces_on_device(self, backend: Backend) -> bool:
        return True


def test_sums_on_the_device_have_the_bits_of_sums_on_the_host(backend: Backend) -> None:
    """Weights of samples, batch normalization, and shards without samples: the last batch of 40 has 3."""
    data, digests = sharded_runs.dataset(weighted=True), set()
    for communicator in (SingleProcess(), OnDevice()):
        made = sharded_runs.trainer("numpy", norm=True, backend=backend, batch_size=40)
        made.use_sharding(ShardedTraining(4, communicator))
        made.fit(data)
        digests.add(sharded_runs.digest(made))
    assert len(digests) == 1


def normalized(backend: Backend, **options: Any) -> nb.Trainer:
    """Batch normalization within a residual block too, and before any layer with weights."""
    block = nb.Residual(nb.Dense(12, bias=False), nb.BatchNorm(0.3))
    network = nb.Sequential(nb.BatchNorm(), block, nb.Dense(3))
    settings = {"backend": backend, "dtype": "float64", "epochs": 1, **options}
    return nb.Trainer(network, nb.SoftmaxCrossEntropy(), nb.SGD(), 0.1, **settings)


def test_synchronized_statistics_are_those_of_the_whole_batch(backend: Backend) -> None:
    """To rounding, running statistics and weights; with those of each shard the weights are others.

    The last batch of 200 has 3 samples: three of the four shards are empty.
    """
    data = sharded_runs.dataset()
    whole, synchronized, by_shard = (normalized(backend, batch_size=200) for _ in range(3))
    synchronized.use_sharding(ShardedTraining(4, sync_batchnorm=True))
    by_shard.use_sharding(ShardedTraining(4))
    rows = [made.fit(data, validation=data)[-1] for made in (whole, synchronized, by_shard)]
    wanted, found, others = (
        np.concatenate([a.reshape(-1) for a in leaves(made.host_params())])
        for made in (whole, synchronized, by_shard)
    )
    assert distance(found, wanted) < 1e-12
    assert distance(others, wanted) > 1e-3
    assert rows[1].train.loss == pytest.approx(rows[0].train.loss, rel=1e-12)


def test_weights_of_samples_do_not_go_with_synchronized_statistics() -> None:
    made = sharded_runs.trainer("numpy", norm=True)
    made.use_sharding(ShardedTraining(4, sync_batchnorm=True))
    with pytest.raises(UsageError, match="these have weights"):
        made.fit(sharded_runs.dataset(weighted=True))


def test_no_flat_array_outlives_what_is_read_of_it(backend: Backend) -> None:
    """Between machines each step has another: they would fill the memory."""
    result = {"grads": np.zeros((2, 3)), "buffers": (), "sums": {"loss": np.zeros(())}}
    layout, flat = FlatLayout(result), np.arange(7.0)
    kept = weakref.ref(flat)
    grads = backend.to_numpy(layout.read(flat, backend)["grads"]).tolist()
    layout.write(flat, result, select("numpy"), 1.0)
    del flat
    gc.collect()
    assert grads == [[0, 1, 2], [3, 4, 5]]
    assert kept() is None


def test_functions_in_lockstep_run_one_at_a_time_and_exchange_in_their_order() -> None:
    running, most = [0], [0]

    def function(i: int) -> Any:
        def run(exchange: Exchange) -> list[Any]:
            found = []
            for round_ in range(10):
                running[0] += 1
                time.sleep(1e-4)  # another would come in between
                most[0] = max(most[0], running[0])
                running[0] -= 1
                found.append(exchange(i, round_))
            return found

        return run

    found = in_lockstep([function(i) for i in range(4)], list)
    assert found == [[[(i, round_) for i in range(4)] for round_ in range(10)]] * 4
    assert most == [1]


def test_a_function_in_lockstep_that_fails_ends_all() -> None:
    """With its own error, not with that of those who waited for it."""

    def fails(exchange: Exchange) -> None:
        exchange(1)
        raise MemoryError("of one")

    def waits(exchange: Exchange) -> None:
        exchange(1)
        exchange(2)

    with pytest.raises(MemoryError, match="of one"):
        in_lockstep([waits, fails, waits], len)
    with pytest.raises(ZeroDivisionError):
        in_lockstep([waits, waits], lambda values: 1 / 0)


@pytest.mark.skipif(sys.platform != "linux", reason="memory as files is Linux's")
def test_shared_memory_is_zeros_and_leaves_no_file_and_none_where_there_is_no_room() -> None:
    before = set(Path(FOLDER).iterdir())
    memory = shared_memory(10_000, SingleProcess())
    assert memory is not None
    assert bytes(memory) == bytes(10_000)
    assert shared_memory(2**50, SingleProcess()) is None
    assert not {path.name for path in set(Path(FOLDER).iterdir()) - before if "nnbackprop" in path.name}
