"""Layers of images: facts by hand, ties, shapes refused, and a small network trained on several libraries.

That their gradients are right is proven with every other layer's, in test_layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Backend, NumpyBackend, leaves, select
from nnbackprop import Adam, Dataset, SoftmaxCrossEntropy, Trainer
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import He, InitRng
from nnbackprop.nn.layers import (
    AveragePool2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    ReLU,
)
from nnbackprop.nn.layers.windows import sum_windows, windows
from nnbackprop.nn.sequential import Sequential
from tests.support.gradients import AUTODIFF, distance
from tests.support.layer_rows import run

NETWORK = Sequential(Conv2D(8, 3, padding="same"), ReLU(), MaxPool2D(2), Flatten(), Dense(4))


def test_conv_by_hand(backend: Backend) -> None:
    """One image of 3 x 3, a kernel of 2 x 2: z is the sum of a window's diagonal; the kernel is not flipped."""
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    params = {"W": np.array([[1.0], [0.0], [0.0], [1.0]]), "b": np.array([10.0])}
    dz = np.array([[1.0, 0.0], [0.0, 2.0]]).reshape(1, 2, 2, 1)
    z, dx, grads = run(backend, Conv2D(1, 2), x, dz, params)
    np.testing.assert_array_equal(z[0, :, :, 0], [[14, 16], [20, 22]])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 0, 0], [0, 3, 0], [0, 0, 2]])
    np.testing.assert_array_equal(grads["W"][:, 0], [8, 11, 17, 20])  # 1 (0, 1, 3, 4) + 2 (4, 5, 7, 8)
    np.testing.assert_array_equal(grads["b"], [3.0])


def test_a_kernel_of_the_whole_image_is_a_dense_layer(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x, dz = rng.standard_normal((4, 3, 2, 5)), rng.standard_normal((4, 6))
    params, out_shape = Conv2D(6, (3, 2)).build(InitRng(), (3, 2, 5), "float64")
    assert out_shape == (1, 1, 6)
    z, dx, grads = run(backend, Conv2D(6, (3, 2)), x, dz.reshape(4, 1, 1, 6), params)
    want_z, want_dx, want = run(backend, Dense(6), x.reshape(4, 30), dz, params)
    assert distance(z.reshape(4, 6), want_z) <= AUTODIFF
    assert distance(dx.reshape(4, 30), want_dx) <= AUTODIFF
    assert distance(grads["W"], want["W"]) <= AUTODIFF


def test_initial_weights_have_the_variance_of_he() -> None:
    """2 / fan-in (He et al. 2015), fan-in 3 * 3 * 16 = 144; the estimate's own deviation is under 1%."""
    params, _ = Conv2D(256).build(InitRng(3), (8, 8, 16), "float64")
    assert params["W"].shape == (144, 256)
    assert params["W"].var() == pytest.approx(2 / 144, rel=0.03)
    np.testing.assert_array_equal(params["b"], np.zeros(256))


@pytest.mark.parametrize(
    ("layer", "out_shape"),
    [
        (Conv2D(7), (10, 6, 7)),
        (Conv2D(7, padding="same"), (12, 8, 7)),
        (Conv2D(7, 4, stride=3, padding="same"), (4, 3, 7)),
        (Conv2D(7, 5, stride=2, padding=2), (6, 4, 7)),
        (Conv2D(7, (1, 8), stride=(5, 1)), (3, 1, 7)),
        (MaxPool2D(), (6, 4, 2)),
        (MaxPool2D(3, stride=2), (5, 3, 2)),
        (AveragePool2D(5), (2, 1, 2)),
        (GlobalAveragePool2D(), (2,)),
    ],
    ids=str,
)
def test_output_shapes(layer: Layer, out_shape: tuple[int, ...]) -> None:
    """Of images of 12 x 8 x 2: floor((length + padding - size) / stride) + 1, and ceil(length / stride)."""
    params, given = layer.build(InitRng(), (12, 8, 2), "float64")
    assert given == out_shape
    y, _ = layer.forward(NumpyBackend().xp, params, np.ones((3, 12, 8, 2)), None)
    assert y.shape == (3, *out_shape)


def test_a_tie_goes_to_the_first_as_in_pytorch(backend: Backend) -> None:
    """Small whole numbers, windows that overlap: most have ties."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    rng = np.random.default_rng(0)
    x, dy = rng.integers(0, 2, (3, 6, 6, 2)).astype(float), rng.standard_normal((3, 4, 4, 2))
    at = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.max_pool2d(at.permute(0, 3, 1, 2), 3, 1).permute(0, 2, 3, 1)
    (y * torch.tensor(dy)).sum().backward()
    ours, dx, _ = run(backend, MaxPool2D(3, stride=1), x, dy, {})
    np.testing.assert_array_equal(ours, y.detach().numpy())
    assert distance(dx, at.grad.numpy()) <= AUTODIFF


def test_pooling_by_hand(backend: Backend) -> None:
    """The last column fits no window: it is not read, and gets no gradient."""
    x = np.array([[1.0, 5, 9], [3, 5, 9]]).reshape(1, 2, 3, 1)
    y, dx, _ = run(backend, MaxPool2D(), x, np.full((1, 1, 1, 1), 4.0), {})
    np.testing.assert_array_equal(y.ravel(), [5.0])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 4, 0], [0, 0, 0]])
    y, dx, _ = run(backend, AveragePool2D(), x, np.full((1, 1, 1, 1), 4.0), {})
    np.testing.assert_array_equal(y.ravel(), [3.5])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 1, 0], [1, 1, 0]])


lengths, steps = st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(rows_columns=lengths, size=steps, stride=steps)
def test_sum_windows_is_the_transpose_of_windows(rows_columns: Any, size: Any, stride: Any) -> None:
    """<windows(x), parts> = <x, sum_windows(parts)>, in whole numbers, of any shape."""
    in_shape = (max(rows_columns[0], size[0]), max(rows_columns[1], size[1]), 2)
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (2, *in_shape)).astype(float)
    views = windows(x, size, stride)
    parts = [rng.integers(-9, 9, view.shape).astype(float) for view in views]
    back = sum_windows(NumpyBackend().xp, parts, size, stride, in_shape)
    assert back.shape == x.shape
    assert sum(np.sum(view * part) for view, part in zip(views, parts, strict=True)) == np.sum(x * back)


@pytest.mark.parametrize("layer", [Conv2D(3), MaxPool2D(), AveragePool2D(), GlobalAveragePool2D()], ids=str)
@pytest.mark.parametrize(
    ("in_shape", "words"),
    [((28, 28), r"inputs\.reshape\(-1, 28, 28, 1\)"), ((784,), r"before Flatten\(\) and Dense, and reshape flat")],
)
def test_samples_that_are_no_images_are_refused(layer: Layer, in_shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=rf"{type(layer).__name__} takes images.*{words}"):
        layer.build(InitRng(), in_shape, "float32")


@pytest.mark.parametrize("layer", [Conv2D(3), MaxPool2D(2)], ids=str)
def test_a_window_larger_than_the_image_is_refused_and_channels_first_named(layer: Layer) -> None:
    with pytest.raises(ShapeError, match=r"1 rows, 28 columns.* is larger.*np\.moveaxis\(inputs, 1, -1\)"):
        layer.build(InitRng(), (1, 28, 28), "float32")


def test_dense_after_conv_names_flatten() -> None:
    with pytest.raises(ShapeError, match=r"Layer 2, dense1, after conv2d1: .* put Flatten\(\) before it"):
        Sequential(Conv2D(3), Dense(2)).init((8, 8, 1))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Conv2D(0), ShapeError, "filters, at least 1; got 0"),
        (lambda: Conv2D(3, 0), UsageError, "kernel_size .* got 0"),
        (lambda: Conv2D(3, (3, 3, 3)), UsageError, "kernel_size .* pair"),
        (lambda: Conv2D(3, stride=1.5), UsageError, "stride .* got 1.5"),
        (lambda: Conv2D(3, padding="full"), UsageError, '"valid", "same".* got \'full\''),
        (lambda: Conv2D(3, padding=3), UsageError, "below the kernel's 3"),
        (lambda: Conv2D(3, padding=-1), UsageError, "at least 0 .* got -1"),
        (lambda: Conv2D(3, weight_init=He), UsageError, "weight_init .* initializer"),
        (lambda: MaxPool2D(0), UsageError, "pool_size .* got 0"),
        (lambda: AveragePool2D(2, stride=-1), UsageError, "stride .* got -1"),
    ],
)
def test_a_hyperparameter_that_cannot_be_is_refused(make: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def strokes(n: int, seed: int) -> Dataset:
    """Images of 8 x 8 with noise and one stroke: across, down, or along a diagonal, at any place."""
    rng = np.random.default_rng(seed)
    labels, images = rng.integers(0, 4, n), rng.uniform(0, 0.3, (n, 8, 8, 1))
    for image, label, (r, c) in zip(images, labels, rng.integers(0, 4, (n, 2)), strict=True):
        for k in range(5):
            row, column = ((2, k), (k, 2), (k, k), (k, 4 - k))[label]
            image[r + row, c + column, 0] += 0.7
    return Dataset(images, labels, ("across", "down", "falling", "rising"))


def trained(backend: Backend) -> tuple[Trainer, float]:
    """The network after eight epochs of 400 images, and its accuracy on 200 others."""
    trainer = Trainer(
        NETWORK, SoftmaxCrossEntropy(), Adam(), 0.01, epochs=8, batch_size=20, backend=backend, dtype="float64"
    )
    trainer.fit(strokes(400, 0))
    return trainer, trainer.evaluate(strokes(200, 1)).accuracy


def test_a_small_network_learns_strokes_and_is_the_same_on_every_library() -> None:
    """Where a stroke is varies, what it is does not. 160 steps of Adam part by roundings alone."""
    ours, accuracy = trained(NumpyBackend())
    assert accuracy >= 0.95
    for name in ("torch", "jax"):
        pytest.importorskip(name, reason=f"{name} is not installed")
        theirs, same = trained(select(name))
        assert same == accuracy
        for a, b in zip(leaves(ours.host_params()), leaves(theirs.host_params()), strict=True):
            assert distance(b, a) <= 1e-10
