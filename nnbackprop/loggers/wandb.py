"""Weights & Biases, and Trackio, which has the same interface: init, log and finish."""

from __future__ import annotations

import contextlib
import sys

from nnbackprop.errors import UsageError
from nnbackprop.runs.train import Run
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd, EpochEnd, TrainBegin
from nnbackprop.training.trainer import Trainer

from .registry import import_library
from .values import chunk_values, epoch_values, flat_config

LIBRARY = "wandb"
PROJECT = "nnbackprop"


class WandbLogger(Callback):
    """Logs losses, metrics, learning rate and gradient norms to Weights & Biases, or to Trackio.

    `library` is wandb or trackio. Whether a run is sent anywhere is theirs to decide, by their own environment
    variables: WANDB_MODE=offline keeps it on this machine, and Trackio does unless it is told of a space.
    """

    def __init__(self, name: str | None = None, project: str = PROJECT, library: str = LIBRARY) -> None:
        self.name, self.project, self.library = name, project, library
        self._begun = self._has_logged = False

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Begin a run with the configuration, or go on with one."""
        self._module = import_library(self.library)
        config = flat_config(event.config)
        goes_on = event.first_step or self._has_logged
        resume = {"resume": "allow"} if goes_on else {}  # Trackio resumes any run of the name
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the standard output may be for JSON alone
                self._module.init(project=self.project, name=self.name, config=config, **resume)
        except Exception as error:  # no account, no network, a folder that cannot be written: each of its own kind
            raise UsageError(
                f"{self.library} could not begin a run: {error}. Log in as its documentation says, set "
                "WANDB_MODE=offline for wandb, or leave --log out."
            ) from error
        self._begun = self._has_logged = True

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Log the chunk."""
        self._module.log(chunk_values(event), step=event.step)

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Log the epoch."""
        self._module.log(epoch_values(event), step=event.step)

    def close(self, trainer: Trainer) -> None:
        """End the run, also when training raised."""
        if self._begun:
            with contextlib.redirect_stdout(sys.stderr):
                self._module.finish()
            self._begun = False


def for_run(run: Run) -> WandbLogger:
    """`--log wandb`: a run called as the folder."""
    return WandbLogger(run.run_dir.path.name)
