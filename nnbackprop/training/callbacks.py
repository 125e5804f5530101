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

MIN_LR_CHANGE = 1e-8
"""By which the learning rate falls at least, as PyTorch's `eps`; so `Progress.lr_factor` never reaches 0."""


class Callback:
    """Base of all callbacks; override what you need. `Trainer` calls each in the order of its list.

    With `chunk_ends_every`, chunks end also wherever the number of steps is a multiple of it. `needs_short_chunks`
    asks for chunks that take about a tenth of a second by the clock, rather than by estimate.
    """

    chunk_ends_every: int | None = None
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
    """Keeps a host copy of the parameters with the least validation loss; a run that is over ends with them.

    `patience` epochs in a row without improvement stop the run (Prechelt, Early Stopping - But When?, 1998); None
    never does. Without a validation part the last parameters are the best. The best so far counts in the next
    `fit` too, so give that the same validation part.

    Raises:
        UsageError: a patience below 1, or, in `fit`, one without a validation part.
    """

    patience: int | None = None
    best_epoch: int = field(default=0, init=False)  # 0 for none
    best_loss: float = field(default=math.inf, init=False)
    best_params: Any = field(default=None, init=False)
    wait: int = field(default=0, init=False)  # epochs since
    resumed: bool = field(default=False, init=False)

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
        """Check for a validation part; `fit` called again after an early stop waits anew.

        Without a validation part, and where a training begins, there is no best so far.
        """
        if self.patience is not None and not event.n_samples["validation"]:
            raise UsageError(
                f"patience={self.patience} waits for a better validation loss and there is no validation "
                "part: give fit one, fit(train, validation=...), or leave patience out."
            )
        if not (event.n_samples["validation"] and event.first_step):
            self.best_epoch, self.best_loss, self.best_params, self.wait = 0, math.inf, None, 0
        if self.patience is None:
            return
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
        over = trainer.stop_reason not in (None, "interrupted", "diverged")
        if self.best_params is not None and over:
            trainer.load_params(self.best_params)


@dataclass(eq=False)
class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by `factor` after `patience` epochs in a row without a better `monitor`.

    `monitor` is a column of the history: the train or validation part, and its loss or a metric, such as
    validation_loss or validation_accuracy. The rate, of a schedule too, falls to `min_lr` and no further, and by
    1e-8 at least. As Keras's callback with min_delta=0; PyTorch's patience is one less for the same epochs. The
    counters are in `trainer.progress`, and so in every checkpoint and `state_dict`.

    Raises:
        UsageError: a factor outside of 0 .. 1, a patience below 1, a negative min_lr, or, in `fit`, a column that
            there is none of, or whose value is NaN.
    """

    monitor: str = "validation_loss"
    factor: float = 0.1
    patience: int = 10
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.factor < 1 and self.patience >= 1 and 0 <= self.min_lr < math.inf):
            raise UsageError(
                f"ReduceLROnPlateau got factor {self.factor}, patience {self.patience} and min_lr {self.min_lr}: "
                "the factor lies between 0 and 1, patience counts epochs from 1, and min_lr is at least 0."
            )

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Check that there is such a column, and no other callback that uses the counters."""
        if sum(isinstance(callback, ReduceLROnPlateau) for callback in trainer.callbacks) > 1:
            raise UsageError(
                "A trainer has the counters of one ReduceLROnPlateau, and the callbacks have more: leave one in."
            )
        parts = [part for part in ("train", "validation") if event.n_samples[part]]
        known = [f"{part}_{name}" for part in parts for name in ("loss", *trainer.metrics.more_is_better)]
        if self.monitor not in known:
            raise UsageError(
                f"ReduceLROnPlateau monitors {self.monitor!r}, and this training has {', '.join(known)}: name one "
                "of them; those of validation need a validation part, fit(train, validation=...)."
            )

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Compare this epoch with the best, and reduce the learning rate when it is time to."""
        part, _, name = self.monitor.partition("_")
        score = event.train if part == "train" else event.validation
        assert score is not None
        value = score.loss if name == "loss" else score.metrics[name]
        if math.isnan(value):
            raise UsageError(
                f"ReduceLROnPlateau monitors {self.monitor}, which is NaN after epoch {event.epoch} and can never "
                f"improve, as r2 of targets that do not vary: monitor {part}_loss."
            )
        value = -value if trainer.metrics.more_is_better.get(name) else value
        p = trainer.progress
        if p.plateau_best is None or value < p.plateau_best:
            p.plateau_best, p.plateau_wait = value, 0
            return
        p.plateau_wait += 1
        if p.plateau_wait < self.patience:
            return
        p.plateau_wait, lr = 0, trainer.lr_at(event.step)
        if lr - max(lr * self.factor, self.min_lr) > MIN_LR_CHANGE:
            trainer.scale_lr(max(self.factor, self.min_lr / lr))
            trainer.message(
                f"{self.monitor} did not improve for {self.patience} epochs: the learning rate is now "
                f"{trainer.lr_at(event.step):g}"
            )


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

    def close(self, trainer: Trainer) -> None:
        """Stop the clock, unless the training diverged: another `fit` has as much time again."""
        if trainer.stop_reason != "diverged":
            self.started_at = None
