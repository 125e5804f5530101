"""Losses: each returns the mean J of a batch and dJ/dy together, so that no pairing can be wrong."""

from collections.abc import Callable
from functools import partial

from .base import Loss, check_labels, one_hot
from .classification import SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from .regression import Huber, MeanAbsoluteError, MeanSquaredError, Pinball, PoissonNLL

__all__ = [
    "LOSSES",
    "LOSS_PARAMETERS",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Pinball",
    "PoissonNLL",
    "SigmoidBinaryCrossEntropy",
    "SoftmaxCrossEntropy",
    "check_labels",
    "one_hot",
]

LOSSES: dict[str, Callable[..., Loss]] = {
    "softmax-cross-entropy": SoftmaxCrossEntropy,
    "binary-cross-entropy": SigmoidBinaryCrossEntropy,
    "half-mse": partial(MeanSquaredError, "half-sum"),
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
    "poisson": PoissonNLL,
    "pinball": Pinball,
}
"""Losses by their names in a configuration."""

LOSS_PARAMETERS = {"huber": "delta", "pinball": "quantile"}
"""What a number after a loss's name stands for, as in huber:1.5 or pinball:0.9."""
