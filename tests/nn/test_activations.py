"""What each activation is: facts on paper, huge inputs, any shape, the corner at zero, softmax's whole Jacobian.

That its gradient is right is proven with every other layer's, in test_layers.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from backends import NumpyBackend
from nnbackprop.nn.layers import ELU, GELU, LeakyReLU, ReLU, Softmax
from tests.support.gradients import AUTODIFF, distance
from tests.support.layer_rows import every_pointwise, example, run


@every_pointwise
def test_closed_facts(backend, row):
    x, want = np.array(row.facts, np.float64).T
    y, _, _ = run(backend, row.layer, x, np.ones_like(x), {})
    np.testing.assert_allclose(y, want, rtol=1e-15, atol=1e-16)


@every_pointwise
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_inputs_neither_overflow_nor_lose_their_slope(backend, row, dtype):
    x = np.array([-1e4, 1e4], dtype)
    y, dx, _ = run(backend, row.layer, x, np.ones_like(x), {})
    np.testing.assert_allclose(np.stack([y, dx], axis=1), row.ends, rtol=1e-6, atol=0)


@every_pointwise
@settings(max_examples=50, deadline=None)
@given(shape=array_shapes(min_dims=1, max_dims=4, max_side=3), data=st.data())
def test_a_batch_of_any_shape_is_its_numbers_one_by_one(row, shape, data):
    """And every float32 of up to 10,000 gives a finite y and a slope between -0.2 and 1.2."""
    numbers = st.floats(-1e4, 1e4, width=32)
    flat = data.draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)))
    x = np.array(flat, np.float32).reshape(shape)
    y, dx, _ = run(NumpyBackend(), row.layer, x, np.ones_like(x), {})
    one_by_one = [
        run(NumpyBackend(), row.layer, x[i].reshape(1), np.ones(1, np.float32), {}) for i in np.ndindex(shape)
    ]
    assert y.shape == dx.shape == shape
    np.testing.assert_allclose(y.ravel(), [a[0] for a, _, _ in one_by_one], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(dx.ravel(), [a[0] for _, a, _ in one_by_one], rtol=1e-6, atol=1e-7)
    assert np.all(np.isfinite(y))
    assert np.all((dx > -0.2) & (dx < 1.2))


@every_pointwise
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_batch_is_its_rows(backend, row, dtype):
    """A library's fuser compiles a formula for large arrays alone; row by row it stays plain. To 4 ulp."""
    x, dy = np.random.default_rng(1).standard_normal((2, 9, 1024)).astype(dtype)
    rows = [run(backend, row.layer, *pair, {}) for pair in zip(x, dy, strict=True)]
    whole = run(backend, row.layer, x, dy, {})
    for i in (0, 1):
        assert whole[i].dtype == dtype
        assert distance(whole[i], np.stack([r[i] for r in rows])) <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize(("layer", "slope"), [(ReLU(), 0), (LeakyReLU(0.2), 0.2), (ELU(0.7), 0.7)])
def test_at_the_corner_the_slope_is_that_of_the_left(backend, layer, slope):
    _, dx, _ = run(backend, layer, np.zeros(2), np.ones(2), {})
    np.testing.assert_array_equal(dx, [slope, slope])


@pytest.mark.parametrize("layer", [LeakyReLU(0), ELU(0)], ids=str)
def test_with_nothing_below_zero_it_is_a_relu(backend, layer):
    x, dy, _ = example(layer)
    for ours, relus in zip(run(backend, layer, x, dy, {})[:2], run(backend, ReLU(), x, dy, {})[:2], strict=True):
        np.testing.assert_array_equal(ours, relus)


def test_gelu_is_near_the_exact_one():
    """Hendrycks and Gimpel's x Phi(x), of which the tanh form is an approximation to 0.0005."""
    x = np.linspace(-6, 6, 1201)
    y, _ = GELU().forward(NumpyBackend().xp, {}, x, None)
    exact = x * np.array([(1 + math.erf(a / math.sqrt(2))) / 2 for a in x])
    assert np.max(np.abs(y - exact)) <= 5e-4


def test_softmax_facts(backend):
    y, _, _ = run(backend, Softmax(), np.log([[1.0, 2.0, 3.0]]), np.ones((1, 3)), {})
    np.testing.assert_allclose(y, [[1 / 6, 1 / 3, 1 / 2]], rtol=1e-15)


def test_softmax_goes_back_by_its_whole_jacobian(backend):
    """J = diag(y) - y y^T, row by row; its diagonal alone gives another answer."""
    x, dy, _ = example(Softmax())
    y, dx, _ = run(backend, Softmax(), x, dy, {})
    jacobians = [np.diag(row) - np.outer(row, row) for row in y]
    want = np.stack([jacobian @ d for jacobian, d in zip(jacobians, dy, strict=True)])
    assert distance(dx, want) <= AUTODIFF
    assert distance(dx, y * (1 - y) * dy) > 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_huge_logits(backend, dtype):
    x = np.array([[1e4, -1e4, 0], [-2e4, -2e4, -4e4]], dtype)
    y, dx, _ = run(backend, Softmax(), x, np.array([[1, 2, 3], [1, 2, 3]], dtype), {})
    np.testing.assert_array_equal(y, [[1, 0, 0], [0.5, 0.5, 0]])
    np.testing.assert_array_equal(dx, [[0, 0, 0], [-0.25, 0.25, 0]])
