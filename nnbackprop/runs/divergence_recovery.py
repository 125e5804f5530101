"""A run that has diverged: to which checkpoint it goes back, to go on at half the rate."""

from __future__ import annotations

from nnbackprop.data.dataset import Dataset
from nnbackprop.training.trainer import Trainer

from . import trainer_state as state
from .callbacks import Recorder

LEAST_RATE = 2**-10  # of the learning rate: a run that diverges even at it is not to be saved by less


class DivergenceRecovery:
    """Puts `trainer` back, which trains on `train` and writes its checkpoints by `recorder`.

    A checkpoint may be finite and past saving all the same. So a run that does not get twice as far as it got
    before is put back to the one before that, and in the end to where it began.
    """

    def __init__(self, trainer: Trainer, train: Dataset, recorder: Recorder) -> None:
        self._trainer, self._train, self._recorder = trainer, train, recorder
        self._first = recorder.last()
        self._step: int | None = None  # where it was last put back to
        self._far = 0  # steps it had got from there on, before

    @property
    def too_slow(self) -> bool:
        """Whether half the rate would be too little."""
        return self._trainer.progress.rate <= LEAST_RATE

    def go(self) -> list[str]:
        """Restore what the trainer goes on from; returns what there is to say of it."""
        progress, shelf = self._trainer.progress, self._recorder.shelf
        rate, reached = progress.rate / 2, progress.step
        said = self._restore()
        if self._step is not None and reached - self._step <= 2 * self._far:
            while self._trainer.progress.step >= self._step and shelf.step_back():
                said += self._restore()
            if self._trainer.progress.step >= self._step:
                state.restore(self._trainer, self._train, self._first)
        progress = self._trainer.progress
        progress.rate = rate
        self._step, self._far = progress.step, reached - progress.step
        shelf.step = progress.step
        self._recorder.folder.keep_rows(before=progress.epoch)
        return [*said, f"Back to step {progress.step}, and on at {rate:g} of the learning rate."]

    def _restore(self) -> list[str]:
        """To the newest checkpoint that is sound; what is wrong with those passed over."""
        _, newest, wrong = self._recorder.shelf.newest()
        state.restore(self._trainer, self._train, newest)
        return [f"passed over: {words}" for words in wrong]
