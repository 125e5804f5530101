"""The best weights so far, judged by the validation loss, and stopping when they grow old."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .base import Callback, EpochEnd


@dataclass
class Best(Callback):
    """Keeps a host copy of the parameters with the least validation loss; never looks at a test set.

    Without a validation part there is no best but the last. With `patience`, `stop("early-stopping")` is called
    after that many epochs in a row without improvement (Prechelt, Early Stopping - But When?, 1998).
    """

    copy_params: Callable[[], Any]
    stop: Callable[[str], None]
    patience: int | None = None
    epoch: int = 0
    loss: float = math.inf
    params: Any = None
    waited: int = 0

    def epoch_end(self, event: EpochEnd) -> None:
        """Compare this epoch with the best."""
        if event.validation is None:
            return
        if event.validation.loss < self.loss:
            self.epoch, self.loss, self.waited = event.epoch, event.validation.loss, 0
            self.params = self.copy_params()
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            self.stop("early-stopping")
