"""Steps in float16 and bfloat16: gradients as good as their digits, and weights that keep theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import Backend, BackendError, leaves, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import ACTIVATIONS, GELU, BatchNorm, Dense, Dropout, LayerNorm, ReLU
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.mixed_precision import MixedPrecision
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import SGD
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import clouds

DIGITS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Half of the distance between 1 and the next number."""


@pytest.fixture(params=["numpy", "torch", "jax", "cupy"])
def library(request: pytest.FixtureRequest) -> Backend:
    try:
        return select(request.param)
    except BackendError as error:
        pytest.skip(f"{request.param}: {error.reason}")


def narrow(backend: Backend, network: Sequential, dtype: str) -> MixedPrecision:
    if not hasattr(backend.xp, dtype):
        pytest.skip(f"{backend.name} has no {dtype}")
    return MixedPrecision(network, dtype, backend)


def batch(n: int = 32, features: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, features)).astype("float32"), (np.arange(n) % 5).astype(np.int32)


def gradients(backend: Backend, network: Sequential, x: np.ndarray, t: np.ndarray, dtype: str = "float32") -> Any:
    """J and gradients on the host, of parameters that are the network's own in float32."""
    params = tree_map(lambda a: backend.asarray(a.astype(dtype)), network.init((x.shape[1],), 1, "float32"))
    draw = RngKey(3, backend.asarray(np.int32(7)))
    inputs = backend.asarray(x.astype(dtype))
    J, _, _, grads, _ = Objective(network, SoftmaxCrossEntropy()).value_and_grad(
        backend.xp, params, inputs, backend.asarray(t), draw
    )
    return tree_map(backend.to_numpy, (J, grads))


@pytest.mark.parametrize("dtype", DIGITS)
@pytest.mark.parametrize(
    "activation", ["relu", "leaky-relu", "elu", "sigmoid", "tanh", "gelu", "softplus", "softmax"]
)
def test_gradients_are_those_of_float64_to_the_digits_there_are(
    library: Backend, dtype: str, activation: str
) -> None:
    """Dropout's masks are the same; errors of roundings add up over a few products."""
    network = Sequential(Dense(16), ACTIVATIONS[activation](), Dropout(0.25), Dense(5))
    x, t = batch()
    J, grads = gradients(library, narrow(library, network, dtype), x, t)
    exact_J, exact = gradients(select("numpy"), network, x, t, "float64")
    assert abs(J - exact_J) <= 8 * DIGITS[dtype] * exact_J
    for g, e in zip(leaves(grads), leaves(exact), strict=True):
        assert g.dtype == np.float32
        assert 0 < np.linalg.norm(g - e) <= 16 * DIGITS[dtype] * np.linalg.norm(e)


def test_gradients_below_the_least_float16_survive_by_the_loss_scale(library: Backend) -> None:
    """dy = (p - q) / n is 1e-8 here; float16 ends at 6e-8, and rounds half of that to nothing."""
    n = 64
    network = Sequential(Dense(2, bias=False))
    x, t = np.ones((n, 1), "float32"), np.zeros(n, np.int32)
    logit = np.log((1 - 64e-8) / 64e-8)  # so that 1 - p is 64e-8
    params = ({"W": library.asarray(np.array([[logit, 0.0]], "float32"))},)
    mixed = narrow(library, network, "float16")
    inputs, labels = library.asarray(x), library.asarray(t)
    _, _, _, grads, _ = Objective(mixed, SoftmaxCrossEntropy()).value_and_grad(
        library.xp, params, inputs, labels, None
    )
    found = library.to_numpy(grads[0]["W"])[0]
    assert found == pytest.approx([-64e-8, 64e-8], rel=0.1)  # the logit itself has 11 bits


@pytest.mark.parametrize("dtype", DIGITS)
def test_updates_too_small_for_the_narrow_numbers_add_up_in_the_masters(library: Backend, dtype: str) -> None:
    """1 + 1e-4 is 1 in both; after 100 steps of 1e-4 a weight has moved by 1e-2 all the same."""
    data = Dataset(np.ones((4, 1)), np.array([0, 1, 0, 1], np.int32), ("a", "b"))
    if not hasattr(library.xp, dtype):
        pytest.skip(f"{library.name} has no {dtype}")

    class Steady(SoftmaxCrossEntropy):
        """dJ/dy = -1/n of the first output, whatever y: so dJ/dw is -1."""

        def __call__(self, xp: Any, y: Any, t: Any, weights: Any = None) -> tuple[Any, Any]:
            J, dy = super().__call__(xp, y, t)
            return J, xp.concat([xp.ones_like(dy[:, :1]) * (-1 / 4), xp.zeros_like(dy[:, 1:])], axis=1)

    network = Sequential(Dense(2, weight_init=One(), bias=False))
    trainer = Trainer(
        network, Steady(), SGD(), 1e-4, backend=library, dtype=dtype, epochs=100, batch_size=None, shuffle=False
    )
    trainer.fit(data)
    (W,) = (library.to_numpy(a) for a in leaves(trainer.params))
    assert W.dtype == np.float32
    assert W[0].tolist() == pytest.approx([1.01, 1.0], rel=1e-5)


class One:
    """Every weight is 1."""

    def __call__(self, rng: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.ones(shape, dtype)


@pytest.mark.parametrize("dtype", DIGITS)
def test_a_network_learns_in_them_as_in_float32(library: Backend, dtype: str) -> None:
    data = clouds(320, spread=0.3)
    if not hasattr(library.xp, dtype):
        pytest.skip(f"{library.name} has no {dtype}")
    network = Sequential(Dense(16), ReLU(), Dense(3))
    trainer = Trainer(
        network, SoftmaxCrossEntropy(), SGD(), 0.5, backend=library, dtype=dtype, epochs=10, batch_size=20
    )
    trainer.fit(data)
    assert trainer.evaluate(data).accuracy >= 0.97


def test_a_library_without_such_numbers_is_named() -> None:
    with pytest.raises(UsageError, match=r"backend numpy has no bfloat16: use dtype='float32', or a backend"):
        Trainer(Sequential(Dense(2)), SoftmaxCrossEntropy(), SGD(), 0.1, backend=select("numpy"), dtype="bfloat16")


@pytest.mark.parametrize("dtype", DIGITS)
def test_a_trace_has_the_networks_outputs_and_gradients_unscaled(library: Backend, dtype: str) -> None:
    mixed, xp = narrow(library, Sequential(Dense(4), ReLU(), Residual(Dense(4)), Dense(2)), dtype), library.xp
    params = tree_map(library.asarray, mixed.init((20,)))
    x = library.asarray(batch()[0])
    y, caches = mixed.forward(xp, params, x)
    dy = y * 0.01  # times 1024 it is still a float16
    _, grads = mixed.backward(xp, params, caches, dy)
    trace = mixed.trace(xp, params, x)
    assert np.array_equal(library.to_numpy(trace.y), library.to_numpy(y))
    found = {layer.name: g for layer, _, _, g in trace.backward(xp, dy)}
    for name, _, want in mixed.named_layers(grads):
        for tensor, g in want.items():
            assert library.to_numpy(g).dtype == np.float32
            assert np.array_equal(library.to_numpy(found[name][tensor]), library.to_numpy(g))


@pytest.mark.parametrize("dtype", DIGITS)
def test_a_trace_keeps_the_full_precision_of_normalization(library: Backend, dtype: str) -> None:
    """Of inputs this large the batch's variance is beyond float16."""
    network = Sequential(Dense(4), BatchNorm(), Residual(Dense(4), LayerNorm()), ReLU(), Dense(2))
    mixed, xp = narrow(library, network, dtype), library.xp
    params = tree_map(library.asarray, mixed.init((20,)))
    x, key = library.asarray(300 * batch()[0]), RngKey(3, library.asarray(np.int32(7)))
    y, caches = mixed.forward(xp, params, x, key)
    _, grads = mixed.backward(xp, params, caches, y)
    trace = mixed.trace(xp, params, x, key)
    assert np.array_equal(library.to_numpy(trace.y), library.to_numpy(y))
    found = {layer.name: g for layer, _, _, g in trace.backward(xp, y)}
    for name, _, want in mixed.named_layers(grads):
        for tensor, g in want.items():
            assert np.array_equal(library.to_numpy(found[name][tensor]), library.to_numpy(g))


@pytest.mark.parametrize("dtype", [*DIGITS, "float32", "float64"])
def test_the_slope_of_gelu_far_out_is_one_and_zero(library: Backend, dtype: str) -> None:
    """Where x^2 overflows too: s (1 - s) is 0, and times infinity it would be NaN."""
    xp = library.xp
    if not hasattr(xp, dtype):
        pytest.skip(f"{library.name} has no {dtype}")
    x = np.array([17, 553, 6e4] if dtype == "float16" else [17, 553, 1e20, 1e30])
    x = xp.astype(library.asarray(np.concatenate([x, -x])), getattr(xp, dtype))
    with np.errstate(over="ignore"):  # x^3 of forward
        _, cache = GELU().forward(xp, {}, x, None)
    dx = GELU().vjp(xp, cache, xp.ones_like(x))
    n = x.shape[0] // 2
    assert library.to_numpy(xp.astype(dx, xp.float32)).tolist() == [1] * n + [0] * n


@pytest.mark.parametrize("dtype", DIGITS)
def test_dropout_masks_of_a_large_batch_are_those_of_float32(library: Backend, dtype: str) -> None:
    """Large enough that kernels are compiled for it, which know no narrow numbers."""
    if not hasattr(library.xp, dtype):
        pytest.skip(f"{library.name} has no {dtype}")
    key, shape = RngKey(0, library.asarray(np.int32(3)), path="0"), (500, 300)
    masks = [key.dropout_mask(library.xp, shape, 0.5, getattr(library.xp, d)) for d in (dtype, "float32")]
    assert bool(library.xp.all(library.xp.astype(masks[0], library.xp.float32) == masks[1]))
