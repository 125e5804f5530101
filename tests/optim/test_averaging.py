"""The moving average of weights: by its recurrence, in evaluation, and over a resume."""

from __future__ import annotations

import numpy as np

from backends import Backend, leaves
from nnbackprop.optim import Adam, ExponentialMovingAverage
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.trainer import Trainer
from tests.support.small_runs import EveryStep, assert_equal_state, clouds, make_trainer


class Weights(Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.rows: list[list[np.ndarray]] = []

    def chunk_end(self, trainer: Trainer, event: object) -> None:
        self.rows.append([np.array(trainer.backend.to_numpy(a)) for a in leaves(trainer.params)])


def test_average_follows_its_recurrence_and_is_what_is_evaluated(backend: Backend) -> None:
    weights, data = Weights(), clouds()
    trainer = make_trainer(
        backend, optimizer=ExponentialMovingAverage(Adam(), 0.8), epochs=10, callbacks=[EveryStep(), weights]
    )
    trainer.initialize(data)
    expected = [np.array(backend.to_numpy(a)) for a in leaves(trainer.params)]
    trainer.fit(data)
    for t, row in enumerate(weights.rows, start=1):
        d = min(0.8, (1 + t) / (10 + t))
        expected = [d * a + (1 - d) * w for a, w in zip(expected, row, strict=True)]
    assert len(weights.rows) == 30
    for found, a in zip(leaves(trainer.host_params()), expected, strict=True):
        np.testing.assert_allclose(found, a, rtol=1e-12, atol=1e-12)
    plain = make_trainer(backend)
    plain.initialize(data)
    plain.load_params(trainer.host_params())
    assert plain.evaluate(data) == trainer.evaluate(data)


def test_training_is_that_of_the_optimizer_and_resumes_exactly() -> None:
    data = clouds()
    ema = ExponentialMovingAverage(Adam())
    averaged, plain, first, second = (make_trainer(optimizer=optimizer) for optimizer in (ema, Adam(), ema, ema))
    averaged.fit(data)
    plain.fit(data)
    for a, b in zip(leaves(averaged.params), leaves(plain.params), strict=True):
        np.testing.assert_array_equal(averaged.backend.to_numpy(a), plain.backend.to_numpy(b))
    first.set_options(epochs=2)
    first.fit(data)
    second.initialize(data)
    second.load_state_dict(first.state_dict())
    second.fit(data)
    assert_equal_state(averaged, second)
