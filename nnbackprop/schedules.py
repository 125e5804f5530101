"""The learning rate of every step: known before the run begins, computed on the host in double precision."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """A learning rate for each step: `schedule(step) -> lr`, steps counted from 0."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout."""

    lr: float

    def __call__(self, step: int) -> float:
        """Return lr."""
        return self.lr


@dataclass(frozen=True)
class StepDecay(Schedule):
    """lr factor^floor(step / every): the rate falls by `factor` at once, every so many steps."""

    lr: float
    every: int
    factor: float

    def __call__(self, step: int) -> float:
        """Return lr factor^floor(step / every)."""
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr factor^(step / every): the rate falls smoothly, by `factor` in every so many steps."""

    lr: float
    every: int
    factor: float

    def __call__(self, step: int) -> float:
        """Return lr factor^(step / every)."""
        return self.lr * self.factor ** (step / self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """lr (1 + cos(pi step / total)) / 2: from lr to 0 in `total` steps, and 0 from there on.

    Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5, one period without restarts.
    """

    lr: float
    total: int

    def __call__(self, step: int) -> float:
        """Return lr (1 + cos(pi step / total)) / 2."""
        return blend(self.lr, 0.0, min(step / self.total, 1.0))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from lr / 25 to lr in the first 30% of `total` steps, down to lr / 250,000 at the last, by cosines.

    Smith and Topin, "Super-convergence", 2018, in PyTorch's form (OneCycleLR, cosine, two phases).
    """

    lr: float
    total: int

    START = 1 / 25
    END = START / 1e4
    RISE = 0.3

    def __call__(self, step: int) -> float:
        """Return the rate of the half cosine wave `step` is in."""
        peak, last = self.RISE * self.total - 1, self.total - 1
        if step < peak:
            return blend(self.lr * self.START, self.lr, step / peak)
        return blend(self.lr, self.lr * self.END, min((step - peak) / (last - peak), 1.0))


@dataclass(frozen=True)
class Warmup(Schedule):
    """`then`'s first rate times (step + 1) / steps for the first `steps` steps; then `then`, from its start.

    Linear warm-up: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2. The last step of the
    warm-up has the full rate already.
    """

    steps: int
    then: Schedule

    def __call__(self, step: int) -> float:
        """Return then(0) (step + 1) / steps, or then(step - steps) after the warm-up."""
        if step < self.steps:
            return self.then(0) * (step + 1) / self.steps
        return self.then(step - self.steps)


def blend(start: float, end: float, share: float) -> float:
    """Return the point a `share` 0 .. 1 along half a cosine wave from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
