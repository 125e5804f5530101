"""What differs between a run as its folder keeps it and as it was trained again: weights, metrics, environment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nnbackprop._json import json_values
from nnbackprop.diagnostics.difference import difference
from nnbackprop.errors import RunFolderError
from nnbackprop.runs.checkpoint import Checkpoint, flatten
from nnbackprop.training.trainer import Trainer

STANDARD_ERRORS = 3
"""By which the accuracies of two float32 runs of one recipe may differ."""

CheckpointName = Literal["last", "best"]


@dataclass(frozen=True)
class WeightDifference:
    """A parameter of a checkpoint: whether every bit is equal, and ||a - b|| / ||b||, b the one kept."""

    which: CheckpointName
    name: str
    equal: bool
    relative: float


@dataclass(frozen=True)
class MetricDifference:
    """A number of summary.json as kept and as it came out; one with `allowed` None is reported and not judged.

    None is a number that is not finite, as r2 of targets that do not vary, or not there.
    """

    name: str
    kept: float | None
    again: float | None
    allowed: float | None

    @property
    def agrees(self) -> bool:
        """Whether the two are within what is allowed."""
        if self.allowed is None or self.kept == self.again:
            return True
        return self.kept is not None and self.again is not None and abs(self.kept - self.again) <= self.allowed


@dataclass(frozen=True)
class Change:
    """An entry of env.json that differs now."""

    name: str
    kept: Any
    now: Any


def compare_weights(
    trainer: Trainer, kept: Mapping[CheckpointName, Checkpoint], again: Mapping[CheckpointName, Checkpoint]
) -> Iterator[WeightDifference]:
    """Every parameter of the checkpoints `kept`; RunFolderError if one lacks a parameter of the network."""
    params = trainer.params
    names = [f"{layer}.{name}" for layer, _, p in trainer.network.named_layers(params) for name in p]
    for which, checkpoint in kept.items():
        for path, name in zip(flatten(params, "params"), names, strict=True):
            a, b = again[which].arrays[path], checkpoint.arrays.get(path)
            if b is None or (b.shape, b.dtype) != (a.shape, a.dtype):
                raise RunFolderError(
                    f"The {which} checkpoint has no {path} of shape {a.shape} and {a.dtype}, which the network of "
                    "its config.toml has: one of the two is another run's. Put back its own."
                )
            yield WeightDifference(which, name, a.tobytes() == b.tobytes(), difference(a, b).relative)


def compare_metrics(
    kept: Mapping[str, Any], again: Mapping[str, Any], samples: Mapping[str, int], dtype: str
) -> Iterator[MetricDifference]:
    """Losses and metrics of the parts, each of so many `samples`, and the best epoch.

    In float64 accuracies have to be equal. Else that of the test part, or without one of the training part, has
    to be within `STANDARD_ERRORS` of the difference of the accuracies p of two runs on n samples, each of
    (2 p (1 - p) / n)^(1/2).
    """
    judged = "test" if "test" in samples else "train"
    for part, n in samples.items():
        for name in (name for name in again if name.startswith(f"{part}_")):
            a, b, allowed = _number(kept.get(name)), json_values(again[name]), None
            accuracy = name.endswith("accuracy")
            if accuracy and dtype == "float64":
                allowed = 0.0
            elif accuracy and part == judged and b is not None:
                p = b if a is None else (a + b) / 2
                allowed = STANDARD_ERRORS * math.sqrt(2 * max(0.0, p * (1 - p)) / n)
            yield MetricDifference(name, a, b, allowed)
    if "validation" in samples:
        yield MetricDifference("best_epoch", _number(kept.get("best_epoch")), again["best_epoch"], None)


def compare_environments(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Entries in which two env.json differ, but for `why` a backend was chosen."""
    before, after = _flat(kept), _flat(now)
    for name in sorted(before.keys() | after.keys()):
        if name != "why" and before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def thread_changes(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any] | None) -> Iterator[Change]:
    """A change where a run did not keep the threads of products that it began with."""
    threads = sorted({row["threads"] for row in rows if "threads" in row})
    if len(threads) > 1 or (summary and summary.get("thread_changes")):
        yield Change("threads during the run", " and ".join(map(str, threads)), None)


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """{"blas": {"kernel": k}} as {"blas kernel": k}."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        inner = _flat(value) if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name} {key}".strip(): v for key, v in inner.items()}
    return flat


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) else None
