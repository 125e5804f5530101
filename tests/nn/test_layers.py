"""Every layer, on every backend: central differences, two libraries' autodiff, float32, tracing; shapes refused.

A layer is one row of `layer_rows.ROWS`; the last tests see to it that none is missing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from backends import NumpyBackend, leaves, select, tree_map, tree_unflatten, zip_leaves
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn import layers
from nnbackprop.nn.initializers import He, InitRng
from nnbackprop.nn.layers import (
    ACTIVATIONS,
    ELU,
    Activation,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Maxout,
    MaxPool2D,
    PReLU,
    Reshape,
    Softmax,
    SpatialDropout2D,
)
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Residual
from tests.support.gradients import AUTODIFF, DIFFERENCES, JUDGES, central_differences, distance, with_leaf
from tests.support.layer_rows import ROWS, STEP, every_row, example, run, trained


@every_row
def test_gradients_are_central_differences(backend, row):
    """Of J = sum(y dy), whose derivative with respect to y is dy."""
    x, dy, params = example(row.layer, in_shape=row.in_shape)
    draw = RngKey(0, backend.asarray(STEP))

    def loss_at(x: np.ndarray, params: Any) -> float:
        y, _ = row.layer.forward(backend.xp, tree_map(backend.asarray, params), backend.asarray(x), draw)
        return float(np.sum(backend.to_numpy(y) * dy))

    _, dx, grads = run(backend, row.layer, x, dy, params)
    assert distance(dx, central_differences(lambda a: loss_at(a, params), x)) <= DIFFERENCES
    weights = trained(row.layer, params)
    assert tree_map(np.shape, grads) == tree_map(np.shape, weights)
    for w, grad in zip_leaves(weights, grads):
        i = next(i for i, other in enumerate(leaves(params)) if other is w)
        numeric = central_differences(lambda a, i=i: loss_at(x, with_leaf(params, i, a)), w)
        assert distance(grad, numeric) <= DIFFERENCES


@every_row
@pytest.mark.parametrize("judge", JUDGES)
def test_values_and_gradients_are_autodiffs(backend, row, judge):
    x, dy, params = example(row.layer, in_shape=row.in_shape)
    weights = trained(row.layer, params)

    def loss(library: Any, x: Any, *given: Any) -> Any:
        y = getattr(row, judge)(library, x, tree_unflatten(weights, given))
        return (y * (library.tensor(dy) if judge == "torch" else dy)).sum(), y

    y, dx, grads = run(backend, row.layer, x, dy, params)
    want_y, (want_dx, *want_grads) = JUDGES[judge](loss, x, *leaves(weights))
    assert distance(y, want_y) <= AUTODIFF
    assert distance(dx, want_dx) <= AUTODIFF
    for want, grad in zip_leaves(tree_unflatten(weights, want_grads), grads):
        assert distance(grad, want) <= AUTODIFF


@every_row
def test_float32_stays_float32_and_near_float64(backend, row):
    """Each result takes some ten roundings of 2^-24 relative to its terms."""
    narrow = run(backend, row.layer, *example(row.layer, "float32", row.in_shape))
    wide = run(NumpyBackend(), row.layer, *example(row.layer, in_shape=row.in_shape))
    for a, b in zip(leaves(narrow), leaves(wide), strict=True):
        assert a.dtype == np.float32
        assert distance(a.astype("float64"), b) <= 10 * 2**-24


@every_row
def test_without_need_dx_the_gradients_are_the_same_and_dx_is_none(backend, row):
    x, dy, params = example(row.layer, in_shape=row.in_shape)
    _, _, grads = run(backend, row.layer, x, dy, params)
    _, dx, alone = run(backend, row.layer, x, dy, params, need_dx=False)
    assert dx is None
    assert tree_map(np.shape, grads) == tree_map(np.shape, alone)
    assert all(np.array_equal(a, b) for a, b in zip_leaves(grads, alone))


@every_row
def test_forward_and_backward_can_be_traced(row):
    """Under jax.jit an array has no value to look at: a hidden wait for the device is an error."""
    jax = pytest.importorskip("jax", reason="JAX is not installed: nothing to trace with")
    backend = select("jax")

    def there_and_back(params: Any, x: Any, dy: Any, step: Any) -> Any:
        y, cache = row.layer.forward(backend.xp, params, x, RngKey(0, step))
        return y, *row.layer.backward(backend.xp, params, cache, dy, True)

    x, dy, params = example(row.layer, in_shape=row.in_shape)
    traced = jax.jit(there_and_back)(params, x, dy, STEP)
    for a, b in zip(jax.tree.leaves(traced), jax.tree.leaves(run(backend, row.layer, x, dy, params)), strict=True):
        assert distance(np.asarray(a), b) <= AUTODIFF


def test_dense_by_hand(backend):
    """Two samples, two inputs, one output; all whole numbers."""
    params = {"W": np.array([[2.0], [-1.0]]), "b": np.array([5.0])}
    x, dz = np.array([[1.0, 3.0], [4.0, 0.0]]), np.array([[10.0], [1.0]])
    z, dx, grads = run(backend, Dense(1), x, dz, params)
    np.testing.assert_array_equal(z, [[4.0], [13.0]])
    np.testing.assert_array_equal(grads["W"], [[14.0], [30.0]])
    np.testing.assert_array_equal(grads["b"], [11.0])
    np.testing.assert_array_equal(dx, [[20.0, -10.0], [2.0, -1.0]])


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 6), features=st.integers(1, 6), units=st.integers(1, 6))
def test_dense_keeps_its_shapes(n, features, units):
    rng = np.random.default_rng(0)
    params, out_shape = Dense(units).build(InitRng(), (features,), "float64")
    x, dz = rng.standard_normal((n, features)), rng.standard_normal((n, units))
    z, dx, grads = run(NumpyBackend(), Dense(units), x, dz, params)
    assert out_shape == (units,)
    assert z.shape == (n, units)
    assert distance(dx, np.einsum("nu,iu->ni", dz, params["W"])) <= AUTODIFF
    assert distance(grads["W"], np.einsum("ni,nu->iu", x, dz)) <= AUTODIFF
    assert distance(grads["b"], np.einsum("nu->u", dz)) <= AUTODIFF


@pytest.mark.parametrize(("bias", "names"), [(False, {"W"}), (True, {"W", "b"})])
def test_dense_has_a_bias_or_none(bias, names):
    params, _ = Dense(3, bias=bias).build(InitRng(), (4,), "float32")
    assert {name: (w.shape, w.dtype) for name, w in params.items()} == {
        name: ({"W": (4, 3), "b": (3,)}[name], np.float32) for name in names
    }


def test_flatten_is_a_view_in_row_major_order():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    y, cache = Flatten().forward(NumpyBackend().xp, {}, x, None)
    assert np.shares_memory(x, y)
    np.testing.assert_array_equal(y, x.reshape(2, 12))
    dx, _ = Flatten().backward(NumpyBackend().xp, {}, cache, y, True)
    np.testing.assert_array_equal(dx, x)
    assert Flatten().build(InitRng(), (3, 2, 2), "float32") == ({}, (12,))


def test_dropout_scales_survivors_in_training_and_does_nothing_in_evaluation(backend):
    x, dy, _ = example(Dropout(0.4))
    y, dx, _ = run(backend, Dropout(0.4), x, dy, {})
    level = round(0.4 * 65536)
    assert set(np.unique(y / x).round(12)) == {0.0, round(65536 / (65536 - level), 12)}
    np.testing.assert_array_equal(dx == 0, y == 0)
    x, dy = backend.asarray(x), backend.asarray(dy)
    y, cache = Dropout(0.4).forward(backend.xp, {}, x, None)
    dx, _ = Dropout(0.4).backward(backend.xp, {}, cache, dy, True)
    np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(x))
    np.testing.assert_array_equal(backend.to_numpy(dx), backend.to_numpy(dy))


def test_spatial_dropout_decides_once_for_each_channel_of_each_sample(backend):
    y, _, _ = run(backend, SpatialDropout2D(0.4), np.ones((50, 3, 2, 8)), np.ones((50, 3, 2, 8)), {})
    kept = y != 0
    assert (kept == kept[:, :1, :1, :]).all()
    assert 0.5 < kept[:, 0, 0, :].mean() < 0.7  # 400 decisions: 0.6 +- 0.025
    mask = RngKey(0, STEP).dropout_mask(NumpyBackend().xp, (50, 8), 0.4, np.float64)
    np.testing.assert_array_equal(y[:, 1, 1, :], mask)


@pytest.mark.parametrize("layer", [Dense(3), Softmax()])
@given(shape=array_shapes(min_dims=0, max_dims=4).filter(lambda shape: len(shape) != 1))
def test_a_layer_of_vectors_refuses_other_samples(layer, shape):
    with pytest.raises(ShapeError, match=r"put Flatten\(\) before it"):
        layer.build(InitRng(), shape, "float32")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Dense(0), ShapeError, "at least 1; got 0"),
        (lambda: Dense(2.5), ShapeError, "whole number of units"),
        (lambda: Dense(True), ShapeError, "whole number of units"),
        (lambda: Conv2D(True), ShapeError, "whole number of filters"),
        (lambda: Conv2D(4, padding=True), UsageError, "padding .* got True"),
        (lambda: MaxPool2D(True), UsageError, "pool_size .* got True"),
        (lambda: Dense(3, bias=0.5), UsageError, "True or False; got 0.5"),
        (lambda: Dense(3, He), UsageError, "weight_init .* initializer"),
        (lambda: LeakyReLU(1.0), UsageError, "below 1; got 1.0"),
        (lambda: LeakyReLU(-0.1), UsageError, "at least 0 .* got -0.1"),
        (lambda: LeakyReLU(math.nan), UsageError, "got nan"),
        (lambda: ELU(-1.0), UsageError, "at least 0; got -1.0"),
        (lambda: ELU(math.inf), UsageError, "finite .* got inf"),
        (lambda: PReLU(1.0), UsageError, "below 1; got 1.0"),
        (lambda: Maxout(3, 1), ShapeError, "pieces, at least 2; got 1"),
        (lambda: Reshape((28, -1)), ShapeError, r"at least 1, .* got \(28, -1\)"),
        (lambda: Dropout(1.0), UsageError, "below 1; got 1.0"),
        (lambda: Dropout(-0.5), UsageError, "at least 0 .* got -0.5"),
    ],
)
def test_a_hyperparameter_that_cannot_be_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (Dense(np.int64(3)), Dense(3)),
        (Maxout(np.int32(3), np.int64(2)), Maxout(3, 2)),
        (Conv2D(np.int64(4), [3, np.int64(5)], np.uint8(2), np.int64(1)), Conv2D(4, (3, 5), 2, 1)),
        (MaxPool2D(np.int64(2), [1, 2]), MaxPool2D(2, (1, 2))),
        (Reshape([2, np.int64(2), 1]), Reshape((2, 2, 1))),
    ],
)
def test_whole_numbers_of_numpy_and_lists_are_taken(made, expected):
    assert made == expected
    assert repr(made) == repr(expected)


def exported() -> set[type]:
    return {getattr(layers, name) for name in layers.__all__ if isinstance(getattr(layers, name), type)}


def test_every_exported_layer_has_a_row():
    assert {type(row.layer) for row in ROWS} == exported() - {Layer, Activation} | {Residual}


def test_every_activation_has_a_word_and_needs_no_argument():
    activations = {kind for kind in exported() if issubclass(kind, Activation)} - {Activation}
    assert set(ACTIVATIONS.values()) == activations
    assert all(isinstance(kind(), kind) for kind in ACTIVATIONS.values())
