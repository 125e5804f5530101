"""The row of layers: shapes checked when built, the chain rule as one function's derivative, input gradients."""

from __future__ import annotations

import numpy as np
import pytest

from backends import Backend, leaves, select, tree_map
from nnbackprop.errors import ShapeError
from nnbackprop.nn.layers import Dense, Dropout, ReLU, Sigmoid, Softmax, Tanh
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential


def test_names_count_within_a_kind() -> None:
    network = Sequential(Dense(3), ReLU(), Dense(2), Dropout(0.5))
    assert network.names == ("dense1", "relu1", "dense2", "dropout1")


def test_an_error_of_shape_names_the_layer_and_its_place() -> None:
    network = Sequential(Dense(3), Softmax(), Dense(2))
    with pytest.raises(ShapeError, match=r"Layer 1, dense1, at the input: .*\(28, 28\)"):
        network.build((28, 28))


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(ShapeError, match="at least one layer"):
        Sequential()


def test_float32_and_float64_begin_at_the_same_weights() -> None:
    network = Sequential(Dense(7), Tanh(), Dense(2))
    wide, narrow = (network.build((5,), seed=3, dtype=dtype) for dtype in ("float64", "float32"))
    for a, b in zip(leaves(wide), leaves(narrow), strict=True):
        assert b.dtype == np.float32
        assert np.array_equal(a.astype(np.float32), b)


def test_two_layers_of_a_kind_do_not_begin_alike() -> None:
    first, _, second = Sequential(Dense(5), Tanh(), Dense(5)).build((5,))
    assert not np.array_equal(first["W"], second["W"])


def test_the_gradient_of_the_input_is_the_derivative_of_the_loss(backend: Backend) -> None:
    """Central differences along 20 random directions of x, dropout masks held."""
    xp, rng = backend.xp, np.random.default_rng(5)
    network, loss = Sequential(Dropout(0.2), Dense(6), Sigmoid(), Dropout(0.3), Dense(3)), SoftmaxCrossEntropy()
    params = tree_map(backend.asarray, network.build((4,), dtype="float64"))
    x, t = rng.standard_normal((8, 4)), backend.asarray(rng.integers(0, 3, 8).astype(np.int32))
    draw = RngKey(0, backend.asarray(np.array(7, np.int32)))

    def loss_at(at: np.ndarray) -> float:
        y, _ = network.forward(xp, params, backend.asarray(at), draw)
        return float(backend.to_numpy(loss(xp, y, t)[0]))

    y, caches = network.forward(xp, params, backend.asarray(x), draw)
    dx, _ = network.backward(xp, params, caches, loss(xp, y, t)[1], need_dx=True)
    dx = backend.to_numpy(dx)
    for _ in range(20):
        direction = rng.standard_normal(x.shape)
        numeric = (loss_at(x + 1e-5 * direction) - loss_at(x - 1e-5 * direction)) / 2e-5
        assert numeric == pytest.approx(float(np.sum(dx * direction)), rel=1e-7, abs=1e-10)


def test_without_need_dx_the_gradients_are_the_same_and_dx_is_none(backend: Backend) -> None:
    xp = backend.xp
    network = Sequential(Tanh(), Dense(3), ReLU(), Dense(2))
    params = tree_map(backend.asarray, network.build((4,), dtype="float64"))
    y, caches = network.forward(xp, params, backend.asarray(np.ones((5, 4))))
    dx, with_dx = network.backward(xp, params, caches, y, need_dx=True)
    none, without = network.backward(xp, params, caches, y)
    assert none is None
    assert tuple(dx.shape) == (5, 4)
    for a, b in zip(leaves(with_dx), leaves(without), strict=True):
        assert np.array_equal(backend.to_numpy(a), backend.to_numpy(b))


def test_dropout_is_off_without_a_draw_and_follows_the_step_with_one() -> None:
    numpy = select("numpy")
    network, x = Sequential(Dropout(0.5), Dense(2)), np.ones((6, 8))
    params = network.build((8,), dtype="float64")
    ys = [network.forward(numpy.xp, params, x, RngKey(0, np.array(step, np.int32)))[0] for step in (1, 1, 2)]
    assert np.array_equal(ys[0], ys[1])
    assert not np.array_equal(ys[0], ys[2])
    assert np.array_equal(network.forward(numpy.xp, params, x)[0], x @ params[1]["W"] + params[1]["b"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_outline_has_the_shapes_of_the_parameters_and_none_of_their_memory(dtype: str) -> None:
    network = Sequential(Dense(7), Tanh(), Dropout(0.5), Dense(2, bias=None), Softmax())
    outline, params = network.outline((5,), dtype), network.build((5,), dtype=dtype)
    assert tree_map(lambda a: (a.shape, str(a.dtype)), outline) == tree_map(
        lambda a: (a.shape, str(a.dtype)), params
    )
    (layer,) = Sequential(Dense(2**20)).outline((2**20,), dtype)
    assert layer["W"].shape == (2**20, 2**20)
    with pytest.raises(ShapeError, match=r"Layer 1, dense1, at the input: .*\(28, 28\)"):
        network.outline((28, 28))
