"""Recovery from divergence: which checkpoint a run goes back to, to go on at half the learning rate."""

from __future__ import annotations

from nnbackprop.data.dataset import Dataset
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer

from .checkpoint_manager import CheckpointManager
from .run_dir import RunDir
from .trainer_state import last_checkpoint, restore

LEAST_FACTOR = 2**-10  # of the learning rate: a run that diverges even at it is not helped by less


class DivergenceRecovery:
    """Puts `trainer`, which trains on `train`, back to a checkpoint of its run.

    A checkpoint may be finite and beyond help all the same. So a run that does not get twice as far as it got
    before is put back to the one before that, and in the end to where it began.
    """

    def __init__(
        self,
        trainer: Trainer,
        early_stopping: EarlyStopping,
        train: Dataset,
        folder: RunDir,
        checkpoints: CheckpointManager,
    ) -> None:
        self._trainer, self._early_stopping, self._train = trainer, early_stopping, train
        self._folder, self._checkpoints = folder, checkpoints
        self._first = last_checkpoint(trainer, early_stopping, {})
        self._step: int | None = None  # where it was last put back to
        self._far = 0  # steps it had got from there on, before

    @property
    def exhausted(self) -> bool:
        """Whether half the rate would be too little."""
        return self._trainer.progress.lr_factor <= LEAST_FACTOR

    def recover(self) -> list[str]:
        """Restore what the trainer goes on from; returns messages of what was done."""
        progress = self._trainer.progress
        factor, reached = progress.lr_factor / 2, progress.step
        messages = self._restore()
        if self._step is not None and reached - self._step <= 2 * self._far:
            while self._trainer.progress.step >= self._step and self._checkpoints.drop_newest():
                messages += self._restore()
            if self._trainer.progress.step >= self._step:
                restore(self._trainer, self._early_stopping, self._train, self._first)
        progress = self._trainer.progress
        progress.lr_factor = factor
        self._step, self._far = progress.step, reached - progress.step
        self._checkpoints.step = progress.step
        self._folder.keep_rows(before=progress.epoch)
        return [*messages, f"Back to step {progress.step}, and on at {factor:g} of the learning rate."]

    def _restore(self) -> list[str]:
        """To the newest sound checkpoint; what is wrong with newer ones."""
        _, newest, damaged = self._checkpoints.newest()
        restore(self._trainer, self._early_stopping, self._train, newest)
        return [f"skipped: {message}" for message in damaged]
