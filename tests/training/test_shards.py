"""Batches in shards, in one process: `tests/runs/test_processes.py` has several."""

from __future__ import annotations

import numpy as np
import pytest

from backends import Backend
from nnbackprop.distributed.sharding import ShardedTraining
from tests.support import sharded_runs


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
