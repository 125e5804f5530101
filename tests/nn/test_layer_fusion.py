"""`FusedSequential`: the outputs, gradients and trace of the plain network, in fewer kernels."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from backends import Backend, NumpyBackend, leaves, tree_map
from nnbackprop import RngKey
from nnbackprop.nn.initializers import Normal
from nnbackprop.nn.layer_fusion import FusedSequential, fuse_layers
from nnbackprop.nn.layers import BatchNorm, Dense, Dropout, ReLU, Tanh
from nnbackprop.nn.sequential import Residual, Sequential


def dense(units: int, bias: bool = True) -> Dense:
    return Dense(units, bias=bias, bias_init=Normal(0.5))


NETWORKS = {
    "dropout": Sequential(Dropout(0.2), dense(9), ReLU(), Dropout(0.3), dense(8), ReLU(), Dropout(0.4), dense(3)),
    "no dropout": Sequential(dense(9), ReLU(), dense(8), ReLU()),
    "others between": Sequential(
        dense(9, bias=False),
        ReLU(),
        dense(8),
        Dropout(0.3),
        ReLU(),
        BatchNorm(),
        Tanh(),
        dense(8),
        ReLU(),
        Dropout(0.5),
    ),
    "nested": Sequential(
        dense(8), ReLU(), Residual(dense(8), ReLU(), Dropout(0.2)), dense(8), ReLU(), Dropout(0.1)
    ),
}
X = np.random.default_rng(0).standard_normal((7, 5))


def host(backend: Backend, tree: Any) -> list[np.ndarray]:
    return [backend.to_numpy(a) for a in leaves(tree)]


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Sequential:
    return NETWORKS[request.param]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("need_dx", [True, False])
def test_outputs_and_gradients_are_those_of_the_plain_network(
    backend: Backend, network: Sequential, need_dx: bool, training: bool, dtype: str
) -> None:
    xp, params = backend.xp, tree_map(backend.asarray, network.init(X.shape[1:], 1, dtype))
    x = backend.asarray(X.astype(dtype))
    key = RngKey(3, backend.asarray(np.array(5, np.int32))) if training else None
    results = []
    for net in (network, FusedSequential(*network.layers)):
        y, caches = net.forward(xp, params, x, key)
        dx, grads = net.backward(xp, params, caches, y * y, need_dx)
        buffers = net.new_buffers(xp, params, caches)
        assert (dx is not None) == need_dx
        results.append(host(backend, (y, grads, buffers) + ((dx,) if need_dx else ())))
    for plain, fused in zip(*results, strict=True):
        assert fused.dtype == plain.dtype
        np.testing.assert_array_equal(fused, plain)


def test_a_trace_shows_every_layer_of_a_network_that_has_computed_before(network: Sequential) -> None:
    backend, params, key = (
        NumpyBackend(),
        network.init(X.shape[1:], 1, "float64"),
        RngKey(3, np.array(5, np.int32)),
    )
    fused_network = FusedSequential(*network.layers)
    fused_network.forward(backend.xp, params, X, key)
    traces = [net.trace(backend.xp, params, X, key) for net in (network, fused_network)]
    plain, fused = ([(t.name, t.path, t.y.tolist()) for t in trace.layers] for trace in traces)
    assert fused == plain
    backward = [trace.backward(backend.xp, trace.y) for trace in traces]
    assert [(t.name, dy.tolist()) for t, dy, _, _ in backward[1]] == [
        (t.name, dy.tolist()) for t, dy, _, _ in backward[0]
    ]


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("dropout", {"bias_relu_dropout": 2, "relu_dropout_vjp": 2}),
        ("no dropout", {"bias_relu": 2, "relu_vjp": 2}),
        ("others between", {"bias_relu_dropout": 1, "relu_dropout_vjp": 1, "relu_vjp": 2}),
        ("nested", {"bias_relu": 1, "bias_relu_dropout": 1, "relu_vjp": 2, "relu_dropout_vjp": 1}),
    ],
)
def test_layers_in_a_row_are_one_kernel_forward_and_one_backward(name: str, kernels: dict[str, int]) -> None:
    xp, calls, network = NumpyBackend().xp, Counter[str](), FusedSequential(*NETWORKS[name].layers)
    fuse = xp.fuse

    def counted(kernel: Any, **options: Any) -> Any:
        calls[kernel.__name__] += 1
        return fuse(kernel, **options)

    xp.fuse = counted  # type: ignore[assignment]
    params = network.init(X.shape[1:], 1, "float64")
    y, caches = network.forward(xp, params, X, RngKey(3, np.array(5, np.int32)))
    network.backward(xp, params, caches, y)
    assert {kernel: n for kernel, n in calls.items() if "relu" in kernel} == kernels


def test_layers_are_fused_where_launches_bound_a_step() -> None:
    backend, network = NumpyBackend(), NETWORKS["dropout"]
    assert fuse_layers(network, backend) is network
    backend.launch_bound = True  # type: ignore[misc]
    assert fuse_layers(network, backend) == FusedSequential(*network.layers)
    residual = Residual(Dense(5), ReLU())
    assert fuse_layers(residual, backend) is residual
