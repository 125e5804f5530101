"""Every kind of training step is captured on an emulated CUDA device, and agrees with NumPy's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import NumpyBackend
from nnbackprop import WeightPenalty
from nnbackprop.nn.layers import ACTIVATIONS, BatchNorm, Dense, Dropout, LayerNorm, ReLU
from nnbackprop.nn.losses import LOSSES
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import OPTIMIZERS, SGD, GradientClipping
from tests.support.small_runs import clouds, make_trainer, state_arrays


def steps() -> dict[str, dict[str, Any]]:
    """What `make_trainer` takes, by kind."""
    found: dict[str, dict[str, Any]] = {}
    found.update({name: {"optimizer": make(), "lr": 0.001} for name, make in OPTIMIZERS.items()})
    found.update({name: {"loss": make()} for name, make in LOSSES.items()})
    for name, make in ACTIVATIONS.items():
        found[name] = {"network": Sequential(Dense(8), make(), Dropout(0.2), Dense(3))}
    norms = Sequential(
        Dense(8, bias=False), BatchNorm(), ReLU(), Residual(Sequential(Dense(8), LayerNorm())), Dense(3)
    )
    return found | {
        "normalization and a residual block": {"network": norms},
        "l1, l2 and biases": {"penalty": WeightPenalty(l1=1e-4, l2=1e-3, biases=True)},
        "clipping by norm": {"optimizer": GradientClipping(SGD(), norm=0.1)},
        "clipping by value": {"optimizer": GradientClipping(SGD(), value=0.01)},
        "streamed data": {"resident": "no"},
    }


@pytest.mark.parametrize("kind", steps())
def test_a_step_of_each_kind_is_captured(gpu: Any, kind: str) -> None:
    """Where it is not, a warning says so, which is an error here."""
    given = {"batch_size": 2, "epochs": 3, "lr": 0.01, **steps()[kind]}
    ours, theirs = make_trainer(gpu, **given), make_trainer(NumpyBackend(), **given)
    for trainer in (ours, theirs):
        trainer.fit(clouds(70), clouds(20, seed=1))
    assert {graph.steps for graph in gpu.graphs} == {1, 16}
    for mine, expected in zip(state_arrays(ours), state_arrays(theirs), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-12)
