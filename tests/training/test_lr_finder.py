"""The learning-rate range test: the stable bound of least squares, suggestions, and that it leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends import Backend, leaves, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.nn.layers import Dense
from nnbackprop.nn.losses import MeanSquaredError, PoissonNLL
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam, ExponentialMovingAverage
from nnbackprop.training.lr_finder import default_steps, lr_find, smooth
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import assert_equal_state, clouds, make_trainer, state_arrays, untimed

N, FEATURES = 40, 5


def least_squares(spread: float = 1.0) -> Dataset:
    rng = np.random.default_rng(3)
    X = spread * rng.standard_normal((N, FEATURES)) * np.linspace(0.5, 2, FEATURES)
    return Dataset(X, X @ rng.standard_normal((FEATURES, 1)) + rng.standard_normal((N, 1)))


def gradient_descent(dtype: str = "float64") -> Trainer:
    """On the mean squared error of a linear model without bias, full batch: a quadratic."""
    network, loss = Sequential(Dense(1, bias=False)), MeanSquaredError("mean")
    return Trainer(network, loss, SGD(), 1.0, backend=select("numpy"), dtype=dtype, batch_size=None)


def test_it_starts_from_the_present_weights_and_not_from_their_average() -> None:
    data, trainer = least_squares(), gradient_descent()
    trainer = replace(trainer, optimizer=ExponentialMovingAverage(SGD()), lr=0.1, epochs=3)
    trainer.fit(data)
    w, average = (trainer.backend.to_numpy(leaves(p)[0]) for p in (trainer.params, trainer.eval_params))
    present, averaged = (np.mean((data.inputs @ a - data.targets) ** 2) for a in (w, average))
    assert abs(averaged - present) > 1e-3 * present
    assert lr_find(trainer, data, steps=10, first=1e-12).losses[0] == pytest.approx(present, rel=1e-6)


def test_losses_are_those_of_gradient_descent_at_each_learning_rate() -> None:
    """J(w) = |Xw - t|^2 / n, in closed form; losses[k] is the loss after the step at lrs[k]."""
    data, trainer = least_squares(), gradient_descent()
    trainer.initialize(data)
    (w,) = state_arrays(trainer)[:1]
    found = lr_find(trainer, data, steps=50)
    X, t = data.inputs, data.targets
    for lr, loss in zip(found.lrs, found.losses, strict=True):
        w = w - lr * 2 / N * X.T @ (X @ w - t)
        assert loss == pytest.approx(np.mean((X @ w - t) ** 2), rel=1e-10)
    np.testing.assert_allclose(found.lrs[1:] / found.lrs[:-1], (10 / 1e-7) ** (1 / 49))


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_least_squares_explode_beyond_2_over_the_largest_eigenvalue(spread: float) -> None:
    """Gradient descent on a quadratic is stable below 2 / lambda_max of its Hessian, 2 X^T X / n, and not above.

    The smoothed loss turns within a factor of 2 of that bound, and has exploded within a factor of 10.
    """
    data = least_squares(spread)
    bound = 2 / np.linalg.eigvalsh(2 * data.inputs.T @ data.inputs / N).max()
    found = lr_find(gradient_descent(), data, last=1e3)
    assert found.exploded
    assert bound < found.lrs[-1] < 10 * bound
    assert bound / 2 < found.lrs[found.lowest] < 2 * bound
    assert found.steepest is not None
    assert found.steepest < bound
    assert found.minimum_over_ten == found.lrs[found.lowest] / 10


def test_training_after_a_find_has_the_same_bits_as_without(backend: Backend) -> None:
    """Dropout, shuffles and Adam's moments included: before the first step, and in the middle of a run."""
    searched, plain = (make_trainer(backend) for _ in range(2))
    for epochs in (1, 3):
        before = state_arrays(searched) if searched.state else []
        assert lr_find(searched, clouds(), steps=30).fell
        for x, y in zip(before, state_arrays(searched) if before else [], strict=True):
            np.testing.assert_array_equal(x, y)
        for trainer in (searched, plain):
            trainer.set_options(epochs=epochs)
            trainer.fit(clouds())
    assert_equal_state(searched, plain)
    assert untimed(searched.history) == untimed(plain.history)
    assert (searched.progress.step, searched.lr, searched.callbacks) == (9, 0.05, ())


def test_a_find_is_the_same_again() -> None:
    first, again = (lr_find(make_trainer(), clouds(), steps=40) for _ in range(2))
    np.testing.assert_array_equal(first.losses, again.losses)
    assert first.to_json() == again.to_json()


def test_a_find_starts_from_the_weights_the_trainer_has() -> None:
    trained = make_trainer(epochs=20)
    trained.fit(clouds())
    assert lr_find(trained, clouds(), steps=20).losses[0] < lr_find(make_trainer(), clouds(), steps=20).losses[0]


def test_a_loss_that_becomes_infinite_at_once_ends_the_test() -> None:
    """The third learning rate is 1e21: the square of what it adds to the weights is beyond float32."""
    found = lr_find(gradient_descent("float32"), least_squares(), steps=10, first=1e-30, last=1e200)
    assert found.exploded
    assert len(found.losses) == 2
    assert np.isfinite(found.losses).all()


def test_a_first_step_that_diverges_is_an_error() -> None:
    with pytest.raises(DivergedError, match="by step 1"):
        lr_find(gradient_descent(), least_squares(1e200))


def test_nothing_is_suggested_where_no_learning_rate_lowers_the_loss() -> None:
    """Inputs of zeros and labels by halves: a bias of 0 is the best there is."""
    data = Dataset(np.zeros((40, 3)), (np.arange(40) % 2).astype(np.int32), ("a", "b"))
    trainer = make_trainer(network=Sequential(Dense(2)), optimizer=Adam(), batch_size=None)
    found = lr_find(trainer, data)
    assert not found.fell
    assert found.steepest is None
    assert found.minimum_over_ten is None


def counts() -> tuple[Dataset, Trainer]:
    """Counts near 20, whose Poisson loss e^y - t y falls from 1 to 20 - 20 log 20 = -40."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((N, FEATURES))
    data = Dataset(X, rng.poisson(20, (N, 1)).astype(np.float64))
    return data, replace(gradient_descent(), network=Sequential(Dense(1)), loss=PoissonNLL())


def test_a_loss_below_0_explodes_where_it_rises() -> None:
    data, trainer = counts()
    found = lr_find(trainer, data, steps=100, first=1e-4)
    assert found.smoothed.min() < -10
    assert found.steepest is not None
    trainer.set_options(lr=found.minimum_over_ten, epochs=300)
    trainer.fit(data)
    assert trainer.history[-1].train.loss < -30


def test_a_loss_below_0_that_does_not_fall_gets_no_suggestion() -> None:
    data, trainer = counts()
    trainer.initialize(data)
    W, b = np.zeros((FEATURES, 1)), np.full(1, np.log(data.targets.mean()))
    trainer.load_params(({"W": W, "b": b},))
    found = lr_find(trainer, data, steps=20, first=1e-12, last=1e-10)
    assert len(found.losses) == 20
    assert not found.exploded
    assert found.steepest is None


@pytest.mark.parametrize("options", [{"steps": 5}, {"first": 0.0}, {"first": 2.0, "last": 1.0}, {"last": np.inf}])
def test_a_range_that_does_not_grow_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="A range test takes at least 10 steps"):
        lr_find(make_trainer(), clouds(), **options)


def test_small_batches_get_more_steps() -> None:
    assert [default_steps(batch) for batch in (1, 10, 120)] == [2000, 1000, 200]


def test_smoothing_keeps_constants_and_lines() -> None:
    np.testing.assert_allclose(smooth(np.full(9, 2.5), 4.0), 2.5)
    line = np.arange(60.0)
    np.testing.assert_allclose(smooth(line, 2.0)[6:-6], line[6:-6])
