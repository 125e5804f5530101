"""When to stop, by scikit-learn's rules, and what is kept of every epoch on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import EpochEnd, Score, TrainBegin
from nnbackprop.training.trainer import Trainer

MIN_LR = 1e-6
"""The learning rate that `adaptive` does not divide any more."""


@dataclass(eq=False)
class Convergence(Callback):
    """Stops when the loss, or with `early_stopping` the validation score, has not improved for a while.

    An epoch counts as none of improvement unless it is better than the best by `tol`; more than `patience` of them
    in a row stop the run. With `adaptive` they divide the learning rate by 5 instead, down to 1e-6. With
    `early_stopping` the run ends with the parameters of the best score.
    """

    tol: float
    patience: float
    early_stopping: bool
    adaptive: bool
    verbose: bool
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    wait: int = 0  # epochs in a row without improvement
    converged: bool = False
    best_params: Any = None

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """A run that goes on begins with the parameters of the best score so far."""
        self.best_params = trainer.host_params() if self.early_stopping else None

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Keep the epoch's loss and score, and see whether to go on."""
        self.loss_curve.append(event.train.loss)
        if self.verbose:
            print(f"Iteration {event.epoch}, loss = {event.train.loss:.8f}")
        if event.validation:
            improved = self._compare_scores(trainer, event.validation)
        else:
            improved = event.train.loss <= self.best_loss - self.tol
            self.best_loss = min(self.best_loss, event.train.loss)
        self.wait = 0 if improved else self.wait + 1
        if self.wait <= self.patience:
            return
        if self.adaptive and event.lr > MIN_LR:
            trainer.scale_lr(1 / 5)
            self.wait = 0
        else:
            self.converged = True
            trainer.stop("converged")

    def _compare_scores(self, trainer: Trainer, validation: Score) -> bool:
        metrics = validation.metrics
        score = next(metrics[name] for name in ("accuracy", "subset_accuracy", "r2") if name in metrics)
        self.validation_scores.append(score)
        self.validation_loss_curve.append(validation.loss)
        if self.verbose:
            print(f"Validation score: {score:.6f}")
        improved = not score < self.best_score + self.tol
        if score > self.best_score:
            self.best_score, self.best_params = score, trainer.host_params()
        return improved

    def close(self, trainer: Trainer) -> None:
        """Give a run that ended the parameters of its best score."""
        if self.best_params is not None and trainer.stop_reason not in (None, "diverged"):
            trainer.load_params(self.best_params)
