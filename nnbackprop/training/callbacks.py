"""Callbacks: called where training, an epoch or a chunk begins and ends; what they get is in events.py."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnbackprop.errors import UsageError

from .events import ChunkBegin, ChunkEnd, EpochBegin, EpochEnd, TrainBegin, TrainEnd

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Base of all callbacks; override what you need. `Trainer` calls each in the order of its list.

    `every_n_steps` makes chunks end wherever the number of steps is a multiple of it. `needs_short_chunks` asks
    for chunks that take about a tenth of a second by the clock, rather than by estimate.
    """

    every_n_steps: int | None = None
    needs_short_chunks: bool = False

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Before the first step."""

    def epoch_begin(self, trainer: Trainer, event: EpochBegin) -> None:
        """Before an epoch's first step."""

    def chunk_begin(self, trainer: Trainer, event: ChunkBegin) -> None:
        """Before each chunk."""

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """After each chunk."""

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """After an epoch's last step and its evaluation."""

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """After the last step, unless the run raised; the parameters are those of the last step."""

    def message(self, text: str) -> None:
        """Something that happened on the way, for people to read."""

    def close(self, trainer: Trainer) -> None:
        """Last of all, also when the run raised."""


@dataclass(eq=False)
class EarlyStopping(Callback):
    """Keeps a host copy of the parameters with the least validation loss; the trainer ends with them.

    `patience` epochs in a row without improvement stop the run (Prechelt, Early Stopping - But When?, 1998); None
    never does. Without a validation part the last parameters are the best.

    Raises:
        UsageError: a patience below 1, or, in `fit`, one without a validation part.
    """

    patience: int | None = None
    best_epoch: int = 0  # 0 for none
    best_loss: float = math.inf
    best_params: Any = None
    wait: int = 0  # epochs since
    resumed: bool = False

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise UsageError(
                f"patience counts epochs from 1 and is {self.patience}: give at least 1, or None to train on."
            )

    @property
    def improved(self) -> bool:
        """Whether the last epoch evaluated was the best."""
        return self.best_epoch > 0 and self.wait == 0

    def restore(self, epoch: int, loss: float, wait: int, params: Any) -> None:
        """Go on from what a checkpoint has: a run that had stopped stays stopped."""
        self.best_epoch, self.best_loss, self.wait = epoch, loss, wait
        self.best_params, self.resumed = params, True

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Check for a validation part; `fit` called again after an early stop waits anew."""
        if self.patience is None:
            return
        if not event.n_samples["validation"]:
            raise UsageError(
                f"patience={self.patience} waits for a better validation loss and there is no validation part: "
                "give fit one, fit(train, validation=...), or leave patience out."
            )
        if self.wait >= self.patience and self.resumed:
            trainer.stop("early-stopping")
        elif self.wait >= self.patience:
            self.wait = 0
        self.resumed = False

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Compare this epoch with the best."""
        if event.validation is None:
            return
        if event.validation.loss < self.best_loss:
            self.best_epoch, self.best_loss, self.wait = event.epoch, event.validation.loss, 0
            self.best_params = trainer.host_params()
            return
        self.wait += 1
        if self.patience is not None and self.wait >= self.patience:
            trainer.stop("early-stopping")

    def close(self, trainer: Trainer) -> None:
        """Give a run that ended its best parameters."""
        if self.best_params is not None and trainer.stop_reason not in (None, "interrupted"):
            trainer.load_params(self.best_params)


@dataclass(eq=False)
class TimeLimit(Callback):
    """Stops a run after `seconds`, within about a tenth of a second or one step, whichever is longer."""

    seconds: float
    needs_short_chunks: bool = field(default=True, init=False)
    started_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"A time limit is a finite number of seconds above 0; got {self.seconds!r}.")

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Start the clock, which goes on where training does after a divergence."""
        if self.started_at is None:
            self.started_at = time.monotonic()

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Stop when time is up."""
        if self.started_at is not None and time.monotonic() - self.started_at > self.seconds:
            trainer.stop("max-time")

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """Stop the clock: another `fit` has as much time again."""
        self.started_at = None
