"""A process of a run that is not the first: it trains its shards, and writes and shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnbackprop.distributed.communicator import Communicator
from nnbackprop.errors import DivergedError
from nnbackprop.training.callbacks import EarlyStopping

from . import build
from .divergence_recovery import lr_halvings_exhausted
from .process_setup import check_same_options, join_training, prepare_process, wait_for_config
from .run_data import RunData
from .run_process import RunProcess
from .train import open_backend


class Worker(RunProcess):
    """Does what `Run.fit` does in the first process, as far as it is done together."""

    def fit(self) -> bool:
        """Train to the end; whether it was reached, and no signal interrupted.

        DivergedError where the first process raises it too.
        """
        self.trainer.set_options(callbacks=self.callbacks_of_every_process)
        return self.train(self._on_divergence) is not None

    def _on_divergence(self, error: DivergedError) -> None:
        """The first process restores a checkpoint, whose state all get before they go on."""
        if self.config.on_nan == "stop" or lr_halvings_exhausted(self.trainer):
            raise error


def join_run(communicator: Communicator, options: Mapping[str, Any]) -> Worker:
    """The worker of this process, started with `options`, of the run that the first process begins or resumes."""
    check_same_options(communicator, options)
    config, scaling = wait_for_config(communicator)
    prepare_process(communicator, config)
    data = RunData.load(config)
    trainer = build.trainer(config, open_backend(config), data.train, scaling)
    trainer.initialize(data.train)
    join_training(communicator, config, trainer, data)
    return Worker(
        config=config,
        data=data,
        trainer=trainer,
        early_stopping=EarlyStopping(config.patience),
        communicator=communicator,
    )
