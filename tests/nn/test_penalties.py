"""Weight penalties, on every backend: central differences, two libraries' autodiff, by hand, what is spared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backends import Backend, leaves, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Dense, Tanh
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from tests.support.gradients import (
    AUTODIFF,
    DIFFERENCES,
    JUDGES,
    central_differences,
    distance,
    kinkless,
    with_leaf,
)

PENALTIES = [
    WeightPenalty(l2=0.3),
    WeightPenalty(l1=0.2),
    WeightPenalty(l1=0.2, l2=0.3),
    WeightPenalty(l1=0.2, l2=0.3, biases=True),
]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=str)


NETWORK = Sequential(Dense(3), Tanh(), Sequential(Dense(2, bias=False)))


def example(dtype: str = "float64") -> Any:
    """Parameters of a layer with biases, one with none at all, and a nested one without biases."""
    rng = np.random.default_rng(17)
    first = {"W": kinkless(rng, (4, 3)).astype(dtype), "b": kinkless(rng, (3,)).astype(dtype)}
    return first, {}, ({"W": kinkless(rng, (3, 2)).astype(dtype)},)


def run(backend: Backend, penalty: WeightPenalty, params: Any) -> tuple[np.ndarray, Any]:
    """J, and what is added to gradients, as NumPy arrays."""
    p = tree_map(backend.asarray, params)
    zeros = tree_map(lambda w: backend.asarray(np.zeros_like(w)), params)
    network = NETWORK if len(params) == 3 else Sequential(Dense(2))
    grads = penalty.add_gradients(backend.xp, network, p, zeros)
    return backend.to_numpy(penalty.loss(backend.xp, network, p)), tree_map(backend.to_numpy, grads)


@every_penalty
def test_gradients_are_central_differences(backend, penalty):
    params = example()
    _, grads = run(backend, penalty, params)
    for i, w in enumerate(leaves(params)):

        def loss_at(w: np.ndarray, i: int = i) -> float:
            return float(run(backend, penalty, with_leaf(params, i, w))[0])

        assert distance(leaves(grads)[i], central_differences(loss_at, w)) <= DIFFERENCES


@every_penalty
@pytest.mark.parametrize("judge", JUDGES)
def test_value_and_gradients_are_autodiffs(backend, penalty, judge):
    params = example()

    def theirs(library: Any, W1: Any, b1: Any, W2: Any) -> Any:
        regularized = (W1, b1, W2) if penalty.biases else (W1, W2)
        J = sum(penalty.l1 * abs(w).sum() + penalty.l2 / 2 * (w**2).sum() for w in regularized) + 0 * b1.sum()
        return J, J

    J, grads = run(backend, penalty, params)
    want_J, want = JUDGES[judge](theirs, *leaves(params))
    assert distance(J, want_J) <= AUTODIFF
    for ours, other in zip(leaves(grads), want, strict=True):
        assert distance(ours, other) <= AUTODIFF


def test_by_hand(backend):
    """|w| sums to 6, w^2 to 14: 0.5 * 6 + 0.1 / 2 * 14 = 3.7; with the bias -2, 1 + 0.2 more."""
    params = ({"W": np.array([[1.0, -2.0], [3.0, 0.0]]), "b": np.array([-2.0, 0.0])},)
    J, (grads,) = run(backend, WeightPenalty(l1=0.5, l2=0.1), params)
    assert J.shape == ()
    assert float(J) == pytest.approx(3.7, rel=1e-15)
    np.testing.assert_allclose(grads["W"], [[0.6, -0.7], [0.8, 0]], rtol=1e-15)  # sign(0) = 0
    np.testing.assert_array_equal(grads["b"], [0, 0])
    J, (grads,) = run(backend, WeightPenalty(l1=0.5, l2=0.1, biases=True), params)
    assert float(J) == pytest.approx(4.9, rel=1e-15)
    np.testing.assert_allclose(grads["b"], [-0.7, 0], rtol=1e-15)


def test_l2_is_lambda_over_m_of_the_course(backend):
    """Ng's ex4: J gains lambda/(2m) sum Theta^2 and the gradient lambda/m Theta, bias columns excepted.

    There Theta is (units, 1 + inputs), its first column the biases; here m = 5000 and lambda = 1.
    """
    m, lambda_, theta = 5000, 1, np.random.default_rng(19).uniform(-0.12, 0.12, (26, 401))
    J_there = lambda_ / (2 * m) * np.sum(theta[:, 1:] ** 2)
    slope_there = np.hstack([np.zeros((26, 1)), lambda_ / m * theta[:, 1:]])
    J, (grads,) = run(backend, WeightPenalty(l2=2e-4), ({"W": theta[:, 1:].T, "b": theta[:, 0]},))
    assert float(J) == pytest.approx(J_there, rel=1e-14)
    assert distance(np.vstack([grads["b"], grads["W"]]).T, slope_there) <= AUTODIFF


@every_penalty
def test_float32_stays_float32(backend, penalty):
    params = tree_map(backend.asarray, example("float32"))
    xp = backend.xp
    for a in (penalty.loss(xp, NETWORK, params), *leaves(penalty.add_gradients(xp, NETWORK, params, params))):
        assert a.dtype == xp.float32


def test_it_is_added_to_gradients_of_the_same_structure(backend):
    params = tree_map(backend.asarray, example())
    grads = WeightPenalty(l2=2.0).add_gradients(backend.xp, NETWORK, params, params)
    assert tree_map(np.shape, grads) == tree_map(np.shape, params)
    for after, before, factor in zip(leaves(grads), leaves(params), (3, 1, 3), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(after), factor * backend.to_numpy(before))


@pytest.mark.parametrize("value", [-1e-9, math.inf, math.nan])
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_a_coefficient_that_cannot_be_is_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} must be a finite number of at least 0; got {value}"):
        WeightPenalty(**{name: value})
