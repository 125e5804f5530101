"""Learning-rate range test: the loss while the learning rate grows from step to step.

Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backends import tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import DivergedError, UsageError

from .batch_schedule import steps_per_epoch
from .callbacks import Callback
from .events import ChunkEnd
from .trainer import Trainer

EXPLOSION_FACTOR = 4.0  # times the least smoothed loss, or as far above one below 0, and above the first
MIN_DECREASE = 0.05  # of the first smoothed loss, below which no learning rate has done anything
MIN_STEPS, MAX_STEPS, SAMPLES_TO_SEE = 200, 2000, 10_000
SMOOTHING = 1 / 50  # of the steps: the standard deviation of the Gaussian that smooths the losses


@dataclass(frozen=True, eq=False)
class LRFinderResult:
    """The curve of a range test and what it suggests.

    lrs (n,) are the learning rates, losses (n,) those of the batch after the step that each made, smoothed (n,)
    their centred Gaussian mean. Where `exploded`, the last learning rate is the one at which the loss had grown to
    4 times its least value and beyond its first, or became NaN or infinite.
    """

    lrs: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    exploded: bool

    @property
    def lowest(self) -> int:
        """Index of the least smoothed loss."""
        return int(self.smoothed.argmin())

    @property
    def fell(self) -> bool:
        """Whether some learning rate made the loss fall, by 5% at least."""
        start, least = self.smoothed[0], self.smoothed[self.lowest]
        return bool(self.lowest > 0 and start - least >= MIN_DECREASE * abs(start))

    @property
    def steepest(self) -> float | None:
        """The learning rate at which the smoothed loss falls fastest over log lr; None if it nowhere falls."""
        slopes = np.diff(self.smoothed[: self.lowest + 1])
        return float(self.lrs[slopes.argmin() + 1]) if self.fell else None

    @property
    def minimum_over_ten(self) -> float | None:
        """A tenth of the learning rate of the least smoothed loss; None if it nowhere falls."""
        return float(self.lrs[self.lowest]) / 10 if self.fell else None

    def to_json(self) -> dict[str, Any]:
        """Suggestions and curve as JSON has them."""
        arrays = {name: getattr(self, name).tolist() for name in ("lrs", "losses", "smoothed")}
        suggestions = {"steepest": self.steepest, "minimum_over_ten": self.minimum_over_ten}
        return {**suggestions, "exploded": self.exploded, **arrays}


def lr_find(
    trainer: Trainer, train: Dataset, steps: int | None = None, first: float = 1e-7, last: float = 10.0
) -> LRFinderResult:
    """Train a copy of `trainer` for `steps` steps whose learning rate grows exponentially from `first` to `last`.

    The copy has the trainer's present weights, or the initial ones it would draw, and an optimizer state of its
    own; the trainer itself is left as it is. The test ends early where the loss explodes. `steps` None is 200, or
    more where batches are small: up to 2,000, to see 10,000 samples.

    Raises:
        DivergedError: numbers are NaN or infinite after the very first step.
        UsageError: fewer than 10 steps, or not 0 < first < last.
    """
    batch = min(trainer.batch_size or len(train), len(train))
    steps = default_steps(batch) if steps is None else steps
    if steps < 10 or not 0 < first < last < math.inf:
        raise UsageError(
            f"A range test takes at least 10 steps, from a learning rate above 0 to a greater one; got {steps} "
            f"steps from {first} to {last}."
        )
    recorder = LossRecorder(steps)
    copy = replace(
        trainer,
        lr=lambda step: first * (last / first) ** (step / (steps - 1)),
        callbacks=[recorder],
        epochs=-(-(steps + 1) // steps_per_epoch(len(train), batch)),
    )
    if trainer.state is not None:
        copy.initialize(train)
        copy.load_params(tree_map(trainer.backend.to_numpy, trainer.params))
    try:
        with np.errstate(all="ignore"):  # an overflow is what is looked for
            copy.fit(train)
    except DivergedError:
        if len(recorder.losses) < 2:
            raise
    losses = np.array(recorder.losses)
    lrs = first * (last / first) ** (np.arange(len(losses) - 1) / (steps - 1))
    smoothed = smooth(np.minimum(losses, recorder.limit), recorder.deviation)[1:]
    return LRFinderResult(lrs, losses[1:], smoothed, recorder.exploded or len(lrs) < steps)


def default_steps(batch: int) -> int:
    """Steps of a range test: enough to see 10,000 samples in batches of `batch`, within 200 and 2,000."""
    return max(MIN_STEPS, min(MAX_STEPS, SAMPLES_TO_SEE // batch))


class LossRecorder(Callback):
    """The loss of every step; ends the run after `steps` + 1 of them, or where the loss explodes."""

    chunk_ends_every = 1  # chunks of one step

    def __init__(self, steps: int) -> None:
        self.steps, self.deviation = steps, max(1.0, SMOOTHING * steps)
        self.losses: list[float] = []
        self.first = self.least = math.inf
        self.exploded = False

    @property
    def limit(self) -> float:
        """The smoothed loss beyond which the loss has exploded."""
        return max(self.least + (EXPLOSION_FACTOR - 1) * abs(self.least), self.first)

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Compare the loss, smoothed over the last steps, with the least so far."""
        self.losses.append(event.loss)
        smoothed = float(smooth(np.array(self.losses[-_radius(self.deviation) - 1 :]), self.deviation)[-1])
        if len(self.losses) == 1:
            self.first = smoothed
        self.least = min(self.least, smoothed)
        self.exploded = smoothed > self.limit
        if self.exploded or len(self.losses) > self.steps:
            trainer.stop()


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Mean of `values` (n,) around each, weighted by a Gaussian; at the ends by the half that is there."""
    radius, n = _radius(deviation), len(values)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    sums, totals = (np.convolve(a, weights)[radius : radius + n] for a in (values, np.ones(n)))
    return sums / totals


def _radius(deviation: float) -> int:
    return math.ceil(3 * deviation)
