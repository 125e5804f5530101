"""What is learnt, and what was fitted: a network, a loss and all that training needs to go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnbackprop.errors import UsageError
from nnbackprop.nn.losses import Loss, PoissonNLL, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Optimizer

OUT_ACTIVATIONS: dict[type, str] = {
    SoftmaxCrossEntropy: "softmax",
    SigmoidBinaryCrossEntropy: "logistic",
    PoissonNLL: "exp",
}
"""What the loss makes of the last layer's outputs; nothing ("identity") where it is another."""


@dataclass(frozen=True)
class Task:
    """What is learnt: the targets of a data set, the names of its classes if it has any, and the loss."""

    targets: np.ndarray
    class_names: tuple[str, ...]
    n_outputs: int
    loss: Loss


@dataclass(frozen=True, eq=False)
class Fitted:
    """A network as it was fitted, and what training needs to go on: hyperparameters, host arrays and counts."""

    network: Sequential
    loss: Loss
    dtype: str
    seed: int
    optimizer: Optimizer
    state: Any = None  # params, optimizer and progress, as `Trainer.state_dict` gives them
    first_step: int = 0  # where the schedule began

    def with_optimizer(self, optimizer: Optimizer) -> Fitted:
        """The same for training to go on with `optimizer`; one of another kind begins anew at these parameters."""
        if (type(optimizer), optimizer.state_names) == (type(self.optimizer), self.optimizer.state_names):
            return replace(self, optimizer=optimizer)
        return replace(self, optimizer=optimizer, state={**self.state, "optimizer": None}, first_step=0)

    def check_same(self, network: Sequential, loss: Loss) -> None:
        """UsageError unless training would go on with the same network and loss."""
        if (network, loss) != (self.network, self.loss):
            raise UsageError(
                f"Training would go on with the network that was fitted, {self.network} with {self.loss}; the "
                f"parameters and the targets now describe {network} with {loss}. Leave them as they were, or fit "
                "anew with warm_start=False."
            )
