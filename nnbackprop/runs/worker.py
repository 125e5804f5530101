"""A process of a run that is not the first: it trains its shards, and writes and shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnbackprop.distributed.communicator import Communicator
from nnbackprop.errors import DivergedError
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer

from . import build
from .config import Config
from .divergence_recovery import lr_halvings_exhausted
from .processes import check_same_options, interrupted, prepare_process, share_state, take_part, wait_for_config
from .run_data import RunData
from .signals import stop_on_signals
from .summary import summarise
from .train import open_backend


@dataclass(eq=False)
class Worker:
    """Does what `Run.fit` does in the first process, as far as it is done together."""

    config: Config
    data: RunData
    trainer: Trainer
    early_stopping: EarlyStopping
    communicator: Communicator
    signal: int = field(default=0, init=False)  # that interrupted `fit`, 0 for none

    def fit(self) -> bool:
        """Train to the end; whether it was reached, and no signal interrupted.

        DivergedError where the first process raises it too.
        """
        with stop_on_signals(self.trainer.stop) as received:
            self.trainer.callbacks = (self.early_stopping,)
            while not interrupted(self.communicator, received):
                share_state(self.communicator, self.trainer, self.early_stopping)
                try:
                    self.trainer.fit(self.data.train, self.data.validation, self.data.test)
                    if self.trainer.stop_reason == "interrupted":
                        break
                    summarise(self.config, self.trainer, self.early_stopping, self.data)
                    return True
                except DivergedError:
                    if self.config.on_nan == "stop" or lr_halvings_exhausted(self.trainer):
                        raise
            self.signal = received[0] if received else 0
            return False


def join_run(communicator: Communicator, options: Mapping[str, Any]) -> Worker:
    """The worker of this process, started with `options`, of the run that the first process begins or resumes."""
    check_same_options(communicator, options)
    config, scaling = wait_for_config(communicator)
    prepare_process(communicator, config)
    data = RunData.load(config)
    trainer = build.trainer(config, open_backend(config), data.train, scaling)
    trainer.initialize(data.train)
    take_part(communicator, config, trainer, data)
    return Worker(config, data, trainer, EarlyStopping(config.patience), communicator)
