"""From the first step to an accuracy on MNIST's test images, by the clock on the wall."""

from __future__ import annotations

import time
from collections.abc import Iterator

from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader
from nnbackprop.optim import Adam
from nnbackprop.optim.schedules import OneCycle
from nnbackprop.training.evaluator import Evaluator

from .results import Figure, Skipped
from .setting import Asked, Size, size_for
from .training import Net, Training

BATCH = 128
RATE = 0.002
AIM = {0.98: "at most 1.0"}


def accuracy(asked: Asked) -> Iterator[Figure]:
    """Seconds to each goal, over runs from different weights, everything compiled and captured before."""
    splits, backend = asked.read(), asked.open()
    if splits.test is None:
        raise Skipped(f"{asked.data} has no test part")
    size = size_for(backend)
    race = Race(Training(backend, net(size, len(splits.train)), splits.train), splits.test, size)
    begin = time.perf_counter()
    race.run(epochs=2)
    yield Figure("two epochs in which kernels are compiled and graphs captured", time.perf_counter() - begin, "s")
    runs = [race.run(size.epochs, seed) for seed in range(size.repeats)]
    what = f"test accuracy of {race.training.net.title} within {size.epochs} epochs"
    yield Figure.of(what, [100 * max(run) for run in runs], "%")
    for goal in size.goals:
        times = [at for run in runs if (at := first(run, goal)) is not None]
        what = f"to {100 * goal:g}% of the test images, in {len(times)} of {len(runs)} runs"
        if not times:
            raise RuntimeError(f"no run reached {100 * goal:g}%; the best had {100 * max(map(max, runs)):.2f}%")
        yield Figure.of(what, times, "s", aim=AIM.get(goal, ""))


def net(size: Size, samples: int) -> Net:
    """784-1024-512-10 with dropout, by Adam, whose rate rises and falls once."""
    batch = min(BATCH, samples // 4)
    schedule = OneCycle(RATE, size.epochs * (samples // batch))
    return Net(size.racing, (0.2, 0.4, 0.2), batch, Adam(), schedule)


class Race:
    """A training judged by the test images after each epoch. What a run does is on the clock, judging included."""

    def __init__(self, training: Training, test: Dataset, size: Size) -> None:
        self.training = training
        backend, scaling, dtype = training.backend, training.scaling, training.dtype
        self.judge = Evaluator(backend, training.objective, scaling, dtype)
        self.test = DataLoader(backend, test, scaling, dtype, "yes")

    def run(self, epochs: int, seed: int = 0) -> dict[float, float]:
        """Test accuracy -> seconds from the first step to when it was first known."""
        self.training.begin(seed)
        self.training.backend.synchronize()
        begin = time.perf_counter()
        best: dict[float, float] = {}
        steps = len(self.training.loader.dataset) // self.training.net.batch
        for epoch in range(epochs):
            self.training.run(self.training.xs(epoch * steps, steps))
            score = self.judge.evaluate(self.training.state["params"], self.test)
            best.setdefault(score.accuracy, time.perf_counter() - begin)
        return best


def first(run: dict[float, float], goal: float) -> float | None:
    """When a run was first at its goal; None if it never was."""
    return min((seconds for accuracy, seconds in run.items() if accuracy >= goal), default=None)
