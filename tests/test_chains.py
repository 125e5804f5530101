"""Layers and loss as one function: the older pairings of an output layer with squares, the newer's short cut.

`delta = y - t` is the derivative of some pairings and not of others; here each is judged whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradients import AUTODIFF, DIFFERENCES, JUDGES, central_differences, distance
from loss_rows import ROWS, K, N, every_row, example, run

from backends import Backend, leaves, select, tree_map
from nnbackprop.layers import GELU, Dense, Dropout, Sigmoid, Softmax
from nnbackprop.losses import Loss, SoftmaxCrossEntropy
from nnbackprop.network import Sequential
from nnbackprop.penalties import WeightPenalty
from nnbackprop.random import Draw

CHAINS = {
    "softmax, half squares": (
        Softmax(),
        0,
        lambda torch, z: torch.softmax(z, 1),
        lambda jax, z: jax.nn.softmax(z, 1),
    ),
    "softmax, mean squares": (
        Softmax(),
        1,
        lambda torch, z: torch.softmax(z, 1),
        lambda jax, z: jax.nn.softmax(z, 1),
    ),
    "sigmoid, half squares": (Sigmoid(), 0, lambda torch, z: torch.sigmoid(z), lambda jax, z: jax.nn.sigmoid(z)),
    "sigmoid, mean squares": (Sigmoid(), 1, lambda torch, z: torch.sigmoid(z), lambda jax, z: jax.nn.sigmoid(z)),
}


def whole(backend: Backend, network: Sequential, loss: Loss, params: Any, x: np.ndarray, t: np.ndarray) -> Any:
    """J, dx and dW, db of every layer, as NumPy arrays."""
    xp, p, draw = backend.xp, tree_map(backend.asarray, params), Draw(0, backend.asarray(np.array(1, np.int32)))
    y, caches = network.forward(xp, p, backend.asarray(x), draw)
    J, dy = loss(xp, y, backend.asarray(t))
    dx, grads = network.backward(xp, p, caches, dy, need_dx=True)
    return tree_map(backend.to_numpy, (J, dx, grads))


@pytest.mark.parametrize("chain", CHAINS)
def test_squares_after_an_output_layer_by_central_differences(backend, chain):
    output, row, *_ = CHAINS[chain]
    network, loss = Sequential(Dense(5), Sigmoid(), Dense(K), output), ROWS[row].loss
    params = network.build((3,), dtype="float64")
    x, (_, t) = np.random.default_rng(2).standard_normal((N, 3)), example(loss)
    _, dx, grads = whole(backend, network, loss, params, x, t)
    numeric = central_differences(lambda a: float(whole(backend, network, loss, params, a, t)[0]), x)
    assert distance(dx, numeric) <= DIFFERENCES

    def loss_at(b: np.ndarray) -> float:
        return float(whole(backend, network, loss, ({**params[0], "b": b}, *params[1:]), x, t)[0])

    assert distance(grads[0]["b"], central_differences(loss_at, params[0]["b"])) <= DIFFERENCES


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("judge", JUDGES)
def test_squares_after_an_output_layer_by_autodiff(backend, chain, judge):
    output, row, by_torch, by_jax = CHAINS[chain]
    network, loss = Sequential(Dense(5), Sigmoid(), Dense(K), output), ROWS[row].loss
    params = network.build((3,), dtype="float64")
    x, (_, t) = np.random.default_rng(2).standard_normal((N, 3)), example(loss)

    def theirs(library: Any, x: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        sigmoid = library.sigmoid if judge == "torch" else library.nn.sigmoid
        y = {"torch": by_torch, "jax": by_jax}[judge](library, sigmoid(x @ W1 + b1) @ W2 + b2)
        return [ROWS[row].by(judge, library, y, t)] * 2

    J, dx, grads = whole(backend, network, loss, params, x, t)
    want_J, want = JUDGES[judge](theirs, x, *leaves(params))
    assert distance(J, want_J) <= AUTODIFF
    for ours, other in zip((dx, *leaves(grads)), want, strict=True):
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


@every_row
def test_a_whole_step_can_be_traced(row):
    """Masks, layers, loss, penalty: under jax.jit a hidden wait for the device is an error."""
    jax = pytest.importorskip("jax", reason="JAX is not installed: nothing to trace with")
    backend, penalty = select("jax"), WeightPenalty(l1=0.01, l2=0.1)
    xp, network = backend.xp, Sequential(Dropout(0.2), Dense(5), GELU(), Dropout(0.4), Dense(K))

    def step(params: Any, x: Any, t: Any, number: Any) -> Any:
        y, caches = network.forward(xp, params, x, Draw(0, number))
        J, dy = row.loss(xp, y, t)
        dx, grads = network.backward(xp, params, caches, dy, need_dx=True)
        return J + penalty.loss(xp, params), dx, penalty.gradients(xp, params, grads)

    arrays = (
        network.build((3,), dtype="float64"),
        np.random.default_rng(2).standard_normal((N, 3)),
        example(row.loss)[1],
    )
    arguments = tree_map(backend.asarray, (*arrays, np.array(7, np.int32)))
    for a, b in zip(leaves(jax.jit(step)(*arguments)), leaves(step(*arguments)), strict=True):
        assert distance(backend.to_numpy(a), backend.to_numpy(b)) <= AUTODIFF
