"""What the checks work on: the samples of a data set, or a network with its parameters and data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from backends import Array, Backend, tree_map
from nnbackprop.data.catalog import to_splits
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.mapped import blocks
from nnbackprop.data.raw import RawDataset, RawSplits, are_class_labels, integer_labels
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import Scaling
from nnbackprop.data.split import Splits, split, stratified_counts
from nnbackprop.nn.augmentation import Augmentation
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import check_labels
from nnbackprop.nn.metrics import predicted_classes
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.trace import Trace

MAX_SAMPLES = 200  # means over them are good to a few percent, and a pass takes milliseconds


@dataclass(frozen=True, eq=False)
class DataProbe:
    """Raw data with any fault in it, and the settings of the run that would use it.

    n_outputs    how many outputs the network is to have, where that is known
    full_batch   whether every step sees all samples, so that their order means nothing
    """

    raw: RawSplits
    scale: str = "standard"
    shuffle: bool = True
    full_batch: bool = False
    test_fraction: float = 0.2
    seed: int = 0
    n_outputs: int | None = None

    @property
    def train(self) -> RawDataset:
        """The table that is trained on, before a test part is split off."""
        return self.raw.train

    @property
    def tables(self) -> tuple[RawDataset, ...]:
        """The training table and, where there is one, the test table."""
        return tuple(table for table in self.raw if table is not None)

    @property
    def reader_notes(self) -> tuple[str, ...]:
        """The readers' notes."""
        return tuple(dict.fromkeys(note for table in self.tables for note in table.reader_notes))

    @cached_property
    def labels(self) -> tuple[np.ndarray, ...] | None:
        """The labels (n,) of each table as integers, names as those of the sorted classes; None without classes.

        None too if a label is neither a whole number nor a name.
        """
        if self.train.task != "classification":
            return None
        columns = [integer_labels(table.labels) for table in self.tables]
        if all(column is not None for column in columns):
            return tuple(c for c in columns if c is not None)
        if not all(are_class_labels(table.labels) for table in self.tables):
            return None
        everything = to_splits(self.raw)
        return tuple(part.targets for part in (everything.train, everything.test) if part is not None)

    @cached_property
    def finite(self) -> bool:
        """Whether all input values are finite numbers."""
        floats = (table.inputs for table in self.tables if table.inputs.dtype != np.uint8)
        return all(np.isfinite(block).all() for inputs in floats for block in blocks(inputs))

    @cached_property
    def splits(self) -> Splits:
        """The parts with one class map; the test part is split off as a run does it, where there is none."""
        everything = to_splits(self.raw)
        if everything.test is not None or not self.test_fraction:
            return everything
        if not stratified_counts(everything.train.counts(), self.test_fraction).any():
            return everything
        return Splits(*split(everything.train, self.test_fraction, self.seed))


@dataclass(frozen=True, eq=False)
class ModelProbe:
    """A network with its loss on a backend, the data it is for, and its weights: initial, or `trained` ones.

    Layers may be anybody's: nothing but the `Layer` protocol is used.
    """

    backend: Backend
    objective: Objective
    dataset: Dataset
    scaling: Scaling
    dtype: str = "float32"
    seed: int = 0
    trained: Params | None = None
    augment: Augmentation | None = None

    @cached_property
    def initial(self) -> Params:
        """The parameters with which a run with this seed starts, on the device."""
        host = self.objective.network.init(self.dataset.sample_shape, self.seed, self.dtype)
        return tree_map(self.backend.asarray, host)

    @property
    def params(self) -> Params:
        """The trained parameters where there are some, else the initial ones."""
        return self.initial if self.trained is None else self.trained

    def subset(self, size: int) -> ModelProbe:
        """The same with at most `size` samples, shuffled by the seed, the classes in turn."""
        rows = permutation(self.seed, 0, len(self.dataset))
        if self.dataset.classes:
            labels, counts = self.dataset.targets[rows], self.dataset.counts()
            turn = np.empty(len(rows), np.int64)  # 0 for the first of its class, 1 for the second ...
            by_class = np.argsort(labels, kind="stable")
            turn[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            rows = rows[np.argsort(turn, kind="stable")]
        return replace(self, dataset=self.dataset.take(rows[:size]))

    @cached_property
    def x(self) -> Array:
        """The samples as the network sees them."""
        return self.backend.asarray(self.scaling.apply(self.dataset.inputs, self.dtype))

    @cached_property
    def zeros(self) -> Array:
        """As many samples of zeros."""
        return self.backend.asarray(np.zeros(self.dataset.inputs.shape, self.dtype))

    @cached_property
    def targets(self) -> Array:
        """Their targets on the device; DataError if a label names no output."""
        if self.dataset.classes:
            check_labels(self.dataset.targets, max(2, len(self.dataset.classes)))
        return self.backend.asarray(self.host_targets)

    @property
    def host_targets(self) -> np.ndarray:
        """Their targets as the loss takes them, on the host: labels, or numbers as they are scaled."""
        targets = self.dataset.targets
        return targets if self.dataset.classes else self.scaling.scale_targets(targets, self.dtype)

    @property
    def inputs_vary(self) -> bool:
        """Whether the scaled samples differ at all."""
        x = self.to_numpy(self.x)
        return bool((x != x[:1]).any())

    @property
    def key(self) -> RngKey:
        """The random numbers of the first step."""
        return RngKey(self.seed, self.backend.asarray(np.array(0, np.int32)))

    def trace(self, x: Array, key: RngKey | None = None) -> Trace:
        """A forward pass, layer by layer."""
        return self.objective.network.trace(self.backend.xp, self.params, x, key)

    def to_numpy(self, array: Array) -> np.ndarray:
        """A device array as float64 on the host."""
        return self.backend.to_numpy(array).astype(np.float64)

    def outputs(self, x: Array, key: RngKey | None = None) -> dict[str, np.ndarray]:
        """The scaled input and each layer's output, by name, on the host in float64."""
        layers = self.trace(x, key).layers
        return {"the scaled input": self.to_numpy(x)} | {f"layer {t.name}": self.to_numpy(t.y) for t in layers}

    def loss_and_accuracy(self, x: Array, key: RngKey | None = None) -> tuple[float, float]:
        """Loss without penalties, and accuracy (NaN where targets are no class labels); a key is training mode."""
        xp, objective = self.backend.xp, self.objective
        y = self.trace(x, key).y
        J, _ = objective.loss(xp, y, objective.loss.encode_targets(xp, y, self.targets))
        if not self.dataset.classes:
            return float(self.to_numpy(J)), float("nan")
        right = predicted_classes(xp, y, objective.loss.threshold) == self.targets
        return float(self.to_numpy(J)), float(self.to_numpy(right).mean())
