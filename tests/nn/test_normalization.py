"""BatchNorm and LayerNorm against PyTorch's: running statistics, evaluation, training, half precision.

That their gradients are right in training is proven with every other layer's, in test_layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import Backend, NumpyBackend, leaves, select, tree_map
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.layers import BatchNorm, Dense, LayerNorm, Tanh
from nnbackprop.nn.losses import MeanSquaredError
from nnbackprop.nn.mixed_precision import MixedPrecision
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Residual, Sequential, replace_buffers
from nnbackprop.optim import Momentum
from tests.support.gradients import AUTODIFF, DIFFERENCES, central_differences, distance

N, K, STEPS = 8, 4, 6
NETWORK = Sequential(Dense(5), BatchNorm(), Tanh(), Residual(LayerNorm(), Dense(5), BatchNorm(0.3)), Dense(2))


def batches(dtype: str = "float64") -> np.ndarray:
    """(STEPS, N, K), with features of other means and spreads."""
    rng = np.random.default_rng(7)
    return (rng.standard_normal((STEPS, N, K)) * [1, 2, 5, 0.1] + [0, 3, -2, 1]).astype(dtype)


def key(backend: Backend) -> RngKey:
    return RngKey(0, backend.asarray(np.array(0, np.int32)))


@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0])
def test_running_statistics_and_evaluation_are_pytorchs(backend: Backend, momentum: float) -> None:
    """Over several batches; then y of a further one, and dx, with the statistics fixed."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    layer, theirs = BatchNorm(momentum), torch.nn.BatchNorm1d(K, momentum=momentum, dtype=torch.float64)
    params, xp = tree_map(backend.asarray, layer.build(None, (K,), "float64")[0]), backend.xp
    x, *rest = batches()
    for batch in rest:
        y, cache = layer.forward(xp, params, backend.asarray(batch), key(backend))
        params = replace_buffers(params, layer.new_buffers(xp, params, cache))
        assert distance(backend.to_numpy(y), theirs(torch.tensor(batch)).detach().numpy()) <= AUTODIFF
    assert distance(backend.to_numpy(params["mean"]), theirs.running_mean.numpy()) <= AUTODIFF
    assert distance(backend.to_numpy(params["var"]), theirs.running_var.numpy()) <= AUTODIFF

    theirs.eval()
    at = torch.tensor(x, requires_grad=True)
    (theirs(at) ** 2).sum().backward()
    y, cache = layer.forward(xp, params, backend.asarray(x), None)
    dx, grads = layer.backward(xp, params, cache, 2 * y, True)
    for ours, want in ((dx, at), (grads["gamma"], theirs.weight), (grads["beta"], theirs.bias)):
        assert distance(backend.to_numpy(ours), want.grad.numpy()) <= AUTODIFF
    unchanged = layer.new_buffers(xp, params, cache)
    assert all(
        np.array_equal(backend.to_numpy(unchanged[name]), backend.to_numpy(params[name])) for name in unchanged
    )


def test_running_statistics_of_channels_are_pytorchs(backend: Backend) -> None:
    """BatchNorm2d on images with channels last: over samples, rows and columns, of N rows columns numbers."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    layer, theirs = BatchNorm(0.3), torch.nn.BatchNorm2d(K, momentum=0.3, dtype=torch.float64)
    params, xp = tree_map(backend.asarray, layer.build(None, (2, 1, K), "float64")[0]), backend.xp
    images = batches().reshape(STEPS, N // 2, 2, 1, K)
    for batch in images[1:]:
        y, cache = layer.forward(xp, params, backend.asarray(batch), key(backend))
        params = replace_buffers(params, layer.new_buffers(xp, params, cache))
        want = theirs(torch.tensor(batch).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
        assert distance(backend.to_numpy(y), want) <= AUTODIFF
    assert distance(backend.to_numpy(params["mean"]), theirs.running_mean.numpy()) <= AUTODIFF
    assert distance(backend.to_numpy(params["var"]), theirs.running_var.numpy()) <= AUTODIFF
    theirs.eval()
    y, _ = layer.forward(xp, params, backend.asarray(images[0]), None)
    want = theirs(torch.tensor(images[0]).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    assert distance(backend.to_numpy(y), want) <= AUTODIFF


def test_evaluation_gradients_are_central_differences(backend: Backend) -> None:
    """Of the whole network, whose running statistics are those of one batch."""
    xp, (first, x, *_) = backend.xp, batches()
    params = tree_map(backend.asarray, NETWORK.init((K,), dtype="float64"))
    _, caches = NETWORK.forward(xp, params, backend.asarray(first), key(backend))
    params = replace_buffers(params, NETWORK.new_buffers(xp, params, caches))

    def loss_at(x: np.ndarray) -> float:
        return float(np.sum(backend.to_numpy(NETWORK.forward(xp, params, backend.asarray(x))[0]) ** 2)) / 2

    y, caches = NETWORK.forward(xp, params, backend.asarray(x))
    dx, _ = NETWORK.backward(xp, params, caches, y, need_dx=True)
    assert distance(backend.to_numpy(dx), central_differences(loss_at, x)) <= DIFFERENCES


def torch_network(torch: Any, params: Any) -> Any:
    """NETWORK in PyTorch, with these parameters."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts = torch.nn.LayerNorm(5), torch.nn.Linear(5, 5), torch.nn.BatchNorm1d(5, momentum=0.3)
            self.f = torch.nn.Sequential(*parts)

        def forward(self, x: Any) -> Any:
            return x + self.f(x)

    linear, norm = torch.nn.Linear, torch.nn.BatchNorm1d
    net = torch.nn.Sequential(linear(K, 5), norm(5), torch.nn.Tanh(), Block(), linear(5, 2)).double()
    ours = [np.array(params[i][name].T) for i in (0, 1) for name in params[i] if name not in ("mean", "var")]
    ours += [np.array(p[name].T) for p in params[3] for name in p if name not in ("mean", "var")]
    ours += [np.array(params[4][name].T) for name in params[4]]
    with torch.no_grad():
        for theirs, array in zip(net.parameters(), ours, strict=True):
            theirs.copy_(torch.tensor(array))
    return net


@pytest.mark.parametrize("looped", [False, True], ids=["eager", "looped"])
def test_training_is_pytorchs(backend: Backend, looped: bool) -> None:
    """Six steps: weights, running statistics and evaluation. Not of Adam, which makes steps of the roundings that
    are the gradients of biases before a BatchNorm."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    xp, loss, momentum, xs = backend.xp, MeanSquaredError("mean"), Momentum(), batches()
    t = np.random.default_rng(1).standard_normal((STEPS, N, 2))
    host = NETWORK.init((K,), dtype="float64")
    net = torch_network(torch, host)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for x, target in zip(xs, t, strict=True):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(torch.tensor(x)), torch.tensor(target)).backward()
        optimizer.step()

    def step(state: Any, data: Any, x: Any) -> Any:
        params = state["params"]
        y, caches = NETWORK.forward(xp, params, x["x"], RngKey(0, x["step"]))
        _, grads = NETWORK.backward(xp, params, caches, loss(xp, y, x["t"])[1])
        params = replace_buffers(params, NETWORK.new_buffers(xp, params, caches))
        params, moved = momentum.step(xp, params, grads, state["optimizer"], x["scalars"])
        return {"params": params, "optimizer": moved}

    arrays = {"x": xs, "t": t, "step": np.arange(STEPS, dtype=np.int32), "scalars": {"lr": np.full(STEPS, 0.01)}}
    params = tree_map(backend.asarray, host)
    state = {"params": params, "optimizer": momentum.init(xp, params)}
    scan = backend.scan if looped else lambda *a: Backend.scan(backend, *a)
    after = scan(step, state, {}, tree_map(backend.asarray, arrays))["params"]

    names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
    for branch, at in ((after[1], "1"), (after[3][2], "3.f.2")):
        for name, array in branch.items():
            assert distance(backend.to_numpy(array), net.state_dict()[f"{at}.{names[name]}"].numpy()) <= 1e-12
    net.eval()
    y, _ = NETWORK.forward(xp, after, backend.asarray(xs[0]))
    assert distance(backend.to_numpy(y), net(torch.tensor(xs[0])).detach().numpy()) <= 1e-12


def test_a_training_batch_of_one_sample_is_refused(backend: Backend) -> None:
    params, x = BatchNorm().build(None, (K,), "float64")[0], np.ones((1, K))
    arrays = tree_map(backend.asarray, (params, x))
    with pytest.raises(ShapeError, match=r"training batch of 1 sample.*or use LayerNorm"):
        BatchNorm().forward(backend.xp, *arrays, key(backend))
    y, _ = BatchNorm().forward(backend.xp, *arrays, None)
    np.testing.assert_allclose(backend.to_numpy(y), x / np.sqrt(1 + 1e-5), rtol=1e-15)


def test_statistics_of_many_places_keep_the_digits_of_float32(backend: Backend) -> None:
    """Of 131,072 places: n terms added one after another are off by at most n u, u = 2^-24 (Higham, Accuracy and
    stability of numerical algorithms, section 4.2), and no axis of the batch is longer than 128."""
    shape, bound = (128, 32, 32, 2), (128 + 32 + 32) * 2.0**-24
    x = np.random.default_rng(0).gamma(1.0, size=shape).astype(np.float32)
    layer = BatchNorm(momentum=1.0)
    params, _ = layer.build(None, shape[1:], "float32")
    arrays = {name: backend.asarray(value) for name, value in params.items()}
    _, cache = layer.forward(backend.xp, arrays, backend.asarray(x), key(backend))
    found = layer.new_buffers(backend.xp, arrays, cache)
    exact = x.astype(np.float64).reshape(-1, 2)
    assert backend.to_numpy(found["mean"]) == pytest.approx(exact.mean(0), rel=bound)
    assert backend.to_numpy(found["var"]) == pytest.approx(exact.var(0, ddof=1), rel=2 * bound)


@pytest.mark.parametrize("layer", [BatchNorm(), LayerNorm()], ids=str)
def test_a_constant_feature_gives_beta_and_no_nan(backend: Backend, layer: Any) -> None:
    """Its variance is 0, and eps is what is divided by."""
    params = tree_map(backend.asarray, layer.build(None, (K,), "float64")[0])
    y, cache = layer.forward(backend.xp, params, backend.asarray(np.full((N, K), 3.0)), key(backend))
    assert not backend.to_numpy(y).any()
    dx, _ = layer.backward(backend.xp, params, cache, backend.asarray(np.ones((N, K))), True)
    assert not backend.to_numpy(dx).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_statistics_are_float32_in_mixed_precision(library: str, dtype: str) -> None:
    """float16 ends at 65,504: a feature of mean 1,000 has squares beyond it, whose statistics are still right."""
    pytest.importorskip(library, reason=f"{library} is not installed")
    backend = select(library)
    if not hasattr(backend.xp, dtype):
        pytest.skip(f"{library} has no {dtype}")
    network = Sequential(BatchNorm(1.0), LayerNorm(), Dense(2))
    mixed, xp = MixedPrecision(network, dtype, backend), backend.xp
    params = tree_map(backend.asarray, network.init((K,)))
    x = (1000 + 400 * np.random.default_rng(0).standard_normal((64, K))).astype("float32")
    y, caches = mixed.forward(xp, params, backend.asarray(x), key(backend))
    _, grads = mixed.backward(xp, params, caches, y)
    buffers = tree_map(backend.to_numpy, mixed.new_buffers(xp, params, caches))
    assert {a.dtype for a in leaves((buffers, tree_map(backend.to_numpy, grads)))} == {np.dtype("float32")}
    np.testing.assert_allclose(buffers[0]["mean"], x.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(buffers[0]["var"], x.var(axis=0, ddof=1), rtol=0.02)
    exact, _ = network.forward(xp, params, backend.asarray(x), key(backend))
    assert distance(backend.to_numpy(y), backend.to_numpy(exact)) <= 0.05


def test_penalties_spare_normalization_unless_biases_count(backend: Backend) -> None:
    """gamma and beta count with the biases; buffers never do."""
    params = tree_map(lambda a: np.full_like(a, 2.0), NETWORK.init((K,), dtype="float64"))
    layers = [p for _, _, p in NETWORK.named_layers(params)]
    weights = sum(p["W"].size for p in layers if "W" in p)
    trained = sum(w.size for p in layers for name, w in p.items() if name not in ("mean", "var"))
    arrays = tree_map(backend.asarray, params)
    J, all_J = (
        float(backend.to_numpy(WeightPenalty(l2=1.0, biases=biases).loss(backend.xp, NETWORK, arrays)))
        for biases in (False, True)
    )
    assert (J, all_J) == (2 * weights, 2 * trained)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BatchNorm(momentum=0.0), "momentum .* got 0.0"),
        (lambda: BatchNorm(momentum=1.5), "momentum .* got 1.5"),
        (lambda: BatchNorm(eps=0.0), "eps .* got 0.0"),
        (lambda: LayerNorm(eps=-1.0), "eps .* got -1.0"),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.parametrize("layer", [BatchNorm(), LayerNorm()], ids=str)
def test_images_are_refused_with_what_to_put_before(layer: Any) -> None:
    with pytest.raises(ShapeError, match=rf"{type(layer).__name__} takes vectors.* put Flatten\(\) before it"):
        layer.build(None, (28, 28), "float32")


def test_a_network_knows_whether_it_has_buffers() -> None:
    assert NETWORK.has_buffers
    assert Sequential(Sequential(Residual(BatchNorm()))).has_buffers
    assert not Sequential(Dense(3), LayerNorm()).has_buffers
    plain = Sequential(Dense(3), Tanh())
    params = plain.init((K,))
    _, caches = plain.forward(NumpyBackend().xp, params, np.ones((2, K), np.float32))
    assert plain.new_buffers(NumpyBackend().xp, params, caches) == ({}, {})
