"""When to stop, by scikit-learn's rules, and what is kept of every epoch on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import r2_score

from nnbackprop.data.dataset import Dataset
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import EpochEnd, Score, TrainBegin
from nnbackprop.training.trainer import Trainer

MIN_LR = 1e-6
"""The learning rate that `adaptive` does not divide any more."""


@dataclass(eq=False)
class Convergence(Callback):
    """Stops when the loss, or with `validation` data their score, has not improved for a while.

    An epoch counts as none of improvement unless it is better than the best by `tol`; more than `patience` of them
    in a row stop the run. With `adaptive` they divide the learning rate by 5 instead, down to 1e-6. With
    `validation` data the run ends with the parameters of the best score, accuracy or R^2.
    """

    tol: float
    patience: float
    validation: Dataset | None
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
        self.best_params = trainer.host_params() if self.validation else None

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Keep the epoch's loss and score, and see whether to go on."""
        self.loss_curve.append(event.train.loss)
        if self.verbose:
            print(f"Iteration {event.epoch}, loss = {event.train.loss:.8f}")
        if self.validation and event.validation:
            improved = self._compare_scores(trainer, self.validation, event.validation)
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

    def _compare_scores(self, trainer: Trainer, validation: Dataset, evaluated: Score) -> bool:
        metrics = evaluated.metrics
        if "r2" in metrics and not varying_targets(validation.targets).all():  # where the metric is NaN
            score = mean_r2(validation.targets, trainer.predict(validation.inputs), validation.weights)
        else:
            score = next(metrics[name] for name in ("accuracy", "subset_accuracy", "r2") if name in metrics)
        self.validation_scores.append(score)
        self.validation_loss_curve.append(evaluated.loss)
        if self.verbose:
            print(f"Validation score: {score:.6f}")
        improved = score >= self.best_score + self.tol  # a NaN is not
        if score > self.best_score:
            self.best_score, self.best_params = score, trainer.host_params()
        return improved

    def close(self, trainer: Trainer) -> None:
        """Give a run that ended the parameters of its best score."""
        if self.best_params is not None and trainer.stop_reason not in (None, "diverged"):
            trainer.load_params(self.best_params)


def varying_targets(targets: np.ndarray) -> np.ndarray:
    """Which of the targets (n, k) are not the same number throughout, (k,)."""
    return np.ptp(targets, axis=0) > 0


def mean_r2(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float:
    """R^2 of numbers (n, k), the mean over the k, with weights (n,).

    One that does not vary counts as 1 where it is predicted exactly, else as 0. `r2_score` does so too, unless the
    mean of equal numbers differs from them by rounding.
    """
    scores = (predicted == targets).all(axis=0).astype(np.float64)
    if (varying := varying_targets(targets)).any():
        columns = targets[:, varying], predicted[:, varying]
        scores[varying] = r2_score(*columns, sample_weight=weights, multioutput="raw_values")
    return float(scores.mean())
