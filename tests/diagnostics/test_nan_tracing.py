"""A number that becomes NaN or infinite is traced to its step, its layer and its kind, and to no other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from backends import Backend, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.monitor import RunHistory, check_history
from nnbackprop.diagnostics.nan_tracing import NanOrigin, trace_nan
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.nn.initializers import Zeros
from nnbackprop.nn.layers import Dense, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Residual, Sequential
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


def traced(*layers: Any, dataset: Dataset, lr: Any = 0.1, prepare: Any = None, **settings: Any) -> NanOrigin:
    """Where a run that diverges is said to have done so."""
    given = {"backend": select("numpy"), "dtype": "float64", "batch_size": 10, "shuffle": False, **settings}
    trainer = Trainer(Sequential(*layers), SoftmaxCrossEntropy(), SGD(), lr, **given)
    trainer.initialize(dataset)
    if prepare:
        prepare(trainer)
    with pytest.raises(DivergedError) as error:
        trainer.fit(dataset)
    found = trace_nan(trainer, error.value)
    assert trace_nan(trainer, error.value) == found
    return found


@pytest.mark.parametrize("faulty", [0, 29, 30, 59])
def test_a_fault_forward_is_traced_to_step_and_layer(backend: Backend, faulty: int) -> None:
    """Unshuffled batches of 10: sample i is in step i // 10 + 1."""
    found = traced(FaultyTanh(), Dense(2), dataset=data(faulty), backend=backend)
    assert (found.step, found.kind, found.layer, found.lr) == (faulty // 10 + 1, "output", "faultytanh1", 0.1)
    assert f"Step {faulty // 10 + 1}: the output of layer faultytanh1 is NaN or infinite." in str(found.error())


def test_a_fault_in_a_nested_layer_has_its_dotted_name() -> None:
    found = traced(Residual(Sequential(FaultyTanh())), Dense(2), dataset=data(29))
    assert (found.step, found.layer) == (3, "residual1.sequential1.faultytanh1")


def test_a_fault_backward_is_traced_to_the_gradient_it_reaches() -> None:
    """The second layer's tanh poisons what goes back into the first, whose input is made 7 by its weights."""

    def prepare(trainer: Trainer) -> None:
        trainer.state["params"][0]["W"][...] = np.eye(3)

    layers = Dense(3), FaultyTanh(backward_too=True), Dense(2)
    found = traced(*layers, dataset=data(4), lr=1e-9, prepare=prepare)
    assert found.text == "Step 1: the gradient of W of layer dense1 is NaN or infinite."


def test_the_fault_is_found_steps_after_the_last_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that explodes within the third epoch, with snapshots taken only where epochs begin."""
    monkeypatch.setattr("nnbackprop.training.snapshot.MAX_COPY_FRACTION", 1e-12)
    found = traced(Dense(2), dataset=data(4), lr=lambda step: math.inf if step == 14 else 0.1, shuffle=True)
    assert found.text == "Step 15: W of layer dense1 after the update is NaN or infinite."
    assert found.lr is None


def test_a_trainer_whose_state_was_loaded_has_nothing_to_trace() -> None:
    layers = Sequential(Dense(2))
    trainer = Trainer(layers, SoftmaxCrossEntropy(), SGD(), lambda step: math.inf, backend=select("numpy"))
    trainer.initialize(data(4))
    kept = trainer.state_dict()
    with pytest.raises(DivergedError) as error:
        trainer.fit(data(4))
    assert trace_nan(trainer, error.value).kind == "parameters"
    trainer.load_state_dict(kept)
    with pytest.raises(UsageError, match="Call trace_nan where fit raised, before load_state_dict"):
        trace_nan(trainer, error.value)


def test_a_gradient_whose_norm_overflows_is_traced() -> None:
    """Inputs of 1e30 in float32: dW is finite, its square is not."""
    large = Dataset(np.full((20, 1), 1e30, np.float32), np.arange(20, dtype=np.int32) % 2, ("a", "b"))
    found = traced(Dense(2, weight_init=Zeros()), dataset=large, lr=1e-30, dtype="float32", batch_size=3)
    assert found.text == "Step 1: the norm of the gradient of W of layer dense1 is NaN or infinite."


@dataclass(frozen=True)
class ThreeRows(FaultyTanh):
    """Finds no memory for more than 3 rows."""

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
        if x.shape[0] > 3:
            raise MemoryError
        return super().forward(xp, params, x, key)


def test_a_run_in_microbatches_is_traced_in_microbatches() -> None:
    found = traced(ThreeRows(), Dense(2), dataset=data(29))
    assert (found.step, found.kind, found.layer) == (3, "output", "threerows1")


@pytest.mark.parametrize(("lr", "advice"), [(0.5, "lr=0.05"), (1e30, "lr=0.01")])
def test_the_advice_is_a_rate_that_people_use(lr: float, advice: str) -> None:
    assert advice in str(NanOrigin(3, "loss", "Step 3: the loss is NaN or infinite.", lr=lr).error())


def test_targets_beyond_float16_are_no_matter_of_the_rate() -> None:
    """dJ/dy is 2 (y - t) / n, near -600, and times the loss scale of 1024 beyond 65504."""
    inputs = np.random.default_rng(0).standard_normal((10, 3))
    dataset = Dataset(inputs, np.full((10, 1), 3000.0))
    trainer = Trainer(
        Sequential(Dense(1)), MeanSquaredError(), SGD(), 1e-9, backend=select("numpy"), dtype="float16"
    )
    with np.errstate(over="ignore"), pytest.raises(DivergedError) as error:
        trainer.fit(dataset)
    found = trace_nan(trainer, error.value)
    assert (found.step, found.kind) == (1, "gradient")
    assert "too large for float16: scale the targets, or take dtype='bfloat16'." in str(found.error())
    (finding,) = (f for f in check_history(RunHistory(divergence=found)).findings if f.id == "not-finite")
    assert "lr=" not in finding.fix


def test_the_advice_is_for_a_trainer_or_a_run() -> None:
    origin = NanOrigin(3, "loss", "Step 3: the loss is NaN or infinite.", lr=0.5)
    assert "try lr=0.05, or GradientClipping(optimizer, norm=1)." in str(origin.error())
    assert "try lr=0.05, or clip_norm=1." in str(origin.error("lr=0.05"))
