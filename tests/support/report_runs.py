"""Events of a made-up run, a clock set by hand, and a file that is a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd, EpochEnd, LayerRow, Score, TrainBegin

LAYERS = (LayerRow(1, "dense1", (10,), 7850, 31400, 15690), LayerRow(2, "softmax1", (10,), 0, 0, 10))


def send(callback: Callback, *events: Any) -> None:
    """Call the method of each event; displays show events alone, so there is no trainer."""
    for event in events:
        method = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()  # TrainBegin: train_begin
        getattr(callback, method)(None, event)


def train_begin_event(epochs: int = 3, steps: int = 10, first: int = 0) -> TrainBegin:
    samples = {"train": 1000, "validation": 0, "test": 50}
    backend = ("numpy", "cpu", "float32", "auto chose it.")
    return TrainBegin(*backend, LAYERS, samples, 100, steps, epochs, first)


def chunk_end_event(epoch: int, step: int, metrics: Mapping[str, float] | None = None) -> ChunkEnd:
    metrics = metrics or {"accuracy": 0.9}
    return ChunkEnd(epoch, step, 5, 500, 0.5, 0.25, metrics, 0.1, {"dense1": 1.0}, 3 * 2**20)


def score(loss: float, accuracy: float, samples: int) -> Score:
    return Score(loss, {"accuracy": accuracy}, samples)


def epoch_end_event(
    epoch: int, seconds: float = 2.0, validation: Score | None = None, loss: float = 0.5
) -> EpochEnd:
    train, test = score(loss, 0.8, 1000), None if validation else score(0.4, 0.85, 50)
    return EpochEnd(epoch, 10 * epoch, 0.1, train, validation, test, {"dense1": 1.0}, seconds, 500.0)


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True
