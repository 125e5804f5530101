"""Every optimizer and both clippings against PyTorch's, on every backend, step by step and in its loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import backends
import nnbackprop.optim as optimizers
from backends import Backend, leaves, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.optim import (
    OPTIMIZERS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ExponentialMovingAverage,
    GradientClipping,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
    clip_by_global_norm,
    clip_by_value,
)
from tests.support.gradients import distance

STEPS = 50

# ours, the name of PyTorch's and its arguments
ROWS: list[tuple[Optimizer, str, dict[str, Any]]] = [
    (SGD(), "SGD", {}),
    (Momentum(), "SGD", {"momentum": 0.9}),
    (Momentum(momentum=0.5), "SGD", {"momentum": 0.5, "dampening": 0}),
    (Nesterov(), "SGD", {"momentum": 0.9, "nesterov": True}),
    (RMSprop(), "RMSprop", {"alpha": 0.9}),
    (RMSprop(rho=0.99, eps=1e-6), "RMSprop", {"alpha": 0.99, "eps": 1e-6}),
    (Adagrad(), "Adagrad", {}),
    (Adam(), "Adam", {}),
    (Adam(beta1=0.8, beta2=0.95, eps=1e-5), "Adam", {"betas": (0.8, 0.95), "eps": 1e-5}),
    (AdamW(), "AdamW", {}),
    (AdamW(weight_decay=0.3), "AdamW", {"weight_decay": 0.3}),
]
every_row = pytest.mark.parametrize(("optimizer", "judge", "arguments"), ROWS, ids=lambda value: str(value))
every_optimizer = pytest.mark.parametrize("optimizer", [row[0] for row in ROWS], ids=str)


def params_like_a_network(rng: np.random.Generator, dtype: str = "float64", steps: int = 0) -> Any:
    """Weights large enough for the compiled rules, biases too small, and a layer without parameters."""
    lead = (steps,) if steps else ()
    shapes = ({"W": (130, 70), "b": (70,)}, {}, {"W": (70, 3), "b": (3,)})
    return tuple({name: rng.normal(size=lead + s).astype(dtype) for name, s in layer.items()} for layer in shapes)


def rates() -> list[float]:
    """A learning rate that changes from step to step."""
    return [0.01 * (1.2 + math.cos(0.3 * k)) for k in range(STEPS)]


def host_inputs(optimizer: Optimizer, dtype: str) -> tuple[Any, dict[str, Any]]:
    """Parameters, and for every step its gradients and scalars, stacked."""
    rng = np.random.default_rng(5)
    params, grads = params_like_a_network(rng, dtype), params_like_a_network(rng, dtype, STEPS)
    table = [optimizer.step_scalars(t, lr) for t, lr in enumerate(rates(), start=1)]
    scalars = {name: np.asarray([row[name] for row in table], dtype) for name in table[0]}
    return params, {"grads": grads, "scalars": scalars}


def run(backend: Backend, optimizer: Optimizer, dtype: str, looped: bool) -> tuple[Any, Any]:
    """Fifty steps; returns parameters and state as NumPy arrays."""
    xp = backend.xp

    def step(state: Any, data: Any, x: Any) -> Any:
        params, states = optimizer.step(xp, state["params"], x["grads"], state["states"], x["scalars"])
        return {"params": params, "states": states}

    host_params, host_xs = host_inputs(optimizer, dtype)
    params, batches = tree_map(backend.asarray, host_params), tree_map(backend.asarray, host_xs)
    state = {"params": params, "states": optimizer.init(xp, params)}
    scan = backend.scan if looped else partial(Backend.scan, backend)
    state = tree_map(backend.to_numpy, scan(step, state, {}, batches))
    return state["params"], state["states"]


def judged(judge: str, arguments: dict[str, Any]) -> list[np.ndarray]:
    """The same fifty steps by PyTorch, in float64."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    host_params, batches = host_inputs(SGD(), "float64")
    params = [torch.tensor(array, requires_grad=True) for array in leaves(host_params)]
    theirs = getattr(torch.optim, judge)(params, lr=1.0, **arguments)
    for k, lr in enumerate(rates()):
        for group in theirs.param_groups:
            group["lr"] = lr
        for param, grads in zip(params, leaves(batches["grads"]), strict=True):
            param.grad = torch.tensor(grads[k])
        theirs.step()
    return [param.detach().numpy() for param in params]


@every_row
@pytest.mark.parametrize("looped", [False, True], ids=["eager", "looped"])
def test_fifty_steps_are_pytorchs(backend, optimizer, judge, arguments, looped):
    want = judged(judge, arguments)
    params, _ = run(backend, optimizer, "float64", looped)
    for ours, theirs in zip(leaves(params), want, strict=True):
        assert ours.dtype == np.float64
        assert distance(ours, theirs) <= 1e-12


@every_optimizer
@pytest.mark.parametrize("looped", [False, True], ids=["eager", "looped"])
def test_float32_stays_float32(backend, optimizer, looped):
    params, states = run(backend, optimizer, "float32", looped)
    assert {a.dtype for a in (*leaves(params), *leaves(states))} == {np.dtype("float32")}


@every_optimizer
def test_float32_follows_float64(backend, optimizer):
    """Fifty updates, each rounded a few times, stay within 50 * 10 units of 2^-24 of the exact ones."""
    narrow, _ = run(backend, optimizer, "float32", looped=False)
    wide, _ = run(backends.NumpyBackend(), optimizer, "float64", looped=False)
    for a, b in zip(leaves(narrow), leaves(wide), strict=True):
        assert distance(a.astype("float64"), b) <= 500 * 2**-24


def test_every_exported_optimizer_has_a_row_and_a_name():
    exported = {
        value
        for name in optimizers.__all__
        if isinstance(value := getattr(optimizers, name), type) and issubclass(value, Optimizer)
    } - {Optimizer, ExponentialMovingAverage, GradientClipping}  # which are around another
    assert {type(row[0]) for row in ROWS} == exported
    assert set(OPTIMIZERS.values()) == exported
    assert all(isinstance(make(), Optimizer) for make in OPTIMIZERS.values())


@every_optimizer
def test_state_has_the_structure_it_begins_with(optimizer):
    """A compiled loop needs the same tree, shapes and dtypes before and after a step."""
    backend = backends.NumpyBackend()
    params = params_like_a_network(np.random.default_rng(0), "float32")
    state = optimizer.init(backend.xp, params)
    assert state == () or set(state) == set(optimizer.state_names)
    assert all(not np.any(slot) for slot in leaves(state))
    _, after = optimizer.step(backend.xp, params, params, state, optimizer.step_scalars(1, 0.1))
    assert describe(after) == describe(state)


@every_optimizer
def test_nested_trees_are_updated_as_flat_ones_and_buffers_passed_on(backend, optimizer):
    """A parameter that has no gradient comes out as it went in, and so does its state."""
    xp, (first, second, third) = backend.xp, params_like_a_network(np.random.default_rng(0))
    flat = tree_map(backend.asarray, (first, second, third))
    nested = (flat[0], (flat[1], ({**flat[2], "mean": backend.asarray(np.ones(3))},)))
    s = optimizer.step_scalars(1, 0.1)
    want, _ = optimizer.step(xp, flat, flat, optimizer.init(xp, flat), s)
    nested_grads = (flat[0], (flat[1], (flat[2],)))
    got, state = optimizer.step(xp, nested, nested_grads, optimizer.init(xp, nested), s)
    assert np.array_equal(backend.to_numpy(got[1][1][0]["mean"]), np.ones(3))
    for name in optimizer.state_names:
        assert not backend.to_numpy(state[name][1][1][0]["mean"]).any()
    for a, b in zip(leaves((got[0], got[1][1][0]["W"])), leaves((want[0], want[2]["W"])), strict=True):
        assert np.array_equal(backend.to_numpy(a), backend.to_numpy(b))


def test_a_namespace_without_fuse_is_refused_with_what_to_use():
    params = ({"W": np.ones((2, 2))},)
    with pytest.raises(UsageError, match=r"needs the namespace of a backend, with its `foreach`.*backends.select"):
        SGD().step(np, params, params, (), {"lr": 0.1})


def describe(tree: Any) -> Any:
    return tree_map(lambda a: (a.shape, a.dtype.name), tree)


@every_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_kernels_equal_plain_ones(optimizer, dtype):
    """Within two units in the last place: the same formula, in one pass."""
    pytest.importorskip("numba", reason="numba is not installed")
    rng = np.random.default_rng(2)
    w, dw = rng.normal(size=(2, 300, 100)).astype(dtype)
    states = rng.uniform(0.5, 2, size=(len(optimizer.state_names), 300, 100)).astype(dtype)
    s = {name: np.asarray(value, dtype) for name, value in optimizer.step_scalars(3, 0.05).items()}
    kernel, scalars = type(optimizer).kernel, optimizer.kernel_args(s)
    fused = backends.NumpyBackend().xp.fuse(kernel)(w, dw, *states, *scalars)
    plain = kernel(np, w, dw, *states, *scalars)
    pairs = zip(fused, plain, strict=True) if optimizer.state_names else [(fused, plain)]
    for ours, want in pairs:
        assert ours.dtype == want.dtype == np.dtype(dtype)
        np.testing.assert_array_max_ulp(ours, want, maxulp=2)


def test_the_scalars_of_a_step_are_in_closed_form():
    assert SGD().step_scalars(7, 0.3) == {"lr": 0.3}
    s = AdamW(beta1=0.5, beta2=0.75, weight_decay=0.1).step_scalars(2, 0.3)
    assert s == pytest.approx(
        {"lr": 0.3, "step_size": 0.4, "correction": 1 / math.sqrt(0.4375), "decay_factor": 0.97}, rel=1e-15
    )


@pytest.mark.parametrize("make", [Adam, AdamW])
def test_adams_first_step_has_the_size_of_the_rate(backend, make):
    """Kingma and Ba, section 2.1: at t = 1 the corrected moments are dw and dw^2, so each step is lr sign(dw)."""
    optimizer = make() if make is Adam else AdamW(weight_decay=0.0)
    params = tree_map(backend.asarray, ({"W": np.asarray([[1.0, -2.0, 0.5]])},))
    grads = tree_map(backend.asarray, ({"W": np.asarray([[1e-3, -40.0, 7.0]])},))
    state = optimizer.init(backend.xp, params)
    after, _ = optimizer.step(backend.xp, params, grads, state, optimizer.step_scalars(1, 0.1))
    np.testing.assert_allclose(backend.to_numpy(after[0]["W"]), [[0.9, -1.9, 0.4]], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Momentum(momentum=1.0), "momentum"),
        (lambda: Nesterov(momentum=-0.1), "momentum"),
        (lambda: RMSprop(rho=math.nan), "rho"),
        (lambda: RMSprop(eps=0.0), "eps"),
        (lambda: Adagrad(eps=-1e-8), "eps"),
        (lambda: Adam(beta1=1.0), "beta1"),
        (lambda: AdamW(beta2=2.0), "beta2"),
        (lambda: Adam(eps=0.0), "eps"),
        (lambda: AdamW(weight_decay=-0.1), "decay"),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused(make: Callable[[], Optimizer], word: str):
    with pytest.raises(UsageError, match=word):
        make()


def gradients(backend: Backend, factor: float = 1.0) -> Any:
    host = params_like_a_network(np.random.default_rng(9))
    return tree_map(lambda a: backend.asarray(factor * a), host)


CLIPPINGS = [(clip_by_global_norm, "clip_grad_norm_"), (clip_by_value, "clip_grad_value_")]


@pytest.mark.parametrize(("clip", "judge"), CLIPPINGS)
@pytest.mark.parametrize(("limit", "factor"), [(1.0, 1.0), (0.03, 1e3), (1e6, 1.0), (1.0, 0.0)])
def test_clipping_is_pytorchs(backend, clip, judge, limit, factor):
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    params = [torch.zeros(a.shape, dtype=torch.float64) for a in leaves(gradients(backend))]
    for param, grad in zip(params, leaves(gradients(backends.NumpyBackend(), factor)), strict=True):
        param.grad = torch.tensor(grad)
    getattr(torch.nn.utils, judge)(params, limit)
    clipped = clip(backend.xp, gradients(backend, factor), limit)
    for ours, param in zip(leaves(clipped), params, strict=True):
        difference = np.linalg.norm(backend.to_numpy(ours) - param.grad.numpy())
        assert difference <= 1e-12 * float(param.grad.norm())


@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_value])
def test_clipping_runs_within_the_loop_and_keeps_float32(backend, clip):
    """Traced on JAX: so it waits for nothing and reads nothing back."""
    host = params_like_a_network(np.random.default_rng(9), "float32", 3)

    def step(state: Any, data: Any, grads: Any) -> Any:
        return clip(backend.xp, grads, 0.5)

    begin = tree_map(lambda a: backend.asarray(a[0]), host)
    clipped = tree_map(backend.to_numpy, backend.scan(step, begin, {}, tree_map(backend.asarray, host)))
    assert describe(clipped) == describe(tree_map(lambda a: a[0], host))
    flat = np.concatenate([a.ravel() for a in leaves(clipped)])
    size = np.linalg.norm(flat) if clip is clip_by_global_norm else np.abs(flat).max()
    assert size == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_value])
def test_clipping_hides_no_nan(backend, clip):
    """A gradient that is not a number must still stop the run."""
    grads = tree_map(backend.asarray, ({"W": np.asarray([[1.0, math.nan]])},))
    assert np.isnan(backend.to_numpy(clip(backend.xp, grads, 0.5)[0]["W"])).any()


@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_value])
@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_limits_that_cannot_be_are_refused(clip, limit):
    with pytest.raises(UsageError, match="limit"):
        clip(np, ({"W": np.ones((2, 2))},), limit)
