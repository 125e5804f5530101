"""The loss of a model that ignores its input: what the first and the last loss are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backends import NumpyBackend
from nnbackprop.nn.losses import MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.training.step import Objective

# More than initial weights should give: He's rule gives 1.4, N(0, 1) after 30 sigmoids, which trains, about 4.
WILD = 6.0


@dataclass(frozen=True)
class BaselineLoss:
    """Losses of models that ignore their input.

    even  all outputs equal: ln K for softmax
    best  the constant that fits these targets best: their entropy, or their variance
    wild  random outputs of standard deviation WILD
    """

    even: float
    best: float
    wild: float
    text: str


def baseline_loss(objective: Objective, targets: np.ndarray, outputs: int) -> BaselineLoss | None:
    """For host targets and that many outputs; None for a loss that is not one of this package's."""
    xp, loss, n = NumpyBackend().xp, objective.loss, len(targets)
    t = loss.encode(xp, np.zeros((n, outputs)), targets)
    q = np.mean(np.eye(outputs)[t] if t.ndim == 1 else t, axis=0)
    even, text = 0.0, "the loss of outputs of 0"
    with np.errstate(divide="ignore"):
        match loss:
            case SoftmaxCrossEntropy(s):
                best = np.log(q * (1 - s) + s / outputs)
                text = f"ln {outputs} = {math.log(outputs):.3f}"
            case SigmoidBinaryCrossEntropy(s):
                q = q * (1 - s) + s / 2
                best = np.log(q) - np.log(1 - q)
                text = f"{outputs if outputs > 1 else ''} ln 2 = {outputs * math.log(2):.3f}".strip()
            case MeanSquaredError():
                best = q
                if targets.ndim == 1:
                    even = loss.threshold
                    text = f"the loss of outputs of {even:g}, halfway between the targets"
            case _:
                return None
    random = WILD * np.random.default_rng(0).standard_normal((n, outputs))
    constants = np.full((n, outputs), even), np.broadcast_to(np.clip(best, -1e3, 1e3), (n, outputs))
    of_even, of_best, of_random = (float(loss(xp, y, t)[0]) for y in (*constants, random))
    return BaselineLoss(of_even, of_best, of_random, text)
