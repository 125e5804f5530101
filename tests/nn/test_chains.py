"""Layers and loss as one function: the older pairings of an output layer with squares, the newer's short cut.

`delta = y - t` is the derivative of some pairings and not of others; here each is judged whole.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from backends import Backend, NumpyBackend, leaves, select, tree_map
from nnbackprop.nn.initializers import Uniform
from nnbackprop.nn.layers import GELU, Dense, Dropout, Sigmoid, Softmax
from nnbackprop.nn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from tests.support import layer_rows
from tests.support.gradients import AUTODIFF, JUDGES, distance
from tests.support.loss_rows import ROWS, K, N, example, run

OUTPUTS = [row for row in layer_rows.ROWS if isinstance(row.layer, (Softmax, Sigmoid))]
SQUARES = [row for row in ROWS if isinstance(row.loss, MeanSquaredError)]


def whole(backend: Backend, network: Sequential, loss: Loss, params: Any, x: np.ndarray, t: np.ndarray) -> Any:
    """J, dx and dW, db of every layer, as NumPy arrays."""
    xp, p, draw = backend.xp, tree_map(backend.asarray, params), RngKey(0, backend.asarray(np.array(1, np.int32)))
    y, caches = network.forward(xp, p, backend.asarray(x), draw)
    J, dy = loss(xp, y, backend.asarray(t))
    dx, grads = network.backward(xp, p, caches, dy, need_dx=True)
    return tree_map(backend.to_numpy, (J, dx, grads))


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda row: str(row.layer))
@pytest.mark.parametrize("squares", SQUARES, ids=lambda row: str(row.loss))
@pytest.mark.parametrize("judge", JUDGES)
def test_squares_after_an_output_layer_by_autodiff(backend, output, squares, judge):
    network, loss = Sequential(Dense(5), Sigmoid(), Dense(K), output.layer), squares.loss
    params = network.init((3,), dtype="float64")
    x, (_, t) = np.random.default_rng(2).standard_normal((N, 3)), example(loss)

    def theirs(library: Any, x: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        sigmoid = library.sigmoid if judge == "torch" else library.nn.sigmoid
        y = getattr(output, judge)(library, sigmoid(x @ W1 + b1) @ W2 + b2, {})
        return [squares.by(judge, library, y, t)] * 2

    J, dx, grads = whole(backend, network, loss, params, x, t)
    want_J, want = JUDGES[judge](theirs, x, *leaves(params))
    assert distance(J, want_J) <= AUTODIFF
    for ours, other in zip((dx, *leaves(grads)), want, strict=True):
        assert distance(ours, other) <= AUTODIFF


DENSE = layer_rows.ROWS[0]._replace(layer=Dense(K, bias_init=Uniform(1.0)))
LAST = layer_rows.ROWS[1]._replace(layer=Dense(K, bias=False))
DROPOUT = layer_rows.ROWS[-1]
DEEP = [DROPOUT, *(row for each in layer_rows.POINTWISE for row in (DENSE, each, DROPOUT)), LAST]
"""Rows of the table of layers: dropout, and an activation of each kind between layers of weights."""
SMOOTHED = ROWS[3]


def deep_step() -> tuple[Sequential, Any, np.ndarray, np.ndarray]:
    """The deep network, its parameters, a batch and its labels."""
    network = Sequential(*(row.layer for row in DEEP))
    x, (_, t) = np.random.default_rng(3).standard_normal((N, K)), example(SMOOTHED.loss)
    return network, network.init((K,), dtype="float64"), x, t


@cache
def deep_by(judge: str) -> tuple[Any, list[np.ndarray]]:
    """J, its derivatives with respect to x and all parameters, by a judge who is handed the masks NumPy draws."""
    _, params, x, t = deep_step()
    masked = RngKey(0, np.array(1, np.int32))

    def theirs(library: Any, x: Any, *flat: Any) -> Any:
        weights, penalty = iter(flat), 0
        for i, (row, names) in enumerate(zip(DEEP, params, strict=True)):
            p = {name: next(weights) for name in names}
            if row is DROPOUT:
                m = masked.child(i).dropout_mask(NumpyBackend().xp, tuple(x.shape), row.layer.rate, np.float64)
                x = x * (library.tensor(m) if judge == "torch" else m)
            else:
                x = getattr(row, judge)(library, x, p)
            if "W" in p:
                penalty += 0.01 * abs(p["W"]).sum() + 0.05 * (p["W"] ** 2).sum()
        return [SMOOTHED.by(judge, library, x, t) + penalty] * 2

    return JUDGES[judge](theirs, x, *leaves(params))


@pytest.mark.parametrize("judge", JUDGES)
def test_a_deep_network_with_every_activation_dropout_and_penalty(backend, judge):
    network, params, x, t = deep_step()
    penalty = WeightPenalty(l1=0.01, l2=0.1)
    J, dx, grads = whole(backend, network, SMOOTHED.loss, params, x, t)
    J = J + penalty.loss(np, network, params)
    want_J, want = deep_by(judge)
    assert distance(J, want_J) <= AUTODIFF
    for ours, other in zip((dx, *leaves(penalty.add_gradients(np, network, params, grads))), want, strict=True):
        assert np.any(other)
        assert distance(ours, other) <= AUTODIFF


def test_softmax_then_minus_log_is_the_fused_loss(backend):
    """The layer's Jacobian times dJ/dp = -onehot / (n p) is (p - onehot) / n, as the fused loss has it."""
    y, t = example(SoftmaxCrossEntropy())
    xp, hot = backend.xp, np.eye(K)[t]
    p, cache = Softmax().forward(xp, {}, backend.asarray(y), None)
    dp = backend.asarray(-hot / (N * backend.to_numpy(p)))
    dx, _ = Softmax().backward(xp, {}, cache, dp, True)
    _, dy = run(backend, SoftmaxCrossEntropy(), y, t)
    assert distance(backend.to_numpy(dx), dy) <= AUTODIFF


def test_a_whole_step_can_be_traced():
    """Masks, layers, every loss, penalty: under jax.jit a hidden wait for the device is an error."""
    jax = pytest.importorskip("jax", reason="JAX is not installed: nothing to trace with")
    backend, penalty = select("jax"), WeightPenalty(l1=0.01, l2=0.1)
    xp, network = backend.xp, Sequential(Dropout(0.2), Dense(5), GELU(), Dropout(0.4), Dense(K))

    def steps(params: Any, x: Any, targets: Any, number: Any) -> Any:
        done = ()
        y, caches = network.forward(xp, params, x, RngKey(0, number))
        for row, t in zip(ROWS, targets, strict=True):
            J, dy = row.loss(xp, y, t)
            dx, grads = network.backward(xp, params, caches, dy, need_dx=True)
            done += (J + penalty.loss(xp, network, params), dx, penalty.add_gradients(xp, network, params, grads))
        return done

    arrays = (
        network.init((3,), dtype="float64"),
        np.random.default_rng(2).standard_normal((N, 3)),
        tuple(example(row.loss)[1] for row in ROWS),
    )
    arguments = tree_map(backend.asarray, (*arrays, np.array(7, np.int32)))
    for a, b in zip(leaves(jax.jit(steps)(*arguments)), leaves(steps(*arguments)), strict=True):
        assert distance(backend.to_numpy(a), backend.to_numpy(b)) <= AUTODIFF
