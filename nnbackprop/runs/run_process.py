"""What every process of a run does in training, whether it is the only one or trains with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nnbackprop.distributed.communicator import Communicator, SingleProcess
from nnbackprop.errors import DivergedError
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.trainer import Trainer

from . import build
from .config import Config
from .process_setup import any_interrupted, broadcast_state
from .run_data import RunData
from .signals import stop_on_signals
from .summary import summarise


@dataclass(eq=False, kw_only=True)
class RunProcess:
    """A trainer that stands where the run does, its data, and those it trains with."""

    config: Config
    data: RunData
    trainer: Trainer
    early_stopping: EarlyStopping
    communicator: Communicator = field(default_factory=SingleProcess)
    signal: int = field(default=0, init=False)  # that interrupted training, 0 for none

    @property
    def callbacks_of_every_process(self) -> tuple[Callback, ...]:
        """Those that change the training: when it stops, and the learning rate."""
        return self.early_stopping, *build.plateau_callbacks(self.config)

    def train(self, on_divergence: Callable[[DivergedError], None]) -> dict[str, Any] | None:
        """Train to the end; the summary's figures, or None where a signal interrupted one of the processes.

        Where training diverges, `on_divergence` puts the trainer back to go on from there, or raises.
        """
        with stop_on_signals(lambda: self.trainer.stop("interrupted")) as received:
            while not any_interrupted(self.communicator, received):
                broadcast_state(self.communicator, self.trainer, self.early_stopping)
                try:
                    self.trainer.fit(self.data.train, self.data.validation, self.data.test)
                    if self.trainer.stop_reason == "interrupted":
                        break
                    return summarise(self.config, self.trainer, self.early_stopping, self.data)
                except DivergedError as error:
                    on_divergence(error)
            self.signal = received[0] if received else 0
        return None
