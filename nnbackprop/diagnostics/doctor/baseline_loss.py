"""What a predictor loses that knows nothing: the yardstick of the first loss, and of the last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backends import NumpyBackend
from nnbackprop.nn.losses import MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.training.step import Objective

# Outputs of standard deviation 4 are more than first weights should give: He's rule gives 1.4, N(0, 1) after 30
# sigmoids, which trains, about 4, and from there on a softmax of ten is sure (p > 0.9) of a third of all samples.
WILD = 4.0


@dataclass(frozen=True)
class BaselineLoss:
    """Losses of predictors that know nothing of their input.

    even  all outputs equal: ln K for softmax
    best  the constant that fits these labels best: their entropy, or their variance
    wild  a bound for outputs that are random, of standard deviation WILD
    """

    even: float
    best: float
    wild: float
    words: str

    @classmethod
    def of(cls, objective: Objective, labels: np.ndarray, outputs: int) -> BaselineLoss | None:
        """For labels (n,) and that many outputs; None for a loss that is not one of ours."""
        match loss := objective.loss:
            case SoftmaxCrossEntropy():
                return _softmax(labels, outputs, loss.label_smoothing)
            case SigmoidBinaryCrossEntropy():
                t = _targets(objective, labels, outputs)
                return _binary(t * (1 - loss.label_smoothing) + loss.label_smoothing / 2)
            case MeanSquaredError():
                share = 0.5 if loss.reduction == "half-sum" else 1 / outputs
                return _squared(_targets(objective, labels, outputs), share, (objective.off + objective.on) / 2)
        return None


def _targets(objective: Objective, labels: np.ndarray, outputs: int) -> np.ndarray:
    return objective.targets(NumpyBackend().xp, np.zeros((len(labels), outputs)), labels)


def _entropy(p: np.ndarray) -> float:
    return float(-np.sum(p * np.log(np.where(p > 0, p, 1.0))))


def _softmax(labels: np.ndarray, k: int, smoothing: float) -> BaselineLoss:
    """E log sum e^y <= ln K + s^2 / 2 for K outputs N(0, s^2), by Jensen's inequality."""
    share = np.bincount(labels, minlength=k) / len(labels)
    best = _entropy(share * (1 - smoothing) + smoothing / k)
    return BaselineLoss(math.log(k), best, math.log(k) + WILD**2 / 2, f"ln {k} = {math.log(k):.3f}")


def _binary(q: np.ndarray) -> BaselineLoss:
    """E log(1 + e^y) <= ln 2 + s^2 / 8 for y from N(0, s^2), as the second derivative is at most 1/4."""
    mean, k = q.mean(axis=0), q.shape[1]
    even = k * math.log(2)
    words = f"ln 2 = {even:.3f}" if k == 1 else f"{k} ln 2 = {even:.3f}"
    return BaselineLoss(even, _entropy(mean) + _entropy(1 - mean), even + k * WILD**2 / 8, words)


def _squared(t: np.ndarray, share: float, middle: float) -> BaselineLoss:
    """E (y - t)^2 = (E y - t)^2 + s^2."""
    even = share * float(np.mean(np.sum((t - middle) ** 2, axis=1)))
    best = share * float(np.sum(t.var(axis=0)))
    wild = even + share * t.shape[1] * WILD**2
    return BaselineLoss(even, best, wild, f"{even:.3g} with outputs of {middle:g}, halfway between the targets")
