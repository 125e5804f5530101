"""Schedules, step -> learning rate: known before the run begins, computed on the host in double precision."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from nnbackprop.errors import UsageError


@dataclass(frozen=True)
class Schedule(ABC):
    """A learning rate for each step: `schedule(step) -> lr`, steps counted from 0.

    Raises:
        UsageError: a learning rate or decay rate that is not finite or not above 0; fewer than 1 step.
    """

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in ("lr", "decay_rate") and not 0 < value < math.inf:
                what = "learning rate" if name == "lr" else "decay rate"
                raise UsageError(f"The {what} must be a finite number above 0; got {value!r}.")
            if name in ("decay_steps", "total_steps", "warmup_steps") and value < 1:
                raise UsageError(f"{type(self).__name__} needs at least 1 step; got {name} = {value}.")

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The learning rate of a step."""


def _check_schedules(owner: Schedule, *schedules: object) -> None:
    """UsageError unless all are schedules, or functions of the step."""
    for schedule in schedules:
        if isinstance(schedule, type) or not callable(schedule):
            raise UsageError(
                f"{type(owner).__name__} needs a schedule, such as nb.Constant(0.1), and got {schedule!r}."
            )


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout."""

    lr: float

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class StepDecay(Schedule):
    """lr decay_rate^floor(step / decay_steps): the rate falls at once, every so many steps."""

    lr: float
    decay_steps: int
    decay_rate: float

    def __call__(self, step: int) -> float:
        return self.lr * self.decay_rate ** (step // self.decay_steps)


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """lr decay_rate^(step / decay_steps): the rate falls smoothly."""

    lr: float
    decay_steps: int
    decay_rate: float

    def __call__(self, step: int) -> float:
        return self.lr * self.decay_rate ** (step / self.decay_steps)


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """lr (1 + cos(pi step / decay_steps)) / 2: from lr to 0 in `decay_steps` steps, and 0 from there on.

    Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5, one period without restarts.
    """

    lr: float
    decay_steps: int

    def __call__(self, step: int) -> float:
        return cosine_interpolation(self.lr, 0.0, min(step / self.decay_steps, 1.0))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from lr / 25 to lr in the first 30% of `total_steps`, down to lr / 250,000 at the last, by cosines.

    Smith and Topin, "Super-convergence", 2018, in PyTorch's form (OneCycleLR, cosine, two phases).
    """

    lr: float
    total_steps: int

    START: ClassVar[float] = 1 / 25
    END: ClassVar[float] = START / 1e4
    RISE: ClassVar[float] = 0.3

    def __call__(self, step: int) -> float:
        peak, last = self.RISE * self.total_steps - 1, self.total_steps - 1
        if step < peak:
            return cosine_interpolation(self.lr * self.START, self.lr, step / peak)
        return cosine_interpolation(self.lr, self.lr * self.END, min((step - peak) / (last - peak), 1.0))


@dataclass(frozen=True)
class Warmup(Schedule):
    """(step + 1) / warmup_steps of `after`'s first rate, for `warmup_steps` steps; then `after`, from its start.

    Linear warm-up: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2. The last step of the
    warm-up has the full rate already.
    """

    warmup_steps: int
    after: Schedule

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_schedules(self, self.after)

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.after(0) * (step + 1) / self.warmup_steps
        return self.after(step - self.warmup_steps)


@dataclass(frozen=True)
class Piecewise(Schedule):
    """`schedules[k]` from step `boundaries[k - 1]` on, each counting steps from the beginning of the run."""

    schedules: tuple[Schedule, ...]
    boundaries: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_schedules(self, *self.schedules)

    def __call__(self, step: int) -> float:
        return self.schedules[bisect_right(self.boundaries, step)](step)

    def changes(self, begin: int, end: int) -> list[tuple[int, float, float]]:
        """(step, rate by the schedule before, rate) at each boundary in begin .. end - 1."""
        before_and_after = zip(self.boundaries, *(self.schedules[:-1], self.schedules[1:]), strict=True)
        return [(step, a(step), b(step)) for step, a, b in before_and_after if begin <= step < end]


def cosine_interpolation(start: float, end: float, fraction: float) -> float:
    """The point a `fraction` 0 .. 1 along half a cosine wave from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


ScheduleFactory = Callable[..., Schedule]
"""Makes a schedule of (lr, total steps, steps an epoch, *the numbers of its text, as text)."""

SCHEDULES: dict[str, ScheduleFactory] = {
    "constant": lambda lr, total, epoch: Constant(lr),
    "step:EPOCHS:FACTOR": lambda lr, total, epoch, n, factor: StepDecay(lr, int(n) * epoch, float(factor)),
    "exponential:FACTOR": lambda lr, total, epoch, factor: ExponentialDecay(lr, epoch, float(factor)),
    "cosine": lambda lr, total, epoch: CosineDecay(lr, total),
    "one-cycle": lambda lr, total, epoch: OneCycle(lr, total),
    "warmup:STEPS": lambda lr, total, epoch, steps: Warmup(int(steps), Constant(lr)),
}
"""Schedules by their names in a configuration; numbers follow a name after colons."""

SCHEDULE_FORMS = ", ".join(SCHEDULES) + ", warmup:STEPS+ANY"


def parse_schedule(text: str, lr: float, total_steps: int, steps_per_epoch: int) -> Schedule:
    """Return the schedule of a configuration, in a run of `total_steps` steps.

    "constant"; "step:10:0.5" (halved every 10 epochs); "exponential:0.95" (times 0.95 an epoch, smoothly);
    "cosine"; "one-cycle"; "warmup:500" (500 steps, then constant); "warmup:500+cosine", or any other name
    after the plus sign: its schedule begins when the warm-up ends and spans the steps that are left.

    Raises:
        UsageError: the name is not known, its numbers cannot be, the warm-up leaves no step to a schedule that
            spans the run, or the rate of the last step is too large for a number.
    """
    first, plus, rest = text.partition("+")
    warmup = _parse(first, lr, total_steps, steps_per_epoch)
    if not plus:
        return warmup
    if not isinstance(warmup, Warmup):
        raise UsageError(f"Only a warm-up goes before another schedule, as in warmup:500+cosine; got {text!r}.")
    left = total_steps - warmup.warmup_steps
    if left < 1 and rest in ("cosine", "one-cycle"):
        raise UsageError(
            f"The schedule {text!r} cannot be: the run has {total_steps} steps, and its warm-up takes them all. "
            "Make the warm-up shorter, or the run longer."
        )
    return replace(warmup, after=parse_schedule(rest, lr, left, steps_per_epoch))


def _parse(text: str, lr: float, total_steps: int, steps_per_epoch: int) -> Schedule:
    """The schedule of a text without a plus sign."""
    name, *numbers = text.split(":")
    for form, make in SCHEDULES.items():
        if form.split(":")[0] == name and form.count(":") == len(numbers):
            try:
                made = make(lr, total_steps, steps_per_epoch, *numbers)
                made(total_steps - 1)
            except OverflowError:
                raise UsageError(
                    f"The schedule {text!r} grows beyond the largest number within {total_steps} steps: use a "
                    "factor below 1, or a larger interval."
                ) from None
            except UsageError as error:
                raise UsageError(f"The schedule {text!r} cannot be: {error}") from None
            except ValueError:
                break
            return made
    raise UsageError(f"{text!r} is not a schedule; there are {SCHEDULE_FORMS}, with whole EPOCHS and STEPS.")
