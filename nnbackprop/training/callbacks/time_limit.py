"""A limit of time for a call of `fit`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnbackprop.errors import UsageError

from .base import Callback, ChunkEnd, TrainBegin

if TYPE_CHECKING:
    from nnbackprop.training.trainer import Trainer


@dataclass(eq=False)
class TimeLimit(Callback):
    """Stops a run after `seconds`, within about a tenth of a second or one step, whichever is longer."""

    seconds: float
    needs_short_chunks: bool = field(default=True, init=False)
    began: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"A time limit is a finite number of seconds above 0; got {self.seconds!r}.")

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Start the clock."""
        self.began = time.monotonic()

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Stop when time is up."""
        if time.monotonic() - self.began > self.seconds:
            trainer.stop("max-time")
