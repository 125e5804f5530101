"""Using trained parameters: evaluate a data set, predict, and take the gradient with respect to the input."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backends import Array, Backend, Tree, device_of, leaves, tree_map
from nnbackprop.data.dataset import Dataset, require_dataset
from nnbackprop.data.device_dataset import DeviceDataset, chunk_indices
from nnbackprop.data.mapped import MappedArray, Samples, blocks
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.scaling import Scaling
from nnbackprop.data.table import is_frame, table_of
from nnbackprop.data.tabular import dataset_of
from nnbackprop.errors import DataError, InputError, ShapeError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import check_labels
from nnbackprop.nn.metrics import (
    ClassificationMetrics,
    Metrics,
    MultilabelMetrics,
    RegressionMetrics,
    predicted_classes,
)
from nnbackprop.nn.objective import Objective

from .events import Score
from .sharding import Reducer
from .step import EvalStep, unflatten_numbers, zero_sums

EVAL_BATCH_SIZE = 1000  # enough to keep the products busy, small beside the parameters
WINDOWS_EVAL_BATCH_SIZE = 100  # the windows of a 3x3 kernel on 1,000 images 28x28x32 take 0.9 GB
EVAL_STEPS_PER_CHUNK = 64
MAX_CONFUSION_CLASSES = 20  # beyond which their pairs are not counted


@dataclass(frozen=True, eq=False)
class Evaluator:
    """A network in evaluation mode: dropout off, nothing updated; parameters are arguments."""

    backend: Backend
    objective: Objective
    metrics: Metrics
    scaling: Scaling
    dtype: str

    @cached_property
    def batch_size(self) -> int:
        """Samples of a batch in evaluation."""
        layers = self.objective.network.named_layers()
        copied = any(getattr(layer, "copies_windows", False) for _, layer in layers)
        return WINDOWS_EVAL_BATCH_SIZE if copied else EVAL_BATCH_SIZE

    @cached_property
    def step(self) -> EvalStep:
        """The compiled step, kept for all evaluations."""
        return EvalStep(self.backend.xp, self.objective, self.metrics)

    def evaluate(self, params: Params, device_data: DeviceDataset) -> Score:
        """Mean loss (penalties included) and metrics over a data set on the device."""
        n_samples, sums = len(device_data.dataset), self.zero_sums(params, device_data.dataset)
        constants = {**device_data.arrays, "params": params}
        steps = device_data.limit_steps(EVAL_STEPS_PER_CHUNK, self.batch_size)
        chunks = chunk_indices(np.arange(n_samples), self.batch_size, steps)
        for _, batches in device_data.to_device((None, device_data.batches(indices)) for indices in chunks):
            sums = self.backend.scan(self.step, sums, constants, batches)
        return self.score(tree_map(lambda a: self.backend.to_numpy(a).tolist(), sums), n_samples)

    def evaluate_distributed(self, params: Params, device_data: DeviceDataset, processes: Reducer) -> Score:
        """The same, shared out among processes, each of which calls it; sums are added in the order of batches."""
        xp, n, zero = self.backend.xp, len(device_data.dataset), self.zero_sums(params, device_data.dataset)
        constants = {**device_data.arrays, "params": params}
        begins = range(0, n, self.batch_size)
        each = -(-len(begins) // processes.size)  # batches a process
        own = begins[processes.rank * each : (processes.rank + 1) * each]
        batches = (np.arange(b, min(b + self.batch_size, n)).reshape(1, -1) for b in own)
        rows = np.zeros((each, sum(math.prod(a.shape) for a in leaves(zero))))
        for i, (_, batch) in enumerate(device_data.to_device((None, device_data.batches(b)) for b in batches)):
            sums = self.backend.scan(self.step, tree_map(xp.zeros_like, zero), constants, batch)
            rows[i] = np.concatenate([self.backend.to_numpy(a).reshape(-1) for a in leaves(sums)])
        of_all = processes.all_gather(rows).reshape(-1, rows.shape[1])[: len(begins)]
        return self.score(unflatten_numbers(zero, iter(of_all.sum(axis=0).tolist())), n)

    def zero_sums(self, params: Params, dataset: Dataset) -> Tree:
        """The sums of `step` before the first batch of a data set."""
        xp, k = self.backend.xp, len(dataset.classes)
        sums = zero_sums(xp, self.metrics, params, dataset.weights is not None)
        if not (isinstance(self.metrics, ClassificationMetrics) and 1 < k <= MAX_CONFUSION_CLASSES):
            return sums
        like = sums["loss"]
        return {**sums, "confusion": xp.zeros((k * k,), dtype=like.dtype, device=device_of(like))}

    def score(self, sums: Tree, n_samples: int) -> Score:
        """The means of a data set's sums, which are numbers on the host."""
        weight, counts = sums.get("weight", n_samples), sums.get("confusion")
        k = math.isqrt(len(counts or ()))
        confusion = counts and tuple(tuple(map(int, counts[i * k : (i + 1) * k])) for i in range(k))
        return Score(sums["loss"] / weight, self.metrics.compute(sums["metrics"], weight), n_samples, confusion)

    def predict_proba_or_values(
        self,
        params: Params,
        inputs: Samples,
        sample_shape: tuple[int, ...],
        transform: Callable[[Array, int], Array] | None = None,
    ) -> np.ndarray:
        """What the loss predicts of the network's outputs, host (n, k), for raw inputs (n, *sample_shape).

        The probability of each class or label; k = 1 for a network with one output: that of class 1. Where the
        loss takes plain outputs (mean squared error) these are the outputs themselves, which need not sum to 1.
        Of a regression they are numbers in the units of the targets. `transform` gets a batch and its first row.
        """
        xp, parts = self.backend.xp, []
        with np.errstate(all="ignore"):  # an underflow in a tail
            for begin, x in self._batches(inputs, sample_shape):
                x = x if transform is None else transform(x, begin)
                y, _ = self.objective.network.forward(xp, params, x, None)
                parts.append(self.backend.to_numpy(self.objective.loss.predictions(xp, y)))
        return self.scaling.unscale_targets(np.concatenate(parts))

    def predict(self, params: Params, inputs: Samples, sample_shape: tuple[int, ...]) -> np.ndarray:
        """Class of each raw input, host int32 (n,); 0 or 1 of each label, int32 (n, k); or numbers (n, k)."""
        return self.predicted_targets(self.predict_proba_or_values(params, inputs, sample_shape))

    def predicted_targets(self, outputs: np.ndarray) -> np.ndarray:
        """Of what `predict_proba_or_values` gave: the likeliest class, labels from one half on, or the numbers."""
        loss = self.objective.loss
        threshold = 0.5 if loss.gives_probabilities else loss.threshold
        if isinstance(self.metrics, ClassificationMetrics):
            return predicted_classes(np, outputs, threshold)
        if isinstance(self.metrics, MultilabelMetrics):
            return (outputs >= threshold).astype(np.int32)
        return outputs

    def check_has_probabilities(self) -> None:
        """UsageError where the predictions are numbers."""
        if isinstance(self.metrics, RegressionMetrics):
            raise UsageError(
                "predict_proba gives the probabilities of classes or labels, and this network predicts numbers, "
                "which have none: call predict."
            )

    def input_gradient(self, params: Params, inputs: Samples, targets: np.ndarray) -> np.ndarray:
        """dJ_i/dx_i of each sample's own loss, host, of the inputs' shape and in units of the raw inputs.

        J is a mean over the batch, so a sample's own gradient is n times its row of dJ/dx; the chain rule
        through x' = x * scale + shift then multiplies by the scale.
        """
        parts = []
        for begin, x in self._batches(inputs, inputs.shape[1:]):
            t = self.backend.asarray(targets[begin : begin + self.batch_size])
            dx = self.objective.value_and_grad(self.backend.xp, params, x, t, None, need_dx=True).dx
            parts.append(self.backend.to_numpy(dx) * x.shape[0])
        return np.concatenate(parts) * self.scaling.scale.astype(self.dtype)

    def check_dataset(self, dataset: Dataset, sample_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
        """DataError unless the samples and targets of `dataset` are such as the network was built for."""
        if dataset.sample_shape != sample_shape:
            raise DataError(
                f"{dataset.source} has samples of shape {dataset.sample_shape} and this network was built for "
                f"{sample_shape}."
            )
        if isinstance(self.metrics, ClassificationMetrics):
            check_labels(dataset.targets, max(2, out_shape[0]))

    def _batches(self, inputs: Samples, sample_shape: tuple[int, ...]) -> Iterator[tuple[int, Array]]:
        """Raw host inputs as the network sees them, on the device, a batch at a time, and where each begins."""
        inputs = check_inputs(inputs, sample_shape)
        for begin in range(0, max(1, len(inputs)), self.batch_size):
            batch = inputs[begin : begin + self.batch_size]
            yield begin, self.backend.asarray(self.scaling.apply(batch, self.dtype))


def inputs_of(data: Any, preprocessing: Preprocessing | None, source: str = "memory") -> Any:
    """The inputs of rows to be predicted: a data frame's by the names of its columns, others as they are.

    Warns of what was noticed, such as categories that training did not have.
    """
    if preprocessing is None or not is_frame(data):
        return data
    inputs, notes = preprocessing.transform(table_of(data, source))
    _warn(notes)
    return inputs


def dataset_to_evaluate(data: Any, preprocessing: Preprocessing | None) -> Dataset:
    """A Dataset as it is, and a data frame by the preprocessing of the table that was trained on."""
    if preprocessing is not None and preprocessing.targets and is_frame(data):
        dataset = dataset_of(table_of(data), preprocessing)
        _warn(dataset.reader_notes)
        return dataset
    require_dataset(data, "evaluate")
    return data


def _warn(notes: Iterable[str]) -> None:
    for note in notes:
        warnings.warn(note, stacklevel=4)


def check_inputs(inputs: Any, sample_shape: tuple[int, ...]) -> Samples:
    """Inputs (n, *sample_shape) as an array; ShapeError or DataError for what no prediction can be made of."""
    if isinstance(inputs, Dataset):
        raise DataError(
            "A Dataset has targets too, and a prediction is made of inputs alone: pass dataset.inputs, or call "
            "evaluate(dataset)."
        )
    if np.ma.is_masked(inputs):
        raise InputError("Inputs are a masked array with masked values: fill them in, or leave out those samples.")
    shape = ", ".join(("n", *map(str, sample_shape)))
    try:
        x = inputs if isinstance(inputs, MappedArray) else np.ascontiguousarray(inputs)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Inputs are no array of numbers ({error}): pass an array ({shape}), each row of the same length."
        ) from error
    if x.dtype.kind not in "buif":
        raise DataError(f"Inputs are of type {x.dtype}; numbers are needed, an array ({shape}).")
    if x.shape[1:] != sample_shape:
        raise ShapeError(
            f"Inputs have shape {x.shape} and must be ({shape}), one row a sample: pass "
            "images.reshape(len(images), -1) for vectors, and x.reshape(1, -1) for a single sample."
        )
    if not all(np.isfinite(block).all() for block in blocks(x)):
        raise InputError(
            "Inputs hold NaN or infinity, which no prediction can be made of: leave out those samples."
        )
    return x
