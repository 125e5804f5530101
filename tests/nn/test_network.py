"""Sequential and Residual, nested: shapes checked when built, gradients by two judges, traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import Backend, leaves, select, tree_map
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.augmentation.transforms import Shift
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.layers import (
    ELU,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    LeakyReLU,
    PReLU,
    ReLU,
    Softmax,
    Tanh,
)
from nnbackprop.nn.losses import Huber, MeanSquaredError, Pinball, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import SGD, Adagrad, AdamW, ExponentialMovingAverage, GradientClipping, Nesterov, RMSprop
from tests.support.gradients import AUTODIFF, DIFFERENCES, JUDGES, central_differences, distance, with_leaf
from tests.support.layer_rows import jax_conv, standardized, torch_conv


def test_names_count_within_a_kind() -> None:
    network = Sequential(Dense(3), ReLU(), Dense(2), Dropout(0.5))
    assert network.names == ("dense1", "relu1", "dense2", "dropout1")


def test_an_error_of_shape_names_the_layer_and_its_place() -> None:
    network = Sequential(Dense(3), Softmax(), Dense(2))
    with pytest.raises(ShapeError, match=r"Layer 1, dense1, at the input: .*\(28, 28\)"):
        network.init((28, 28))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((), "at least one layer and got none"),
        ((Dense(3), ReLU), r"Layer 2 of Sequential .*: write ReLU\(\), with parentheses"),
        (([Dense(3), ReLU()],), r"Layer 1 of Sequential .*: write Sequential\(\*layers\)"),
        ((Dense(3), 7), "Layer 2 of Sequential is 7, which is not a layer"),
    ],
)
def test_what_is_not_a_layer_is_refused(layers: tuple, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sequential(*layers)


def test_float32_and_float64_begin_at_the_same_weights() -> None:
    network = Sequential(Dense(7), Tanh(), Dense(2))
    wide, narrow = (network.init((5,), seed=3, dtype=dtype) for dtype in ("float64", "float32"))
    for a, b in zip(leaves(wide), leaves(narrow), strict=True):
        assert b.dtype == np.float32
        assert np.array_equal(a.astype(np.float32), b)


def test_without_need_dx_the_gradients_are_the_same_and_dx_is_none(backend: Backend) -> None:
    xp = backend.xp
    network = Sequential(Tanh(), Dense(3), ReLU(), Dense(2))
    params = tree_map(backend.asarray, network.init((4,), dtype="float64"))
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
    params = network.init((8,), dtype="float64")
    ys = [network.forward(numpy.xp, params, x, RngKey(0, np.array(step, np.int32)))[0] for step in (1, 1, 2)]
    assert np.array_equal(ys[0], ys[1])
    assert not np.array_equal(ys[0], ys[2])
    assert np.array_equal(network.forward(numpy.xp, params, x)[0], x @ params[1]["W"] + params[1]["b"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_outline_has_the_shapes_of_the_parameters_and_none_of_their_memory(dtype: str) -> None:
    network = Sequential(Dense(7), Tanh(), Dropout(0.5), Dense(2, bias=False), Softmax())
    outline, params = network.empty_params((5,), dtype), network.init((5,), dtype=dtype)
    assert tree_map(lambda a: (a.shape, str(a.dtype)), outline) == tree_map(
        lambda a: (a.shape, str(a.dtype)), params
    )
    (layer,) = Sequential(Dense(2**20)).empty_params((2**20,), dtype)
    assert layer["W"].shape == (2**20, 2**20)
    with pytest.raises(ShapeError, match=r"Layer 1, dense1, at the input: .*\(28, 28\)"):
        network.empty_params((28, 28))


NESTED = Sequential(
    Flatten(),
    Dense(4),
    Residual(Dense(5), Tanh(), Dropout(0.3), Dense(4)),
    Sequential(Tanh(), Residual(Dense(4, bias=False))),
    Dense(2),
)
STEP = np.array(7, np.int32)


def nested_case() -> tuple[Any, np.ndarray, np.ndarray]:
    """Parameters of the nested network, a batch (6, 2, 3) and dy (6, 2)."""
    rng = np.random.default_rng(3)
    return NESTED.init((2, 3), dtype="float64"), rng.standard_normal((6, 2, 3)), rng.standard_normal((6, 2))


def nested_gradients(backend: Backend, params: Any, x: np.ndarray, dy: np.ndarray) -> tuple[Any, Any, Any]:
    """y, dx and the gradients, on the host."""
    p, key = tree_map(backend.asarray, params), RngKey(0, backend.asarray(STEP))
    y, caches = NESTED.forward(backend.xp, p, backend.asarray(x), key)
    dx, grads = NESTED.backward(backend.xp, p, caches, backend.asarray(dy), need_dx=True)
    return tree_map(backend.to_numpy, (y, dx, grads))


def test_nested_gradients_are_central_differences(backend: Backend) -> None:
    params, x, dy = nested_case()

    def loss_at(params: Any, x: np.ndarray) -> float:
        return float(np.sum(nested_gradients(backend, params, x, dy)[0] * dy))

    _, dx, grads = nested_gradients(backend, params, x, dy)
    assert distance(dx, central_differences(lambda a: loss_at(params, a), x)) <= DIFFERENCES
    for i, (w, g) in enumerate(zip(leaves(params), leaves(grads), strict=True)):
        numeric = central_differences(lambda a, i=i: loss_at(with_leaf(params, i, a), x), w)  # type: ignore[misc]
        assert distance(g, numeric) <= DIFFERENCES


@pytest.mark.parametrize("judge", JUDGES)
def test_nested_gradients_are_autodiffs(backend: Backend, judge: str) -> None:
    params, x, dy = nested_case()
    mask = RngKey(0, STEP, path="2.2").dropout_mask(select("numpy").xp, (6, 5), 0.3, np.float64)

    def theirs(library: Any, x: Any, *flat: Any) -> Any:
        tanh, array = (library.tanh, library.tensor) if judge == "torch" else (library.numpy.tanh, np.asarray)
        W0, b0, W1, b1, W2, b2, W3, W4, b4 = flat
        h = x.reshape(6, 6) @ W0 + b0
        h = h + (array(mask) * tanh(h @ W1 + b1)) @ W2 + b2
        h = tanh(h)
        y = (h + h @ W3) @ W4 + b4
        return (y * array(dy)).sum(), y

    y, dx, grads = nested_gradients(backend, params, x, dy)
    want_y, (want_dx, *want) = JUDGES[judge](theirs, x, *leaves(params))
    for ours, other in zip((y, dx, *leaves(grads)), (want_y, want_dx, *want), strict=True):
        assert distance(ours, other) <= AUTODIFF


BLOCK = Residual(Conv2D(2, 3, padding="same", bias=False), BatchNorm(), PReLU())


def test_a_residual_block_of_images_by_differences_and_autodiff(backend: Backend) -> None:
    """x + PReLU(BatchNorm(Conv2D(x))), with its input's gradient."""
    rng = np.random.default_rng(4)
    x, dy, params = (
        rng.standard_normal((3, 4, 5, 2)),
        rng.standard_normal((3, 4, 5, 2)),
        BLOCK.init((4, 5, 2), 1, "float64"),
    )
    conv, norm, prelu = params
    norm["gamma"] += 0.3

    def gradients(params: Any, x: np.ndarray) -> tuple[Any, Any, Any]:
        p, key = tree_map(backend.asarray, params), RngKey(0, backend.asarray(STEP))
        y, caches = BLOCK.forward(backend.xp, p, backend.asarray(x), key)
        found = BLOCK.backward(backend.xp, p, caches, backend.asarray(dy), need_dx=True)
        return tree_map(backend.to_numpy, (y, *found))

    def theirs(library: Any, x: Any, W: Any, gamma: Any, beta: Any, a: Any) -> Any:
        if library.__name__ == "jax":
            z = standardized(library, jax_conv(library, x, {"W": W}, (3, 3), (1, 1), "SAME"), (0, 1, 2))
            z = gamma * z + beta
            y = x + library.numpy.where(z > 0, z, a * z)
            return (y * dy).sum(), y
        z = torch_conv(library, x, {"W": W}, (3, 3), padding=1).permute(0, 3, 1, 2)
        z = library.nn.functional.batch_norm(z, None, None, gamma, beta, training=True)
        y = x + library.nn.functional.prelu(z, a).permute(0, 2, 3, 1)
        return (y * library.tensor(dy)).sum(), y

    y, dx, grads = gradients(params, x)
    ours = (dx, grads[0]["W"], grads[1]["gamma"], grads[1]["beta"], grads[2]["a"])
    assert (
        distance(dx, central_differences(lambda x: float(np.sum(gradients(params, x)[0] * dy)), x)) <= DIFFERENCES
    )
    for judge in JUDGES.values():
        want_y, want = judge(theirs, x, conv["W"], norm["gamma"], norm["beta"], prelu["a"])
        for g, other in zip((y, *ours), (want_y, *want), strict=True):
            assert distance(g, other) <= AUTODIFF


def test_nested_parameters_are_drawn_from_streams_of_their_paths() -> None:
    params = NESTED.init((2, 3), seed=5)
    assert [list(branch) for branch in params[2]] == [["W", "b"], [], [], ["W", "b"]]
    drawn, _ = Dense(4).build(InitRng(5, "2.3"), (5,), "float32")
    assert np.array_equal(params[2][3]["W"], drawn["W"])
    outline = NESTED.empty_params((2, 3))
    assert tree_map(lambda a: (a.shape, str(a.dtype)), outline) == tree_map(
        lambda a: (a.shape, str(a.dtype)), params
    )


def test_named_layers_and_plan_flatten_a_nested_network() -> None:
    """A plan has rows for the sums of residuals too."""
    params, plan = NESTED.init((2, 3)), {row.name: row for row in NESTED.summary((2, 3))}
    names = [name for name, *_ in NESTED.named_layers()]
    assert [name for name in plan if name.split(".")[-1] != "residual1"] == names
    assert names[2:6] == [f"residual1.{name}" for name in ("dense1", "tanh1", "dropout1", "dense2")]
    assert names[6:8] == ["sequential1.tanh1", "sequential1.residual1.dense1"]
    assert [plan[name].out_shape for name in names] == [(6,), (4,), (5,), (5,), (5,), (4,), (4,), (4,), (2,)]
    assert plan["residual1"].out_shape == plan["sequential1.residual1"].out_shape == (4,)
    for name, _, p in NESTED.named_layers(params):
        assert tree_map(np.shape, p) == tree_map(np.shape, plan[name].params)


def test_a_summary_is_printed_as_a_table() -> None:
    """Of a convolution of 2 (3 3 3 + 1) parameters."""
    network = Sequential(Conv2D(2, 3), ReLU(), Flatten(), Dense(1000))
    rows = [line.split("  ") for line in str(network.summary((12, 12, 3))).splitlines()]
    cells = [[cell.strip() for cell in row if cell] for row in rows]
    assert cells == [
        ["layer", "output shape", "parameters"],
        ["conv2d1", "10 x 10 x 2", "56"],
        ["relu1", "10 x 10 x 2"],
        ["flatten1", "200"],
        ["dense1", "1000", "201,000"],
        ["total", "201,056"],
    ]


def test_a_trace_has_every_layers_arrays_and_gradients(backend: Backend) -> None:
    """In the order they are computed in; a residual's sum comes after its layers, and its dx as well."""
    xp, (params, x, dy) = backend.xp, nested_case()
    p, key = tree_map(backend.asarray, params), RngKey(0, backend.asarray(STEP))
    trace = NESTED.trace(xp, p, backend.asarray(x), key)
    inner = [f"residual1.{name}" for name in ("dense1", "tanh1", "dropout1", "dense2")]
    second = ["sequential1.residual1.dense1", "sequential1.residual1"]
    forward = ["flatten1", "dense1", *inner, "residual1", "sequential1.tanh1", *second, "dense2"]
    backward = ["dense2", *second, "sequential1.tanh1", *inner[::-1], "residual1", "dense1", "flatten1"]
    assert [layer.name for layer in trace.layers] == forward
    assert [layer.name for layer, *_ in trace.backward(xp, backend.asarray(dy))] == backward
    assert trace.layers[4].path == (2, 2)
    y, dx, grads = nested_gradients(backend, params, x, dy)
    assert np.array_equal(backend.to_numpy(trace.y), y)
    found = {layer.name: (dx, grads) for layer, _, dx, grads in trace.backward(xp, backend.asarray(dy))}
    assert np.array_equal(backend.to_numpy(found["flatten1"][0]), dx)
    for name, _, want in NESTED.named_layers(grads):
        assert found[name][1].keys() == want.keys()
        assert all(np.array_equal(backend.to_numpy(g), want[k]) for k, g in found[name][1].items())


def test_layers_below_the_first_parameters_are_not_computed() -> None:
    """A nested network without parameters counts as a layer without."""

    class Untouched(Tanh):
        def backward(self, *_: Any) -> Any:
            raise AssertionError("a gradient nobody asked for")

    network, x = Sequential(Sequential(Untouched(), Untouched()), Dense(2)), np.ones((3, 4))
    params, xp = network.init((4,), dtype="float64"), select("numpy").xp
    y, caches = network.forward(xp, params, x)
    _, grads = network.backward(xp, params, caches, y)
    assert tree_map(np.shape, grads) == tree_map(np.shape, params)


def test_a_residual_that_changes_the_shape_is_refused() -> None:
    words = r"Layer 2, residual1, after dense1: .*shape \(3,\).*shape \(5,\).*Dense\(3\)"
    with pytest.raises(ShapeError, match=words):
        Sequential(Dense(3), Residual(Dense(5))).init((4,))
    with pytest.raises(ShapeError, match=r'shape \(8, 8, 2\).*shape \(6, 6, 2\).*Conv2D\(2, padding="same"\)'):
        Residual(Conv2D(2)).init((8, 8, 2))


@pytest.mark.parametrize(
    "made",
    [
        LeakyReLU(np.float64(0.1)),
        ELU(np.float32(1)),
        PReLU(np.array(0.25)),
        Dropout(np.float64(0.5)),
        BatchNorm(np.float64(0.1), np.float64(1e-5)),
        LayerNorm(np.float64(1e-5)),
        SoftmaxCrossEntropy(np.float64(0.1)),
        SigmoidBinaryCrossEntropy(np.float64(0.1), np.float64(0), np.float64(1)),
        MeanSquaredError("mean", np.float64(0.1), np.float64(0.9)),
        Huber(np.float64(1.5)),
        Pinball(np.float64(0.9)),
        WeightPenalty(np.float64(1e-4), np.float64(1e-3), np.bool_(True)),
        Adagrad(np.float64(1e-10)),
        RMSprop(np.float64(0.9), np.float64(1e-8)),
        AdamW(np.float64(0.9), np.float64(0.99), np.float64(1e-8), np.float64(0.01)),
        Nesterov(np.float64(0.9)),
        GradientClipping(SGD(), norm=np.float64(1), value=np.float64(1)),
        ExponentialMovingAverage(SGD(), np.float64(0.99)),
        Shift(np.float64(2)),
    ],
    ids=lambda made: type(made).__name__,
)
def test_hyperparameters_are_python_numbers(made: Any) -> None:
    assert {type(value) for value in vars(made).values()} <= {float, bool, str, SGD}
