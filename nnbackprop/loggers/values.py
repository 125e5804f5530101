"""Events as flat names and numbers, for tools that show curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnbackprop.training.events import ChunkEnd, EpochEnd


def chunk_values(event: ChunkEnd) -> dict[str, float]:
    """Loss and metrics of a chunk, learning rate, speed and memory: loss/chunk, accuracy/chunk, lr ..."""
    values = {"loss/chunk": event.loss, **{f"{name}/chunk": value for name, value in event.metrics.items()}}
    values |= {"lr": event.lr, "samples_per_second": event.samples_per_second}
    return values if event.memory_used is None else {**values, "memory_used": float(event.memory_used)}


def epoch_values(event: EpochEnd) -> dict[str, float]:
    """Loss and metrics of each part, gradient norms by layer: loss/train, loss/test, gradient_norm/dense1 ..."""
    values: dict[str, float] = {"epoch": float(event.epoch)}
    for part, score in (("train", event.train), ("validation", event.validation), ("test", event.test)):
        if score is not None:
            values |= {f"{name}/{part}": value for name, value in {"loss": score.loss, **score.metrics}.items()}
    return values | {f"gradient_norm/{layer}": norm for layer, norm in event.gradient_norms.items()}


def flat_config(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Settings as strings, numbers and booleans; lists as words, and those that are not set left out."""
    flat: dict[str, str | float | bool] = {}
    for name, value in config.items():
        if isinstance(value, str | int | float | bool):
            flat[name] = value
        elif isinstance(value, list | tuple):
            flat[name] = " ".join(map(str, value))
        elif value is not None:
            flat[name] = str(value)
    return flat
