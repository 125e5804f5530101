"""A trained network with all that its use needs: evaluate, predict, and attack it by its own input gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backends import Backend, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.data.mapped import MappedArray, blocks
from nnbackprop.data.prepared import as_trained, check_prepared
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import DataError, InputError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.metrics import accuracy, metrics_for
from nnbackprop.nn.objective import Objective
from nnbackprop.training.evaluator import Evaluator, dataset_to_evaluate, inputs_of
from nnbackprop.training.events import Score

from .checkpoint import Checkpoint, unflatten


def evaluator_and_params(
    backend: Backend,
    objective: Objective,
    checkpoint: Checkpoint,
    scaling: Scaling,
    dtype: str,
    *,
    sample_shape: tuple[int, ...],
    n_outputs: int,
    has_classes: bool,
) -> tuple[Evaluator, Params]:
    """What evaluates a checkpoint's network, and the parameters on the device."""
    template = objective.network.empty_params(sample_shape, dtype)
    params = tree_map(backend.asarray, unflatten(template, checkpoint.arrays, "params"))
    metrics = metrics_for(
        objective.loss, None if has_classes else np.zeros((1, n_outputs)), scaling.target_scaling, dtype
    )
    return Evaluator(backend, objective, metrics, scaling, dtype), params


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """The weights of a network and what they need to be used: `nb.open(path)` makes one of a file or a run."""

    evaluator: Evaluator
    params: Params
    sample_shape: tuple[int, ...]
    classes: tuple[str, ...]
    source: str  # what it was trained on, or the file
    image_shape: tuple[int, ...] | None = None
    max_input: float | None = None  # largest input of the training data: pixels of 0..255 or of 0..1
    input_dtype: str = ""  # of the training data; older runs do not say
    preprocessing: Preprocessing | None = None  # of the table it was trained on
    n_outputs: int = 0
    resident: str = "auto"

    @property
    def n_features(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.sample_shape)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the targets: those of the table's columns, where there was one."""
        if self.preprocessing is not None:
            return self.preprocessing.targets
        return tuple(f"output {k}" for k in range(self.n_outputs))

    def host_params(self) -> Params:
        """A copy of the parameters on the host."""
        return tree_map(self.evaluator.backend.to_numpy, self.params)

    def evaluate(self, dataset: Any) -> Score:
        """Mean loss and metrics of a Dataset, or of a data frame where it was trained on a table; dropout off."""
        data = dataset_to_evaluate(dataset, self.preprocessing).with_classes(self.classes)
        data = as_trained(data, self.preprocessing)
        e = self.evaluator
        e = replace(e, metrics=metrics_for(e.objective.loss, data.targets, e.scaling.target_scaling, e.dtype))
        e.check_dataset(data, self.sample_shape, (max(self.n_outputs, len(self.classes)),))
        return e.evaluate(self.params, DeviceDataset(e.backend, data, e.scaling, e.dtype, self.resident))

    def predict(self, inputs: Any, source: str = "the input") -> np.ndarray:
        """Predicted class (n,) of raw inputs (n, *sample_shape), or of a data frame's rows.

        Of several labels 0 or 1 for each, int32 (n, k); of a regression the numbers (n, k). A category that
        training did not have is warned of. Arrays are taken as prepared, as data.train.inputs are.
        """
        check_prepared(inputs, self.preprocessing, source)
        return self.evaluator.predicted_targets(self.predict_proba_or_values(inputs, source))

    def predict_proba(self, inputs: Any, source: str = "the input") -> np.ndarray:
        """Probabilities of classes or labels (n, k) of what `predict` takes; UsageError for a regression."""
        self.evaluator.check_has_probabilities()
        check_prepared(inputs, self.preprocessing, source)
        return self.predict_proba_or_values(inputs, source)

    def predict_proba_or_values(self, inputs: Any, source: str = "the input") -> np.ndarray:
        """`predict_proba`, or the predicted numbers of a regression (n, k)."""
        inputs = inputs_of(inputs, self.preprocessing, source)
        self._check(inputs, source)
        return self.evaluator.predict_proba_or_values(self.params, inputs, self.sample_shape)

    def attack(self, dataset: Dataset, epsilon: float) -> Attack:
        """Move each input by `epsilon` of its range against its label, by the fast gradient sign method.

        x* = x + epsilon range sign(dJ/dx) (Goodfellow, Shlens and Szegedy, Explaining and Harnessing
        Adversarial Examples, 2015, section 4), kept within that range: of images that of all pixels, else that of
        each feature. Categories and indicators of missing values are not moved.
        """
        if not self.classes:
            raise UsageError(
                f"An attack moves a sample to another class, and {self.source} learns {dataset.task}, which has "
                "none: attack a network that classifies."
            )
        dataset = as_trained(dataset, self.preprocessing)
        axis = 0 if dataset.image_shape is None else None
        x = dataset.inputs.astype(np.result_type(dataset.inputs.dtype, self.evaluator.dtype))
        low, high = x.min(axis), x.max(axis)
        step = (epsilon * (high - low)).astype(x.dtype)
        if dataset.preprocessing is not None:
            step = np.where(dataset.preprocessing.is_indicator, x.dtype.type(0), step)
        gradient = self.evaluator.input_gradient(self.params, x, dataset.targets)
        moved = np.clip(x + step * np.sign(gradient), low, high)
        before, after = (self.predict(inputs) for inputs in (x, moved))
        return Attack(x, moved, before, after, accuracy(before, dataset.targets), accuracy(after, dataset.targets))

    def _check(self, inputs: Any, source: str) -> None:
        try:
            inputs = inputs if isinstance(inputs, MappedArray) else np.asarray(inputs)
        except (TypeError, ValueError) as error:
            raise DataError(f"{source} is no array of numbers ({error}): pass rows of the same length.") from error
        shape = ", ".join(("n", *map(str, self.sample_shape)))
        if inputs.ndim != 1 + len(self.sample_shape) or inputs.dtype.kind not in "buif":
            raise DataError(
                f"{source} is {inputs.dtype} of shape {inputs.shape}; numbers of shape ({shape}) are needed, one "
                "row a sample."
            )
        if not all(np.isfinite(block).all() for block in blocks(inputs)):
            raise InputError(f"{source} holds values that are not finite: repair or leave out those samples.")
        if inputs.shape[1:] != self.sample_shape:
            raise DataError(
                f"{source} has {math.prod(inputs.shape[1:])} numbers a sample and this network takes "
                f"{self.n_features}"
                + (f" (images of {' x '.join(map(str, self.image_shape))})" if self.image_shape else "")
                + f": it was trained on {self.source}."
            )
        largest, known = max(0.0, float(inputs.max())) if len(inputs) else 0.0, self.max_input
        if (
            self.preprocessing is None
            and known is not None
            and ((known > 2 and 0 < largest <= 1) or (known <= 1 and largest > 2))
        ):
            raise DataError(
                f"{source} has values up to {largest:g} and this network was trained on up to {known:g}: "
                "bring the pixels to the same range first."
            )


@dataclass(frozen=True)
class Attack:
    """Inputs (n, features) before and after, the classes (n,) predicted for each, and the accuracies."""

    clean: np.ndarray
    moved: np.ndarray
    before: np.ndarray
    after: np.ndarray
    accuracy_before: float
    accuracy_after: float
