"""Libraries agree step by step, and where one does not, the step, layer and tensor are named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from backends import Backend, NumpyBackend, select
from backends.namespace import Namespace
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.difference import difference
from nnbackprop.diagnostics.parity.backend_run import BackendRun
from nnbackprop.diagnostics.parity.compare import compare, has_kink
from nnbackprop.diagnostics.parity.results import Comparison
from nnbackprop.nn.layers import ACTIVATIONS, ELU, BatchNorm, Dense, Dropout, Layer, PReLU, ReLU
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import SGD, Adam
from nnbackprop.training.trainer import Trainer

FEATURES, CLASSES, SAMPLES, BATCH = 20, 5, 160, 32


def samples() -> Dataset:
    """Normally distributed inputs (160, 20) in classes of random direction; any data would do."""
    rng = np.random.Generator(np.random.Philox(key=0))
    inputs = rng.standard_normal((SAMPLES, FEATURES))
    labels = np.argmax(inputs @ rng.standard_normal((FEATURES, CLASSES)), axis=1).astype(np.int32)
    return Dataset(inputs, labels, tuple("abcde"), source="random samples")


def trainer(backend: Backend, dtype: str = "float64", **options: Any) -> Trainer:
    """Dropout of the input and of both hidden layers, widths that 4 does not divide, Adam and L2."""
    network = Sequential(
        Dropout(0.1), Dense(17), ReLU(), Dropout(0.4), Dense(11), ReLU(), Dropout(0.2), Dense(CLASSES)
    )
    settings: dict[str, Any] = {"penalty": WeightPenalty(l2=1e-3), "batch_size": BATCH, "lr": 0.01, **options}
    return Trainer(network, SoftmaxCrossEntropy(), Adam(), backend=backend, dtype=dtype, **settings)


def compare_with(other: Backend, dtype: str = "float64", steps: int = 10) -> Comparison:
    (comparison,) = compare(trainer(select("numpy"), dtype), [trainer(other, dtype)], samples(), steps)
    return comparison


class ChangedNumpy(NumpyBackend):
    """NumPy with one function replaced."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        super().__init__()
        self.xp = Namespace(np, **{"matmul": self.xp.matmul, **functions})


# Libraries that agree.


@pytest.fixture
def writable(backend: Backend) -> Backend:
    if type(backend).__name__ == "ReadonlyNumpy":
        pytest.skip("parameters are donated to the optimizer, which may write to them")
    return backend


@pytest.mark.parametrize(
    ("dtype", "steps", "begin", "tolerance"),
    [("float64", 100, "own weights", 1e-12), ("float32", 5, "same weights", 1e-5)],
)
def test_every_step_is_within_the_tolerance(
    dtype: str, steps: int, begin: str, tolerance: float, writable: Backend
) -> None:
    comparison = compare_with(writable, dtype, steps)
    assert (comparison.begin, comparison.tolerance, comparison.passed) == (begin, tolerance, True)
    assert {d.step for d in comparison.differences} == set(range(1, steps + 1))
    assert max(d.relative for d in comparison.differences if d.excuse != "kink") <= tolerance


def test_nested_layers_and_running_statistics_agree(writable: Backend) -> None:
    """A residual block and batch normalisation: tensors are named by path, and buffers are among the weights."""
    network = Sequential(
        Dense(6, bias=False), BatchNorm(), Residual(Dense(6), ReLU(), Dropout(0.2)), Dense(CLASSES)
    )

    def make(backend: Backend) -> Trainer:
        return Trainer(
            network, SoftmaxCrossEntropy(), Adam(), 0.01, backend=backend, dtype="float64", batch_size=60
        )

    (comparison,) = compare(make(select("numpy")), [make(writable)], samples(), 6)
    assert comparison.passed
    tensors = set(comparison.tensors())
    assert {("activations", "residual1"), ("activations", "residual1.relu1")} < tensors
    assert {("gradients", "residual1.dense1.W"), ("weights", "batchnorm1.mean")} < tensors
    assert ("gradients", "batchnorm1.mean") not in tensors


def test_every_tensor_is_compared_at_every_step() -> None:
    comparison = compare_with(select("numpy"), steps=3)
    layers = trainer(select("numpy")).network.names
    parameters = [f"dense{i}.{name}" for i in (1, 2, 3) for name in ("W", "b")]
    expected = {("activations", name) for name in layers}
    expected |= {(kind, name) for kind in ("gradients", "weights") for name in parameters}
    assert set(comparison.tensors()) == expected
    assert all([d.step for d in rows] == [1, 2, 3] for rows in comparison.tensors().values())
    assert all(d.absolute == d.relative == d.norm == 0 for d in comparison.differences)


def test_the_weights_compared_are_bit_identical_to_fit() -> None:
    """Two epochs, whose last batch of three is a short one: order, masks and rates are the trainer's own."""
    options = {"batch_size": 60, "lr": lambda step: 0.01 / (1 + step), "epochs": 2}
    ours, theirs = trainer(select("numpy"), **options), trainer(select("numpy"), **options)
    run = BackendRun(ours, samples())
    for _ in range(6):
        trace = run.step()
    theirs.fit(samples())
    weights = {key[2]: a for key, a in trace.items() if key[0] == "weights"}
    named = theirs.network.named_layers(theirs.params)
    assert weights.keys() == {f"dense{i}.{name}" for i in (1, 2, 3) for name in ("W", "b")}
    assert all(np.array_equal(weights[f"{layer}.{name}"], a) for layer, _, p in named for name, a in p.items())


# Libraries that do not.


def off_by(factor: float, *shapes: tuple[int, ...]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A matrix product that is wrong by a factor, for products of the given shapes or else for all."""

    def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = np.matmul(a, b)
        return product * (1 + factor) if not shapes or product.shape in shapes else product

    return matmul


class OtherMask(NumpyBackend):
    """NumPy whose second hidden layer's dropout keeps other units in step 4."""

    def __init__(self) -> None:
        super().__init__()
        self.xp = Namespace(np, matmul=self.xp.matmul, concat=self.concat)

    def concat(self, lanes: Sequence[np.ndarray], axis: int) -> np.ndarray:
        whole = np.concat(lanes, axis=axis)
        return np.roll(whole, 1, axis=1) if self.wrong and whole.shape[1] == 12 else whole  # 11 in fours

    def scan(self, step: Any, state: Any, data: Any, xs: Any, last_step: Any = None) -> Any:
        self.wrong = int(xs["step"][0]) == 3
        return super().scan(step, state, data, xs, last_step)


@pytest.mark.parametrize(
    ("other", "dtype", "step", "kind", "tensor", "relative"),
    [
        (ChangedNumpy(matmul=off_by(1e-9)), "float64", 1, "activations", "dense1", pytest.approx(1e-9, rel=1e-3)),
        # nothing forward shows in step 1 that dW of the first layer, 20 x 17, is wrong
        (
            ChangedNumpy(matmul=off_by(1e-7, (FEATURES, 17))),
            "float64",
            1,
            "gradients",
            "dense1.W",
            pytest.approx(1e-7, rel=1e-2),
        ),
        (OtherMask(), "float64", 4, "activations", "dropout3", pytest.approx(1, abs=0.9)),
        (OtherMask(), "float32", 4, "activations", "dropout3", pytest.approx(1, abs=0.9)),
        (ChangedNumpy(exp=lambda x: np.exp(x) * math.nan), "float64", 1, "gradients", "dense1.W", math.inf),
        (ChangedNumpy(exp=lambda x: np.exp(x) * math.nan), "float32", 1, "gradients", "dense1.W", math.inf),
    ],
    ids=["every product", "one product", "mask", "mask, float32", "NaN", "NaN, float32"],
)
def test_a_wrong_library_fails_where_it_first_differs(
    other: Backend, dtype: str, step: int, kind: str, tensor: str, relative: Any
) -> None:
    comparison = compare_with(other, dtype, steps=6)
    first = comparison.first_failure()
    assert first
    assert not comparison.passed
    assert not comparison.within(first.kind)
    assert (first.step, first.kind, first.tensor) == (step, kind, tensor)
    assert first.relative == relative
    found = json.loads(json.dumps(comparison.to_json(), allow_nan=False))["first_failure"]
    assert found["relative"] == (first.relative if math.isfinite(first.relative) else None)


# Rounding that looks like a fault.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_unit_at_a_kink_is_named(dtype: str) -> None:
    """Sample 1 is (1, 1): its second pre-activation is 0 in float32 and 6e-8 in float64, and noise moves it."""
    noise = {"float32": np.float32(1e-6), "float64": -1e-6}[dtype]

    def weights(rng: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.array([[1.0, -1.0], [0.5, 1.0 + 2.0**-24]] if shape == (2, 2) else [[1.0, 2.0]] * 2, dtype)

    def noisy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = np.matmul(a, b)
        z = product.shape == (3, 2) and np.abs(product) < 1e-7
        return np.where(z, product + noise, product)

    network = Sequential(
        Dense(2, weight_init=weights, bias=False), ReLU(), Dense(2, weight_init=weights, bias=False)
    )
    options: dict[str, Any] = {"lr": 0.1, "batch_size": 3, "shuffle": False, "dtype": dtype}
    first, other = (
        Trainer(network, MeanSquaredError(), SGD(), backend=b, **options)
        for b in (select("numpy"), ChangedNumpy(matmul=noisy))
    )
    data = Dataset(np.array([[2, 1], [1, 1], [1, 3]], np.float32), np.array([0, 1, 0], np.int32), ("a", "b"))
    (comparison,) = compare(first, [other], data, 1)
    (kink,) = comparison.kinks
    assert (kink.step, kink.layer, kink.unit, kink.sample, kink.units) == (1, "relu1", 1, 1, 1)
    assert abs(kink.reference) < 1e-7
    assert kink.other == pytest.approx(kink.reference + noise)
    # The first layer's gradient differs by far more than the tolerance, and only the kink excuses that.
    different = {(d.kind, d.tensor): d for d in comparison.differences if d.relative > comparison.tolerance}
    assert different["gradients", "dense1.W"].relative > 1e-3
    excused = {(d.kind, d.tensor) for d in comparison.differences if d.excuse == "kink"}
    assert excused == ({("gradients", "dense1.W"), ("weights", "dense1.W")} if dtype == "float32" else set())
    assert comparison.passed is (dtype == "float32")


@pytest.mark.parametrize(
    ("layer", "kink"),
    [
        *((make(), name in ("relu", "leaky-relu")) for name, make in ACTIVATIONS.items()),
        (ELU(0.5), True),  # its slopes meet at 1 alone
        (PReLU(), True),
        (Dense(3), False),
    ],
)
def test_activations_whose_slope_jumps_have_a_kink(layer: Layer, kink: bool) -> None:
    assert has_kink(layer) is kink


def test_rounding_of_a_saturated_sigmoids_slope_is_excused() -> None:
    """y (1 - y) at 1 - y = 1e-6 keeps ten digits of float64: another last bit of y is no fault."""
    other = ChangedNumpy(tanh=lambda x: np.nextafter(np.tanh(x), 0.0))
    network = Sequential(Dense(2), ACTIVATIONS["sigmoid"](), Dense(2))
    data = Dataset(np.array([[19.0, 19.0], [18.0, 19.5]]), np.array([0, 1], np.int32), ("a", "b"))

    def make(backend: Backend, seed: int) -> Trainer:
        loss = SoftmaxCrossEntropy()
        return Trainer(network, loss, SGD(), 0.1, backend=backend, dtype="float64", batch_size=1, seed=seed)

    seen = 0
    for seed in range(5):
        (comparison,) = compare(make(select("numpy"), seed), [make(other, seed)], data, 4)
        assert comparison.passed
        excused = [d for d in comparison.differences if d.excuse]
        seen += len(excused)
        assert all(d.excuse == "rounding" and d.relative > 1e-12 and d.absolute < 1e-13 for d in excused)
    assert seen
    wrong = ChangedNumpy(tanh=lambda x: np.tanh(x) * (1 - 1e-10))
    (comparison,) = compare(make(select("numpy"), 0), [make(wrong, 0)], data, 4)
    assert not comparison.passed


# Numbers.


def test_differences_are_by_norm() -> None:
    def of(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
        d = difference(np.array(a, np.float32), np.array(b, np.float32))
        return d.absolute, d.relative

    assert of([3, 4], [3, 0]) == pytest.approx((4, 4 / 3))
    assert of([0, 0], [0, 0]) == (0, 0)
    assert of([1, 1], [0, 0]) == (1, math.inf)
    assert of([math.nan], [1]) == of([math.inf], [math.inf]) == (math.inf, math.inf)
    assert of([3e-30], [1e-30])[1] == pytest.approx(2)  # squares of which float32 cannot hold
