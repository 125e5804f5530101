"""The loss of a model that ignores its input: what the first and the last loss are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backends import NumpyBackend
from nnbackprop.nn.losses import Loss, MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
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
    xp, n, k = NumpyBackend().xp, len(targets), outputs
    targets = targets if targets.ndim == 1 else targets.astype(np.float64)
    t = objective.loss.encode(xp, np.zeros((n, k)), targets)
    q = np.mean(np.eye(k)[t] if t.ndim == 1 else t, axis=0)
    loss: Loss
    with np.errstate(divide="ignore"):
        match objective.loss:  # of a subclass, the loss it should compute
            case SoftmaxCrossEntropy(label_smoothing=s):
                loss, even, best = SoftmaxCrossEntropy(s), 0.0, np.log(q * (1 - s) + s / k)
                text = f"ln {k} = {math.log(k):.3f}"
            case SigmoidBinaryCrossEntropy(label_smoothing=s):
                q = q * (1 - s) + s / 2
                loss, even, best = SigmoidBinaryCrossEntropy(s), 0.0, np.log(q) - np.log(1 - q)
                text = f"{k if k > 1 else ''} ln 2 = {k * math.log(2):.3f}".strip()
            case MeanSquaredError(reduction, off, on):
                even = (off + on) / 2 if targets.ndim == 1 else 0.0
                loss, best, text = MeanSquaredError(reduction), q, f"the loss of outputs of {even:g}"
            case _:
                return None
    random = WILD * np.random.default_rng(0).standard_normal((n, k))
    constants = (np.broadcast_to(np.clip(c, -1e3, 1e3), (n, k)) for c in (even, best))
    of_even, of_best, of_random = (float(loss(xp, y, t)[0]) for y in (*constants, random))
    return BaselineLoss(of_even, of_best, of_random, text)
