"""A number that ceases to be finite is traced to its step, its layer and its kind, and to no other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from backends import Backend, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import DivergedError
from nnbackprop.nn.initializers import Zeros
from nnbackprop.nn.layers import Dense, Tanh
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD
from nnbackprop.training.trainer import Trainer


@dataclass(frozen=True)
class FaultyTanh(Tanh):
    """Tanh that makes a NaN, forward or backward, of the one input that is exactly 7."""

    backward_too: bool = False

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
        y, _ = super().forward(xp, params, x, key)
        poison = xp.where(x == 7.0, xp.full_like(x, float("nan")), xp.zeros_like(x))
        return (y, (y, poison)) if self.backward_too else (y + poison, (y, xp.zeros_like(x)))

    def vjp(self, xp: Any, cache: Any, dy: Any) -> Any:
        y, poison = cache
        return super().vjp(xp, y, dy) + poison


def data(faulty: int) -> Dataset:
    """60 samples of which one is 7."""
    inputs = np.random.default_rng(0).standard_normal((60, 3))
    inputs[faulty] = 7.0
    return Dataset(inputs, np.arange(60, dtype=np.int32) % 2, ("a", "b"))


@pytest.mark.parametrize("faulty", [0, 29, 30, 59])
def test_a_fault_forward_is_named_by_step_and_layer(backend: Backend, faulty: int) -> None:
    """Unshuffled batches of 10: sample i is in step i // 10 + 1."""
    network = Sequential(FaultyTanh(), Dense(2))
    trainer = Trainer(
        network, SoftmaxCrossEntropy(), SGD(), 0.1, backend=backend, dtype="float64", batch_size=10, shuffle=False
    )
    with pytest.raises(DivergedError, match=rf"Step {faulty // 10 + 1}: the output of layer faultytanh1"):
        trainer.fit(data(faulty))


def test_a_fault_backward_is_named_by_the_gradient_it_reaches() -> None:
    """The second layer's tanh poisons what goes back into the first, whose input is made 7 by its weights."""
    network = Sequential(Dense(3), FaultyTanh(backward_too=True), Dense(2))
    trainer = Trainer(
        network,
        SoftmaxCrossEntropy(),
        SGD(),
        1e-9,
        backend=select("numpy"),
        dtype="float64",
        batch_size=10,
        shuffle=False,
    )
    trainer.build(data(4))
    trainer.state["params"][0]["W"][...] = np.eye(3)
    with pytest.raises(DivergedError, match=r"Step 1: the gradient of W of layer dense1"):
        trainer.fit(data(4))


def test_the_fault_is_found_epochs_after_the_last_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that explodes in the third epoch, with a snapshot taken only before the first step."""
    monkeypatch.setattr("nnbackprop.diagnostics.nan_tracing.SHARE", 1e12)
    network = Sequential(Dense(2))
    trainer = Trainer(
        network,
        SoftmaxCrossEntropy(),
        SGD(),
        lambda step: math.inf if step == 14 else 0.1,
        backend=select("numpy"),
        dtype="float64",
        batch_size=10,
    )
    with pytest.raises(DivergedError, match=r"Step 15: W of layer dense1 is not finite after the update"):
        trainer.fit(data(4))
    assert trainer.runner.snapshot.at == 0


def test_a_gradient_whose_norm_overflows_is_named() -> None:
    """Inputs of 1e30 in float32: dW is finite, its square is not."""
    large = Dataset(np.full((20, 1), 1e30, np.float32), np.arange(20, dtype=np.int32) % 2, ("a", "b"))
    trainer = Trainer(
        Sequential(Dense(2, weights=Zeros())),
        SoftmaxCrossEntropy(),
        SGD(),
        1e-30,
        backend=select("numpy"),
        batch_size=3,
    )
    with pytest.raises(
        DivergedError, match=r"Step 1: the norm of the gradient of W of layer dense1 is not finite"
    ):
        trainer.fit(large)
