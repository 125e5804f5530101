"""The cost of a step, counted and not timed: products, calls, bytes, traces, copies to the host."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

from backends import NumpyBackend, Tree, leaves, select
from nnbackprop import Dense, Dropout, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.optim import OPTIMIZERS
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd
from tests.support.memory import peak_of

WIDTHS, BATCH, CLASSES = (784, 512, 256), 120, 10

PYTHON = 1 << 18
"""Bytes that Python itself may take on the way."""

Shape = tuple[int, ...]


class Counting:
    """A backend's namespace that counts calls by name, fused kernels by theirs, and keeps products' shapes."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.calls: Counter[str] = Counter()
        self.products: list[tuple[Shape, Shape]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.xp, name)
        return value if isinstance(value, type) or not callable(value) else self._counted(name, value)

    def fuse(self, kernel: Any, donate_argnums: tuple[int, ...] = ()) -> Any:
        return self._counted(kernel.__name__, self.xp.fuse(kernel, donate_argnums=donate_argnums))

    def _counted(self, name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if name == "matmul":
                self.products.append((arguments[0].shape, arguments[1].shape))
            return function(*arguments, **options)

        return call


def dataset(samples: int, features: int = WIDTHS[0]) -> Dataset:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (samples, features), dtype=np.uint8)
    return Dataset(inputs, rng.integers(0, CLASSES, samples, dtype=np.int32), tuple("0123456789"))


def network(hidden: tuple[int, ...], rate: float = 0.0) -> Sequential:
    layers = [layer for n in hidden for layer in (Dense(n), ReLU(), *([Dropout(rate)] if rate else []))]
    return Sequential(*layers, Dense(CLASSES))


class Steps:
    """Training steps on batches of a resident set, each as all but the last of a chunk."""

    def __init__(self, hidden: tuple[int, ...] = WIDTHS[1:], batch: int = BATCH, **options: Any) -> None:
        backend, data = NumpyBackend(), dataset(2 * batch)
        self.xp = backend.xp = Counting(backend.xp)  # type: ignore[assignment]
        net, optimizer = network(hidden, options.get("rate", 0.0)), OPTIMIZERS[options.get("optimizer", "sgd")]()
        self.trainer = Trainer(net, SoftmaxCrossEntropy(), optimizer, 0.01, backend=backend, batch_size=batch)
        self.trainer.initialize(data)
        self.device_data = DeviceDataset(backend, data, self.trainer.scaling, "float32")
        self.batch, self.state, self.step = batch, self.trainer.state, self.trainer.train_step
        self.run(2)
        self.xp.calls.clear()
        self.xp.products.clear()

    def run(self, steps: int) -> None:
        self.state = self.trainer.backend.scan(self.step, self.state, self.device_data.arrays, self.batches(steps))

    def chunk(self, steps: int) -> None:
        backend, data, last = self.trainer.backend, self.device_data.arrays, self.step.with_gradient_norms
        self.state = backend.scan(self.step, self.state, data, self.batches(steps), last_step=last)

    def batches(self, steps: int) -> Tree:
        scalars = {name: np.full(steps, value, np.float32) for name, value in self.scalars.items()}
        rows = np.arange(steps * self.batch).reshape(steps, -1) % (2 * self.batch)
        return {**self.device_data.batches(rows), "step": np.arange(steps, dtype=np.int32), "scalars": scalars}

    @property
    def scalars(self) -> dict[str, float]:
        return self.trainer.optimizer.step_scalars(3, 0.01)


# Products and calls


def products(widths: tuple[int, ...], n: int, backward: bool = True) -> list[tuple[Shape, Shape]]:
    """z = x W of each layer; dW = x^T dz of each; dx = dz W^T of each but the first (derivation, D16 to D18)."""
    layers = list(pairwise(widths))
    forward: list[tuple[Shape, Shape]] = [((n, a), (a, b)) for a, b in layers]
    gradients: list[tuple[Shape, Shape]] = [((a, n), (n, b)) for a, b in layers]
    return forward + gradients + [((n, b), (b, a)) for a, b in layers[1:]] if backward else forward


@pytest.mark.parametrize("options", [{}, {"rate": 0.3}, {"optimizer": "adam"}], ids=["plain", "dropout", "adam"])
@pytest.mark.parametrize("hidden", [(), (64,), WIDTHS[1:], (64, 48, 32, 16)])
def test_a_step_makes_the_products_of_the_derivation_and_no_others(
    hidden: tuple[int, ...], options: dict[str, Any]
) -> None:
    """Besides, each layer's db = 1^T dz may be a product, of one row."""
    steps = Steps(hidden, **options)
    steps.run(1)
    of_biases = [shapes for shapes in steps.xp.products if shapes[0] == (1, BATCH)]
    others = [shapes for shapes in steps.xp.products if shapes[0] != (1, BATCH)]
    assert sorted(others) == sorted(products((WIDTHS[0], *hidden, CLASSES), BATCH))
    assert len(of_biases) <= len(hidden) + 1


def test_an_evaluation_makes_only_the_forward_products_and_counts_confused_classes() -> None:
    steps = Steps()
    device_data = DeviceDataset(steps.trainer.backend, dataset(BATCH), steps.trainer.scaling, "float32")
    steps.trainer.evaluator.evaluate(steps.state["params"], device_data)
    counts = ((CLASSES, BATCH), (BATCH, CLASSES))
    assert sorted(steps.xp.products) == sorted([*products((*WIDTHS, CLASSES), BATCH, backward=False), counts])


AT_MOST = {
    "take": 2,  # the batch's inputs and labels
    "matmul": 3 + 3 + 2 + 3,  # z, dW, dx of all but the first layer, db
    "maximum": 2,  # a ReLU each
    "zeros_like": 2,
    "ones": 3,
    "exp": 1,  # of the logits, for loss and gradient together
    "log": 1,
    "max": 1,
    "where": 1,
    "argmax": 1,
    "sum": 3,  # of e^z, of q z, of right answers
    "sgd_kernel": 6,  # W and b of three layers
    "threefry": 0,
    "asarray": 0,
    "concat": 0,
    "stack": 0,
}


def test_a_step_calls_no_function_more_often_than_it_must() -> None:
    steps = Steps()
    steps.run(1)
    assert {name: steps.xp.calls[name] for name, most in AT_MOST.items() if steps.xp.calls[name] > most} == {}


@pytest.mark.parametrize("count", [1, 4])
def test_norms_are_taken_once_a_chunk_as_products_of_vectors(count: int) -> None:
    steps = Steps()
    steps.chunk(count)
    of_vectors = Counter(shapes for shapes in steps.xp.products if len(shapes[0]) == 1)
    sizes = [size for a, b in pairwise((*WIDTHS, CLASSES)) for size in (a * b, b)]
    assert of_vectors == Counter(((size,), (size,)) for size in sizes)


def test_a_dropout_mask_is_drawn_once_a_step() -> None:
    steps = Steps(rate=0.3)
    steps.run(3)
    assert steps.xp.calls["threefry"] == 3 * 2


def test_the_number_of_calls_depends_on_depth_alone() -> None:
    """Not on the batch, nor on width; and every step makes as many."""
    totals = []
    for hidden, batch, count in ((WIDTHS[1:], BATCH, 1), ((40, 30), 7, 1), ((40, 30), 7, 5)):
        steps = Steps(hidden, batch)
        steps.run(count)
        totals.append(sum(steps.xp.calls.values()) / count)
    assert len(set(totals)) == 1
    deeper = Steps((40, 30, 20))
    deeper.run(1)
    assert (
        sum(deeper.xp.calls.values()) - totals[0] <= 12
    )  # 4 products, 2 updates, 2 transposes, ReLU and its derivative


# Bytes


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_writes_into_donated_arrays(name: str) -> None:
    pytest.importorskip("numba", reason="numba is not installed: pip install numba")
    xp, optimizer = NumpyBackend().xp, OPTIMIZERS[name]()
    rng = np.random.default_rng(0)
    params, grads = (({"W": rng.random((300, 400), np.float32)},) for _ in range(2))
    state, scalars = optimizer.init(xp, params), optimizer.step_scalars(1, 0.01)
    optimizer.step(xp, params, grads, state, scalars)  # compiles

    def step() -> None:
        after.append(optimizer.step(xp, params, grads, state, scalars))

    after: list[Any] = []
    assert peak_of(step) < params[0]["W"].nbytes / 20
    for one, other in zip(leaves((params, state)), leaves(after[0]), strict=True):
        assert np.shares_memory(one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch", [1, BATCH, 1000])
def test_a_step_holds_no_more_than_gradients_and_activations(batch: int, optimizer: str) -> None:
    """New gradients beside the old, and of each width three arrays a batch, such as z, y and dz.

    Without numba an update makes new parameters, and temporaries of the size of the largest.
    """
    steps = Steps(batch=batch, optimizer=optimizer)
    parameters = sum(a.nbytes for a in leaves(steps.state["params"]))
    activations = 4 * batch * sum((*WIDTHS, CLASSES))
    slots = 1 + len(steps.trainer.optimizer.state_names)
    spare = 0 if steps.trainer.backend.fuses_elementwise else (slots + 4) * parameters
    assert peak_of(lambda: steps.run(4)) < parameters + 3 * activations + spare + PYTHON


def test_a_longer_chunk_takes_no_more_memory() -> None:
    steps = Steps()
    short, long = peak_of(lambda: steps.run(3)), peak_of(lambda: steps.run(12))
    assert abs(long - short) < 4 * BATCH * min(WIDTHS)  # not one activation more


# Chunks


class Blocks(Callback):
    """Counts chunks, and the blocks that Python has allocated after some of them."""

    def __init__(self, *at: int) -> None:
        self.at, self.chunks, self.counts = at, 0, dict.fromkeys(at, 0)

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        self.chunks += 1
        if self.chunks in self.at:
            gc.collect()
            self.counts[self.chunks] = sys.getallocatedblocks()


class Hosts(NumpyBackend):
    """Counts what is taken to the host."""

    taken = 0

    def to_numpy(self, array: Any) -> np.ndarray:
        self.taken += 1
        return super().to_numpy(array)


def trainer(monkeypatch: pytest.MonkeyPatch, length: int, **options: Any) -> Trainer:
    """A small one whose chunks have `length` steps."""
    monkeypatch.setattr("nnbackprop.training.batch_schedule.estimate_steps_per_chunk", lambda *_: length)
    options = {"loss": SoftmaxCrossEntropy(), "optimizer": OPTIMIZERS["sgd"](), "lr": 0.01, **options}
    return Trainer(network((16,)), batch_size=10, **options)


def test_a_chunk_takes_one_array_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, callback = Hosts(), Blocks()
    trainer(monkeypatch, 4, backend=backend, epochs=3, callbacks=[callback]).fit(dataset(325, 8))
    assert callback.chunks == 3 * (8 + 1)  # 32 steps in chunks of 4, and the five samples left
    assert backend.taken == callback.chunks


def test_no_objects_are_left_from_step_to_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One left by every step would be 16 a chunk; NumPy's and Python's own caches fill by a few."""
    callback = Blocks(20, 100)
    trainer(monkeypatch, 16, backend=NumpyBackend(), epochs=1, callbacks=[callback]).fit(dataset(16_000, 8))
    assert callback.chunks == 100
    assert callback.counts[100] - callback.counts[20] < 4 * 80


@dataclass(frozen=True)
class Traced(SoftmaxCrossEntropy):
    """Notes the size of each batch it is called with: under jit, once a trace."""

    batches: ClassVar[list[int]] = []

    def __call__(self, xp: Any, y: Any, t: Any, weights: Any = None) -> tuple[Any, Any]:
        self.batches.append(y.shape[0])
        return super().__call__(xp, y, t, weights)


def test_jax_traces_a_step_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="jax is not installed: pip install jax")
    Traced.batches.clear()
    data, ours = dataset(325, 8), trainer(monkeypatch, 4, loss=Traced(), backend=select("jax"), epochs=1)
    ours.fit(data)
    traces = Counter(Traced.batches)
    assert traces <= Counter({10: 2, 5: 1})  # all steps of a chunk but the last, the last, and the ragged batch
    ours.set_options(epochs=4)
    ours.fit(data)
    assert Counter(Traced.batches) == traces
