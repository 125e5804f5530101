"""Recovery from divergence: a run resumes from a checkpoint at half the learning rate."""

from __future__ import annotations

from msgspec.structs import replace

from nnbackprop.data.dataset import Dataset
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer

from .callbacks import CheckpointCallback
from .checkpoint_manager import Loaded
from .run_dir import RunDir
from .trainer_checkpoint import make_last_checkpoint, restore

MAX_HALVINGS = 10  # a run that diverges even then is not helped by less


class DivergenceRecovery:
    """Puts `trainer`, which trains on `train`, back to a checkpoint of its run.

    A checkpoint may be finite and lead to divergence at any learning rate. So where training gets at most twice
    as far from it as the last time, an older one is restored, and in the end the state that `trainer` was given
    in, with which the run began or was resumed. Where that is no older, the oldest checkpoint is restored again.
    """

    def __init__(
        self,
        trainer: Trainer,
        early_stopping: EarlyStopping,
        train: Dataset,
        run_dir: RunDir,
        checkpoints: CheckpointCallback,
    ) -> None:
        self._trainer, self._early_stopping, self._train = trainer, early_stopping, train
        self._run_dir, self._checkpoints = run_dir, checkpoints
        self._checkpoint_manager = checkpoints.checkpoint_manager
        self._initial = make_last_checkpoint(trainer, early_stopping, {})
        self._initial_step = trainer.progress.step
        self._restored_step: int | None = None  # by the last recovery
        self._steps_survived = 0  # from the step restored to the divergence, the last time

    def recover(self) -> list[str]:
        """Restore a checkpoint and halve the learning rate; returns messages of what was done."""
        progress = self._trainer.progress
        lr_factor, halvings, diverged_at = progress.lr_factor / 2, progress.lr_halvings + 1, progress.step
        messages = self._restore(self._checkpoint_manager.load_newest())
        previous = self._restored_step
        if previous is not None and diverged_at - previous <= 2 * self._steps_survived:
            while self._trainer.progress.step >= previous and (older := self._checkpoint_manager.drop_newest()):
                messages += self._restore(older)
            if self._trainer.progress.step >= max(previous, self._initial_step):
                restore(self._trainer, self._early_stopping, self._train, self._initial)
        progress = replace(self._trainer.progress, lr_factor=lr_factor, lr_halvings=halvings)
        self._trainer.load_state_dict({**self._trainer.state_dict(), "progress": progress.to_dict()})
        self._restored_step, self._steps_survived = progress.step, diverged_at - progress.step
        self._checkpoint_manager.saved_step = progress.step
        self._run_dir.drop_metrics(from_epoch=progress.epoch)
        if self._early_stopping.best_params is None:  # those in the file are of steps that are undone
            self._checkpoint_manager.remove_best()
        else:
            self._checkpoints.best_unsaved = True
        return [*messages, f"Back to step {progress.step}, and on at {lr_factor:g} of the learning rate."]

    def _restore(self, loaded: Loaded) -> list[str]:
        """Restore a checkpoint; returns a message for each damaged one that was skipped."""
        _, checkpoint, damaged = loaded
        restore(self._trainer, self._early_stopping, self._train, checkpoint)
        return [f"skipped: {message}" for message in damaged]


def lr_halvings_exhausted(trainer: Trainer) -> bool:
    """Whether the learning rate has been halved as often as it may be."""
    return trainer.progress.lr_halvings >= MAX_HALVINGS
