"""Callbacks of the training loop."""

from .base import (
    Callback,
    ChunkBegin,
    ChunkEnd,
    EpochBegin,
    EpochEnd,
    LayerRow,
    Score,
    TrainBegin,
    TrainEnd,
)
from .early_stopping import EarlyStopping
from .time_limit import TimeLimit

__all__ = [
    "Callback",
    "ChunkBegin",
    "ChunkEnd",
    "EarlyStopping",
    "EpochBegin",
    "EpochEnd",
    "LayerRow",
    "Score",
    "TimeLimit",
    "TrainBegin",
    "TrainEnd",
]
