"""What a loss may be given: labels and targets of any other shape, dtype or range are refused, never broadcast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from backends import NumpyBackend
from nnbackprop.errors import DataError, ShapeError
from nnbackprop.nn.losses import (
    MeanSquaredError,
    SigmoidBinaryCrossEntropy,
    SoftmaxCrossEntropy,
    check_labels,
    one_hot,
)
from tests.support import loss_rows
from tests.support.loss_rows import K, N, every_row, run


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SoftmaxCrossEntropy(0.1)], ids=str)
@pytest.mark.parametrize("label", [-1, K, 2**31 - 1, -(2**31)])
def test_a_label_out_of_range_makes_the_loss_nan(backend, loss, label):
    y, t = loss_rows.example(loss)
    assert np.isfinite(run(backend, loss, y, t)[0])
    t[2] = label
    assert np.isnan(run(backend, loss, y, t)[0])


@pytest.mark.parametrize(
    "t",
    [
        pytest.param(np.zeros((N, 1), np.int32), id="a column of labels"),
        pytest.param(np.zeros((N, K), np.int32), id="one-hot rows"),
        pytest.param(np.zeros(N, np.float64), id="float labels"),
        pytest.param(np.zeros(N, bool), id="boolean labels"),
        pytest.param(np.zeros(N - 1, np.int32), id="a label short"),
        pytest.param(np.zeros((), np.int32), id="one label for all"),
    ],
)
def test_labels_of_another_kind_are_refused(backend, t):
    y, _ = loss_rows.example(SoftmaxCrossEntropy())
    with pytest.raises(ShapeError, match=r"integer labels \(n,\)"):
        run(backend, SoftmaxCrossEntropy(), y, t)


@pytest.mark.parametrize("loss", [row.loss for row in loss_rows.ROWS if not row.loss.takes_labels], ids=str)
@pytest.mark.parametrize(
    "t",
    [
        pytest.param(np.zeros((N, 1)), id="a column against k outputs"),
        pytest.param(np.zeros(N), id="a vector"),
        pytest.param(np.zeros(K), id="one row"),
        pytest.param(np.zeros((N, K), np.int32), id="integers"),
        pytest.param(np.zeros((N, K), np.float32), id="another dtype"),
    ],
)
def test_targets_of_another_kind_are_refused(backend, loss, t):
    y, _ = loss_rows.example(loss)
    with pytest.raises(ShapeError, match="Broadcasting would"):
        run(backend, loss, y, t)


@every_row
def test_outputs_that_are_no_rows_are_refused(backend, row):
    y, t = loss_rows.example(row.loss)
    with pytest.raises(ShapeError, match=r"\(n, k\)"):
        run(backend, row.loss, y[:, 0], t if row.loss.takes_labels else t[:, 0])


SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@given(y_shape=SHAPES, t_shape=SHAPES)
@example(y_shape=(0, 3), t_shape=(0,))
def test_only_a_label_a_row_is_taken(y_shape, t_shape):
    """An empty batch, which has no mean, is refused too."""
    y, t = np.zeros(y_shape), np.zeros(t_shape, np.int32)
    if len(y_shape) == 2 and 0 not in y_shape and t_shape == y_shape[:1]:
        assert run(NumpyBackend(), SoftmaxCrossEntropy(), y, t)[1].shape == y_shape
    else:
        with pytest.raises(ShapeError, match="n and k at least 1"):
            run(NumpyBackend(), SoftmaxCrossEntropy(), y, t)


@pytest.mark.parametrize("loss", [MeanSquaredError(), SigmoidBinaryCrossEntropy()], ids=str)
@given(shapes=st.tuples(SHAPES, SHAPES) | st.tuples(SHAPES).map(lambda one: one * 2))
@example(shapes=((0, 3), (0, 3)))
def test_only_targets_of_the_outputs_shape_are_taken(loss, shapes):
    y, t = map(np.zeros, shapes)
    if y.shape == t.shape and y.ndim == 2 and y.size:
        assert run(NumpyBackend(), loss, y, t)[1].shape == y.shape
    else:
        with pytest.raises(ShapeError, match="n and k at least 1"):
            run(NumpyBackend(), loss, y, t)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_one_hot_is_rows_of_the_identity(backend, dtype):
    """And of zeros for the label -1, even where int8 could not tell it from the 256th class; uint8's is 255."""
    xp, labels = backend.xp, np.array([0, 2, 127, -1]).astype(dtype)
    hot = backend.to_numpy(one_hot(xp, backend.asarray(labels), 256, xp.float32))
    assert hot.dtype == np.float32
    np.testing.assert_array_equal(hot, [np.eye(256)[label] if label >= 0 else np.zeros(256) for label in labels])


def test_one_hot_between_other_values(backend):
    labels = backend.asarray(np.array([1, 0, 7], np.int32))
    hot = backend.to_numpy(one_hot(backend.xp, labels, 2, backend.xp.float64, 0.01, 0.99))
    np.testing.assert_allclose(hot, [[0.01, 0.99], [0.99, 0.01], [0.01, 0.01]], rtol=1e-15)


@given(labels=st.lists(st.integers(-3, 12), max_size=8), classes=st.integers(1, 10))
def test_check_labels_knows_the_range(labels, classes):
    if all(0 <= label < classes for label in labels):
        check_labels(np.array(labels, np.int32), classes)
    else:
        with pytest.raises(DataError, match=rf"Labels lie in {min(labels)}..{max(labels)} and {classes} classes"):
            check_labels(np.array(labels, np.int32), classes)


@pytest.mark.parametrize("labels", [np.zeros((3, 1), np.int32), np.zeros(3), np.zeros(3, bool), np.array(["a"])])
def test_check_labels_wants_integers_in_a_row(labels):
    with pytest.raises(DataError, match=r"integers of shape \(n,\)"):
        check_labels(labels, 10)
