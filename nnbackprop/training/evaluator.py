"""Using trained parameters: score a data set, predict, and ask for the gradient with respect to the input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends import Backend
from nnbackprop.data.loader import DataLoader, chunk_rows
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import ShapeError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.metrics import decide
from nnbackprop.training.callbacks.base import Score

from .step import EvalStep, Objective, zero_sums

ROWS = 1000  # samples judged at once: enough to keep the products busy, small beside the parameters
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Evaluator:
    """A network in evaluation mode: dropout off, nothing updated; parameters are handed in."""

    backend: Backend
    objective: Objective
    scaling: Scaling
    dtype: str
    step: EvalStep = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", EvalStep(self.backend.xp, self.objective))

    def evaluate(self, params: Params, loader: DataLoader) -> Score:
        """Mean loss (penalties included) and accuracy over a data set on the device."""
        samples = len(loader.dataset.targets)
        state, data = zero_sums(self.backend.xp, params), {**loader.data, "params": params}
        chunks = (
            (None, loader.xs(rows))
            for rows in chunk_rows(np.arange(samples), ROWS, loader.limit_chunk(CHUNK, ROWS))
        )
        for _, xs in loader.to_device(chunks):
            state = self.backend.scan(self.step, state, data, xs)
        loss, correct = (float(self.backend.to_numpy(state[name])) for name in ("loss", "correct"))
        return Score(loss / samples, correct / samples, samples)

    def predict_proba(self, params: Params, inputs: np.ndarray) -> np.ndarray:
        """Probability of each class, host (n, k), for raw inputs (n, features).

        k = 1 for a network with one output: the probability of class 1. Where the loss takes plain outputs
        (mean squared error) these are the outputs themselves, which need not sum to 1.
        """
        xp = self.backend.xp
        parts = []
        with np.errstate(all="ignore"):  # a tail that underflows is no news
            for at in range(0, max(1, len(inputs)), ROWS):
                y, _ = self.objective.network.forward(xp, params, self.scaled(inputs[at : at + ROWS]))
                parts.append(self.backend.to_numpy(self.objective.loss.probabilities(xp, y)))
        return np.concatenate(parts)

    def predict(self, params: Params, inputs: np.ndarray) -> np.ndarray:
        """Predicted class of each raw input (n, features), host int32 (n,)."""
        return self.decide(self.predict_proba(params, inputs))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """The class each row of `predict_proba` (n, k) stands for, int32 (n,)."""
        logits = self.objective.loss.threshold == 0.0  # whose probabilities have their threshold at a half
        return decide(np, probabilities, 0.5 if logits else self.objective.threshold)

    def input_gradient(self, params: Params, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """dJ_i/dx_i of each sample's own loss, host (n, features), in units of the raw inputs.

        J is a mean over the batch, so a sample's own gradient is n times its row of dJ/dx; the chain rule
        through x' = x * scale + shift then multiplies by the scale.
        """
        parts = []
        for at in range(0, len(inputs), ROWS):
            x, t = (
                self.scaled(inputs[at : at + ROWS]),
                self.backend.asarray(labels[at : at + ROWS].astype(np.int32)),
            )
            _, _, dx, _ = self.objective.gradients(self.backend.xp, params, x, t, None, need_dx=True)
            parts.append(self.backend.to_numpy(dx) * x.shape[0])
        return np.concatenate(parts) * self.scaling.scale.astype(self.dtype)

    def scaled(self, inputs: np.ndarray) -> Any:
        """Raw host inputs (n, features) as the network sees them, on the device."""
        if inputs.ndim != 2:
            raise ShapeError(
                f"Inputs have shape {inputs.shape} and must be (n, features), one row a sample: "
                "pass images.reshape(len(images), -1), and x.reshape(1, -1) for a single sample."
            )
        return self.backend.asarray(self.scaling.apply(inputs, self.dtype))
