"""Early stopping: keep the best weights by the validation loss, and stop when they do not improve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnbackprop.errors import UsageError

from .base import Callback, EpochEnd, TrainBegin

if TYPE_CHECKING:
    from nnbackprop.training.trainer import Trainer


@dataclass(eq=False)
class EarlyStopping(Callback):
    """Keeps a host copy of the parameters with the least validation loss; the trainer ends with them.

    `patience` epochs in a row without improvement stop the run (Prechelt, Early Stopping - But When?, 1998); None
    never does. Without a validation part the last parameters are the best.

    Raises:
        UsageError: a patience below 1, or, in `fit`, one without a validation part.
    """

    patience: int | None = None
    epoch: int = 0  # of the best parameters, 0 for none
    loss: float = math.inf
    params: Any = None
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
        return self.epoch > 0 and self.wait == 0

    def restore(self, epoch: int, loss: float, wait: int, params: Any) -> None:
        """Go on from what a checkpoint has: a run that had stopped stays stopped."""
        self.epoch, self.loss, self.wait, self.params, self.resumed = epoch, loss, wait, params, True

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Check for a validation part; `fit` called again after an early stop waits anew."""
        if self.patience is None:
            return
        if not event.samples["validation"]:
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
        if event.validation.loss < self.loss:
            self.epoch, self.loss, self.wait = event.epoch, event.validation.loss, 0
            self.params = trainer.host_params()
            return
        self.wait += 1
        if self.patience is not None and self.wait >= self.patience:
            trainer.stop("early-stopping")

    def close(self, trainer: Trainer) -> None:
        """Give a run that ended its best parameters."""
        if self.params is not None and trainer.stop_reason not in (None, "interrupted"):
            trainer.load_params(self.params)
