"""Every loss, on every backend: central differences, two libraries' autodiff, facts on paper, huge logits.

A loss is one row of `loss_rows.ROWS`; the last test sees to it that none is missing.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from backends import NumpyBackend
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn import losses
from nnbackprop.nn.losses import (
    LOSSES,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Pinball,
    PoissonNLL,
    SigmoidBinaryCrossEntropy,
    SoftmaxCrossEntropy,
)
from tests.support.gradients import AUTODIFF, DIFFERENCES, JUDGES, central_differences, distance
from tests.support.loss_rows import ROWS, WEIGHTS, N, every_row, example, ln, run


@every_row
def test_dy_is_central_differences(backend, row):
    y, t = example(row.loss)
    _, dy = run(backend, row.loss, y, t)
    numeric = central_differences(lambda a: float(run(backend, row.loss, a, t)[0]), y)
    assert distance(dy, numeric) <= DIFFERENCES


@every_row
@pytest.mark.parametrize("judge", JUDGES)
def test_value_and_dy_are_autodiffs(backend, row, judge):
    y, t = example(row.loss)
    J, dy = run(backend, row.loss, y, t)
    want_J, (want_dy,) = JUDGES[judge](lambda library, y: [row.by(judge, library, y, t)] * 2, y)
    assert distance(J, want_J) <= AUTODIFF
    assert distance(dy, want_dy) <= AUTODIFF


@every_row
@pytest.mark.parametrize("judge", JUDGES)
def test_weighted_value_and_dy_are_autodiffs(backend, row, judge):
    """The judge sums w_i J_i over the samples' own losses, and divides by the sum of w."""
    y, t = example(row.loss)
    J, dy = run(backend, row.loss, y, t, WEIGHTS)

    def theirs(library, y):
        J = sum(w * row.by(judge, library, y[i : i + 1], t[i : i + 1]) for i, w in enumerate(WEIGHTS))
        return [J / WEIGHTS.sum()] * 2

    want_J, (want_dy,) = JUDGES[judge](theirs, y)
    assert J.shape == ()
    assert distance(J, want_J) <= AUTODIFF
    assert distance(dy, want_dy) <= AUTODIFF


@every_row
def test_equal_weights_change_nothing_and_zeros_give_zero(backend, row):
    y, t = example(row.loss, "float32")
    plain, weighted = run(backend, row.loss, y, t), run(backend, row.loss, y, t, np.full(N, 3, np.float32))
    for a, b in zip(plain, weighted, strict=True):
        assert b.dtype == np.float32
        assert distance(b, a) <= 4 * 2**-23
    for a in run(backend, row.loss, y, t, np.zeros(N, np.float32)):
        assert not a.any()


@every_row
def test_weights_of_another_shape_are_refused(backend, row):
    with pytest.raises(ShapeError, match=r"weights have shape \(4,\), and 5 samples need \(5,\)"):
        run(backend, row.loss, *example(row.loss), WEIGHTS[:4])


@every_row
def test_facts_on_paper(backend, row):
    for y, t, want in row.facts:
        t = np.array([t], np.int32 if row.loss.takes_labels else np.float64)
        J, _ = run(backend, row.loss, np.array([y], np.float64), t)
        assert J.shape == ()
        assert float(J) == pytest.approx(want, rel=1e-15, abs=1e-15)


@every_row
def test_the_loss_of_a_batch_is_the_mean_of_its_samples(backend, row):
    """So a batch given twice has the same J, and each sample's share of dy is halved."""
    y, t = example(row.loss)
    J, dy = run(backend, row.loss, y, t)
    samples = [run(backend, row.loss, y[i : i + 1], t[i : i + 1]) for i in range(N)]
    assert float(J) == pytest.approx(np.mean([float(j) for j, _ in samples]), rel=1e-14)
    assert distance(dy, np.concatenate([d for _, d in samples]) / N) <= AUTODIFF
    J2, dy2 = run(backend, row.loss, np.concatenate([y, y]), np.concatenate([t, t]))
    assert float(J2) == pytest.approx(float(J), rel=1e-14)
    assert distance(dy2, np.concatenate([dy, dy]) / 2) <= AUTODIFF


@every_row
def test_float32_stays_float32_and_near_float64(backend, row):
    narrow, wide = (
        run(b, row.loss, *example(row.loss, d)) for b, d in ((backend, "float32"), (NumpyBackend(), "float64"))
    )
    for a, b in zip(narrow, wide, strict=True):
        assert a.dtype == np.float32
        assert distance(a.astype("float64"), b) <= 10 * 2**-24


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "y", "t", "J", "dy"),
    [
        (SoftmaxCrossEntropy(), [1e4, -1e4, 0], 0, 0, [0, 0, 0]),
        (SoftmaxCrossEntropy(), [1e4, -1e4, 0], 1, 2e4, [1, -1, 0]),
        (SoftmaxCrossEntropy(), [1e4, 1e4], 0, ln(2), [-0.5, 0.5]),
        (SoftmaxCrossEntropy(0.5), [1e4, -1e4], 0, 5e3, [0.25, -0.25]),
        (SoftmaxCrossEntropy(), [0, -math.inf], 0, 0, [0, 0]),
        (SoftmaxCrossEntropy(), [0, -math.inf], 1, math.inf, [1, -1]),
        (SigmoidBinaryCrossEntropy(), [1e4, -1e4], [1, 0], 0, [0, 0]),
        (SigmoidBinaryCrossEntropy(), [1e4, -1e4], [0, 1], 2e4, [1, -1]),
        (SigmoidBinaryCrossEntropy(0.5), [1e4, -1e4], [1, 0], 5e3, [0.25, -0.25]),
    ],
)
def test_huge_logits(backend, loss, y, t, J, dy, dtype):
    got_J, got_dy = run(
        backend, loss, np.array([y], dtype), np.array([t], np.int32 if loss.takes_labels else dtype)
    )
    assert float(got_J) == pytest.approx(J, rel=1e-6, abs=0)
    np.testing.assert_array_equal(got_dy, [dy])


def test_each_sample_has_its_own_largest_logit(backend):
    """e^y of the second would be 0 / 0 if it were shifted by the first's."""
    J, dy = run(backend, SoftmaxCrossEntropy(), np.array([[1e4, -1e4], [-3e4, -3e4]]), np.zeros(2, np.int32))
    assert float(J) == pytest.approx(ln(2) / 2, rel=1e-15)
    np.testing.assert_array_equal(dy, [[0, 0], [-0.25, 0.25]])


@pytest.mark.parametrize(("y", "t"), [(10, 1), (-10, 0)])
def test_a_small_loss_keeps_its_digits_in_float32(backend, y, t):
    """-log(1 - 1 / (1 + e^10)) = log(1 + e^-10) = 4.5e-5: taken from 10 it would be left with two digits."""
    J, _ = run(
        backend, SigmoidBinaryCrossEntropy(), np.full((1, 1), y, np.float32), np.full((1, 1), t, np.float32)
    )
    assert float(J) == pytest.approx(math.log1p(math.exp(-10)), rel=1e-6)


@pytest.mark.parametrize("make", [SoftmaxCrossEntropy, SigmoidBinaryCrossEntropy])
@pytest.mark.parametrize("s", [-0.1, 1.0, math.nan])
def test_smoothing_is_a_share(make, s):
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        make(label_smoothing=s)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(UsageError, match="'mean' or 'half-sum', not by 'sum'"):
        MeanSquaredError("sum")


@pytest.mark.parametrize(
    ("make", "off", "on"),
    [
        (MeanSquaredError, 1.0, 0.0),
        (MeanSquaredError, 0.5, 0.5),
        (MeanSquaredError, math.nan, 1.0),
        (MeanSquaredError, 0.0, math.inf),
        (SigmoidBinaryCrossEntropy, -0.1, 1.0),
        (SigmoidBinaryCrossEntropy, 0.0, 1.1),
    ],
)
def test_class_targets_that_cannot_be_are_refused(make, off, on):
    with pytest.raises(UsageError, match=r"off_value, must be below .* got "):
        make(off_value=off, on_value=on)


def test_a_threshold_lies_between_the_classes():
    """Of outputs halfway between the targets, of logits at 0."""
    assert MeanSquaredError().threshold == 0.5
    assert MeanSquaredError(off_value=-1.0, on_value=1.0).threshold == 0.0
    assert SigmoidBinaryCrossEntropy(off_value=0.1).threshold == SoftmaxCrossEntropy().threshold == 0.0


@pytest.mark.parametrize(
    "loss", [MeanSquaredError(off_value=0.01, on_value=0.99), SigmoidBinaryCrossEntropy(0.0, 0.01, 0.99)]
)
def test_labels_are_encoded_as_rows_of_off_and_on(backend, loss):
    xp, labels = backend.xp, backend.asarray(np.array([2, 0], np.int32))
    three, one = (backend.asarray(np.zeros((2, k))) for k in (3, 1))
    rows = backend.to_numpy(loss.encode_targets(xp, three, labels))
    np.testing.assert_allclose(rows, [[0.01, 0.01, 0.99], [0.99, 0.01, 0.01]], rtol=1e-15)
    binary = backend.to_numpy(loss.encode_targets(xp, one, backend.asarray(np.array([1, 0], np.int32))))
    np.testing.assert_allclose(binary, [[0.99], [0.01]], rtol=1e-15)
    assert loss.encode_targets(xp, three, three) is three
    assert SoftmaxCrossEntropy().encode_targets(xp, three, labels) is labels
    with pytest.raises(ShapeError, match="Several labels at once are floats"):
        loss.encode_targets(xp, three, backend.asarray(np.zeros((2, 3), np.int32)))


def test_probabilities_are_what_the_outputs_stand_for(backend):
    logits = backend.asarray(np.array([[0.0, ln(3)], [0.0, 0.0]]))
    for loss, want in (
        (SoftmaxCrossEntropy(), [[0.25, 0.75], [0.5, 0.5]]),
        (SigmoidBinaryCrossEntropy(), [[0.5, 0.75], [0.5, 0.5]]),
        (MeanSquaredError(), [[0, ln(3)], [0, 0]]),
        (MeanAbsoluteError(), [[0, ln(3)], [0, 0]]),
        (Huber(), [[0, ln(3)], [0, 0]]),
        (Pinball(), [[0, ln(3)], [0, 0]]),
        (PoissonNLL(), [[1, 3], [1, 1]]),
    ):
        p = backend.to_numpy(loss.predictions(backend.xp, logits))
        np.testing.assert_allclose(p, want, rtol=1e-15)


def test_at_the_corner_the_slope_is_the_mean_of_both_sides(backend):
    """Of |e| that is 0, of the pinball loss (1 - 2q) / 2: autodiff of max gives each side a half too."""
    y = np.array([[2.0, -1.0]])
    for loss, slope in ((MeanAbsoluteError(), 0.0), (Pinball(0.875), -0.375), (Huber(), 0.0)):
        J, dy = run(backend, loss, y, y)
        assert float(J) == 0
        np.testing.assert_array_equal(dy, [[slope / 2] * 2])


@pytest.mark.parametrize(
    ("loss", "constant"),
    [
        (MeanSquaredError("mean"), 3.0),  # the mean
        (MeanAbsoluteError(), 2.0),  # the median
        (Pinball(0.9), 7.0),  # nine targets in ten lie at or below it
        (PoissonNLL(), ln(3.0)),  # the logarithm of the mean
    ],
)
def test_the_best_constant_is_what_the_loss_aims_at(backend, loss, constant):
    t = np.array([[0.0], [1], [1], [2], [2], [2], [3], [5], [7], [7]])
    J, _ = run(backend, loss, np.full_like(t, constant), t)
    for other in np.linspace(-1, 8, 91):
        assert float(run(backend, loss, np.full_like(t, other), t)[0]) >= float(J) - 1e-12


def test_huber_is_squared_within_delta_and_absolute_far_beyond(backend):
    y, t = np.array([[1e6, -1e6]]), np.zeros((1, 2))
    half_squared, absolute = (run(backend, loss, y, t) for loss in (MeanSquaredError(), MeanAbsoluteError()))
    within, beyond = (run(backend, Huber(delta), y, t) for delta in (1e7, 1e-6))
    np.testing.assert_allclose(within[1], half_squared[1] / 2, rtol=1e-15)
    np.testing.assert_allclose(beyond[1], absolute[1] * 1e-6, rtol=1e-15)


def test_a_poisson_rate_needs_an_output_a_class(backend):
    y, labels = backend.asarray(np.zeros((2, 1))), backend.asarray(np.array([0, 1], np.int32))
    with pytest.raises(ShapeError, match="PoissonNLL is for counts and got class labels"):
        PoissonNLL().encode_targets(backend.xp, y, labels)


@pytest.mark.parametrize("delta", [0, -1, math.inf, math.nan])
def test_a_delta_is_a_number_above_0(delta):
    with pytest.raises(UsageError, match="finite number above 0"):
        Huber(delta)


@pytest.mark.parametrize("quantile", [0, 1, -0.5, math.nan])
def test_a_quantile_lies_between_0_and_1(quantile):
    with pytest.raises(UsageError, match="between 0 and 1, both excluded"):
        Pinball(quantile)


def test_every_loss_has_a_row_and_a_word():
    defined = {kind for kind in vars(losses).values() if dataclasses.is_dataclass(kind)}
    assert {type(row.loss) for row in ROWS} == defined
    assert {word: make() for word, make in LOSSES.items()} == {
        "softmax-cross-entropy": SoftmaxCrossEntropy(),
        "binary-cross-entropy": SigmoidBinaryCrossEntropy(),
        "half-mse": MeanSquaredError("half-sum"),
        "mse": MeanSquaredError("mean"),
        "mae": MeanAbsoluteError(),
        "huber": Huber(delta=1.0),
        "poisson": PoissonNLL(),
        "pinball": Pinball(quantile=0.5),
    }
    assert {type(make()) for make in LOSSES.values()} == defined
