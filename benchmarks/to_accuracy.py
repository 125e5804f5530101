"""Seconds of training to an accuracy on the test images: 784-512-256-10 on MNIST, each library as suits it.

`python -m benchmarks --to 98.0`. One library after the other trains in a process of its own, with every seed. The
clock runs while it trains: shuffling, batches and compilation count; the evaluation after each epoch does not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from nnbackprop._system_info import set_num_threads
from nnbackprop.data import Splits, load
from nnbackprop.runs import train as runs
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_data import RunData

from .kept import made_by
from .report import format_ratio, spread, three_digits
from .results import RESULTS
from .session import limit_cores
from .worker import Worker, WorkerError

FOLDER = RESULTS / "accuracy"
SEEDS = (0, 1, 2)
LR, DROPOUT, BATCH = 0.002, 0.2, 120  # the recipe's
CONSTANT_RATE_EPOCHS = 20  # that scikit-learn may take, which has no schedule
LIMIT = 3600.0  # seconds of one training

Training = tuple[Callable[[], float | None], Callable[[], np.ndarray], int]
"""Trains an epoch, and returns its seconds unless they are the call's; predicts the test images; epochs."""


def arrays(data: Splits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training images (n, 784) in 0..1, their labels, and the test images."""
    assert data.test
    x, x_test = (part.inputs.astype("float32") / 255 for part in (data.train, data.test))
    return x, data.train.targets.astype("int64"), x_test


def ours(backend: str, data: Splits, seed: int, epochs: int) -> Training:
    """The recipe `mnist`; its seconds are the trainer's, as each `fit` moves the data to the device again."""
    config = resolve("mnist", {"seed": seed, "epochs": epochs, "backend": backend})
    parts = RunData(data.train, data.test)
    trainer = runs.initialized_trainer(config, runs.open_backend(config), parts)

    def train() -> float:
        trainer.set_options(epochs=trainer.progress.epoch)
        return trainer.fit(data.train)[0].seconds

    def predict() -> np.ndarray:
        assert data.test
        return trainer.predict(data.test.inputs)

    return train, predict, epochs


def torch_eager(data: Splits, seed: int, epochs: int) -> Training:
    """Modules, autograd, Adam's fused form, OneCycleLR."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    x, t, x_test = map(torch.from_numpy, arrays(data))
    first = nn.Dropout(DROPOUT), nn.Linear(784, 512), nn.ReLU()
    second = nn.Dropout(DROPOUT), nn.Linear(512, 256), nn.ReLU()
    net = nn.Sequential(*first, *second, nn.Dropout(DROPOUT), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    steps = epochs * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, steps, cycle_momentum=False)

    def train() -> None:
        net.train()
        for rows in torch.randperm(len(x)).split(BATCH):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), t[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def predict() -> np.ndarray:
        return net.eval()(x_test).argmax(1).numpy()

    return train, predict, epochs


def keras(data: Splits, seed: int, epochs: int) -> Training:
    """`compile` and `fit` on JAX; cosine decay after a warm-up, which is its one-cycle."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras import layers, optimizers

    keras.utils.set_random_seed(seed)
    x, t, x_test = arrays(data)
    net = keras.Sequential([keras.Input((784,))])
    for units, activation in ((512, "relu"), (256, "relu"), (10, None)):
        net.add(layers.Dropout(DROPOUT))
        net.add(layers.Dense(units, activation))
    rise, steps = (round(part * epochs * math.ceil(len(x) / BATCH)) for part in (0.3, 1.0))
    rate = optimizers.schedules.CosineDecay(LR / 25, steps - rise, warmup_target=LR, warmup_steps=rise)
    net.compile(optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def train() -> None:
        net.fit(x, t, batch_size=BATCH, epochs=1, verbose=0)

    return train, lambda: net.predict(x_test, batch_size=1000, verbose=0).argmax(axis=1), epochs


def sklearn(data: Splits, seed: int, epochs: int) -> Training:
    """MLPClassifier as it comes: Adam at 0.001, batches of 200, a little L2."""
    from sklearn.neural_network import MLPClassifier

    x, t, x_test = arrays(data)
    net = MLPClassifier((512, 256), random_state=seed)

    def train() -> None:
        net.partial_fit(x, t, classes=np.arange(10))

    return train, lambda: net.predict(x_test), max(epochs, CONSTANT_RATE_EPOCHS)


LIBRARIES: dict[str, tuple[str, Callable[[Splits, int, int], Training]]] = {
    f"nnbackprop, NumPy{' and numba' if find_spec('numba') else ''}": ("numpy", partial(ours, "numpy")),
    "nnbackprop, JAX arrays": ("jax", partial(ours, "jax")),
    "PyTorch, eager": ("torch", torch_eager),
    "Keras on JAX": ("keras", keras),
    "scikit-learn": ("sklearn", sklearn),
}
"""By title: the package it needs, and what makes a training of a seed and so many epochs."""


class Trial:
    """A library's training, in its process."""

    def __init__(self, title: str, threads: int, seed: int, epochs: int) -> None:
        limit_cores(threads)
        self.data = load("mnist")
        self.training = LIBRARIES[title][1](self.data, seed, epochs)
        set_num_threads(threads, later_imports=True)  # of the libraries that it has imported

    def reach(self, target: float) -> list[tuple[float, float]]:
        assert self.data.test
        return train_to(target, self.training, self.data.test.targets)


def train_to(target: float, training: Training, labels: np.ndarray) -> list[tuple[float, float]]:
    """Seconds and test accuracy of each epoch, until one ends at the target or all are over."""
    train, predict, most = training
    epochs: list[tuple[float, float]] = []
    while len(epochs) < most and not reached(epochs, target):
        begin = time.perf_counter()
        seconds = train() or time.perf_counter() - begin
        epochs.append((seconds, float(np.mean(predict() == labels))))
    return epochs


def reached(epochs: list[tuple[float, float]], target: float) -> bool:
    """Whether the last epoch ended at the target."""
    return bool(epochs) and epochs[-1][1] >= target


def measure(
    target: float, epochs: int, threads: int, seeds: Iterable[int], report: Callable[[str], Any]
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """The trials of each library, by title, and why another is left out."""
    set_num_threads(threads, later_imports=True)  # of the processes that are started here
    trials: dict[str, list[Any]] = {title: [] for title, (needs, _) in LIBRARIES.items() if find_spec(needs)}
    absent = {title: f"{needs} is not installed" for title, (needs, _) in LIBRARIES.items() if title not in trials}
    for seed in seeds:
        for title in list(trials):
            report(f"{title}, seed {seed}")
            worker = Worker(Trial, title, threads, seed, epochs)
            worker.send("reach", target)
            try:
                trials[title].append(worker.receive(LIMIT))
            except WorkerError as error:
                absent[title] = str(error)
                del trials[title]
            finally:
                worker.end()
    return trials, absent


def table(found: dict[str, Any]) -> str:
    """A row each: seconds to the target, epochs, and the accuracy there; medians over the seeds."""
    target, times = found["target"], {}
    for title, trials in found["trials"].items():
        times[title] = [sum(s for s, _ in t) if reached(t, target) else math.inf for t in trials]
    base = median(next(iter(times.values())))
    lines = [f"| | seconds to {target:.1%} | time divided by ours | epochs | accuracy |", "|---|---|---|---|---|"]
    for title, seconds in times.items():
        trials, middle = found["trials"][title], median(seconds)
        cells = (
            [spread(seconds, three_digits), format_ratio(middle / base)]
            if middle < math.inf
            else ["not reached", ""]
        )
        cells += [f"{median(map(len, trials)):g}", f"{median(t[-1][1] for t in trials):.2%}"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    left_out = " ".join(f"{title} left out: {reason}." for title, reason in found["absent"].items())
    return "\n".join([*lines, *(["", left_out] if left_out else []), "", made_by(found)]) + "\n"
