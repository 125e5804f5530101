"""A trained network out of its run folder: evaluate, predict, and attack it by its own input gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backends import Backend, select, tree_map
from nnbackprop.data.catalog import load_splits, open_source
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader
from nnbackprop.data.mapped import MappedArray, Samples, blocks
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.table import TableOptions, is_frame, table_of
from nnbackprop.data.tabular import TableSplits, dataset_of
from nnbackprop.errors import DataError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.metrics import accuracy, metrics_for
from nnbackprop.training.evaluator import Evaluator
from nnbackprop.training.events import Score

from . import build
from . import trainer_state as state
from .checkpoint import load as load_checkpoint
from .checkpoint import unflatten
from .config import Config
from .config_files import load_run_config
from .data_splits import DataSplits, table_options_of
from .run_dir import RunDir


@dataclass(frozen=True)
class TrainedModel:
    """The best weights of a run and what they need to be used: `TrainedModel.open("runs/mnist")`."""

    run_dir: RunDir
    config: Config
    evaluator: Evaluator
    params: Params
    features: int
    classes: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    max_input: float  # largest input of the training data: tells pixels of 0..255 from pixels of 0..1
    input_dtype: str = ""  # of the training data; older runs do not say
    preprocessing: Preprocessing | None = None  # of the table it was trained on
    outputs: int = 0
    fingerprint: str = ""  # of the data it was trained and evaluated on
    ground: tuple[float, ...] = ()  # of the training images, a value for each channel
    digits: bool = False  # whether it was trained on digits of MNIST's kind

    @classmethod
    def open(cls, run: str, runs: Path = Path("runs"), backend: Backend | None = None) -> TrainedModel:
        """Open a run folder by path, by name, or as `last`; on any backend, whichever trained it."""
        run_dir = RunDir.open(runs, run)
        config = load_run_config(run_dir.config_path)
        best = run_dir.checkpoint_path("best")
        path = best if best.is_file() else run_dir.checkpoint_path("last")
        checkpoint = load_checkpoint(path)
        state.check_settings(checkpoint, config, path, run_dir.config_path)
        info = state.info_of(checkpoint)
        backend = backend or select(config.backend, config.device)
        outputs = config.n_outputs or info.outputs or len(info.classes)
        objective = build.objective(config, outputs)
        template = objective.network.empty_params((info.features,), config.params_dtype)
        params = tree_map(backend.asarray, unflatten(template, checkpoint.arrays, "params"))
        scaling = state.scaling_of(checkpoint)
        metrics = metrics_for(objective.loss, None if info.classes else np.zeros((1, outputs)), scaling.targets)
        evaluator = Evaluator(backend, objective, metrics, scaling, config.params_dtype)
        data = info.features, info.classes, info.image_shape, info.max_input, info.input_dtype
        return cls(
            run_dir,
            config,
            evaluator,
            params,
            *data,
            info.preprocessing,
            outputs=outputs,
            fingerprint=info.fingerprint,
            ground=info.ground,
            digits=info.digits,
        )

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the targets: those of the table's columns, where there was one."""
        if self.preprocessing is not None:
            return self.preprocessing.targets
        return tuple(f"output {k}" for k in range(self.outputs))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return (self.features,)

    def data(self, spec: str | None = None) -> Dataset:
        """The data to evaluate on: `spec`, or the run's own; its test part, or all of it where it has none."""
        if spec is None:
            data = DataSplits.load(self.config)
            data.check(self.fingerprint, self.run_dir.checkpoint_path("best"))
            return data.test or data.train
        options = self._reading_options()
        source = open_source(spec, options)
        if self.preprocessing is not None and isinstance(source, TableSplits):
            return dataset_of(source.test or source.train, self.preprocessing)
        splits = load_splits(source, options, 0.0)
        dataset = (splits.test or splits.train).with_classes(self.classes)
        self._check(dataset.inputs, dataset.source)
        return dataset

    def _reading_options(self) -> TableOptions:
        """How other data is read: as the run's own, images in the size and channels that the network takes."""
        options = table_options_of(self.config)
        if self.image_shape is None:
            return options
        rows, columns, *colours = self.image_shape
        return replace(options, size=(rows, columns), channels="rgb" if colours else "grey")

    def evaluate(self, dataset: Dataset) -> Score:
        """Mean loss and accuracy, dropout off."""
        e = self.evaluator
        e = replace(e, metrics=metrics_for(e.objective.loss, dataset.targets, e.scaling.targets))
        return e.evaluate(self.params, DataLoader(e.backend, dataset, e.scaling, e.dtype, self.config.resident))

    def predict(self, inputs: Any, source: str = "the input") -> tuple[np.ndarray, np.ndarray]:
        """Predicted class (n,) and probabilities (n, k) of raw inputs (n, features), or of the rows of a table.

        Where the targets are numbers, both are the numbers (n, k).
        """
        if self.preprocessing is not None and is_frame(inputs):
            inputs, _ = self.preprocessing.transform(table_of(inputs, source))
        self._check(inputs, source)
        probabilities = self.evaluator.predict_proba(self.params, inputs, (self.features,))
        return self.evaluator.predicted_classes(probabilities), probabilities

    def attack(self, dataset: Dataset, epsilon: float) -> Attack:
        """Move each input by `epsilon` of its range against its label, by the fast gradient sign method.

        x* = x + epsilon range sign(dJ/dx) (Goodfellow, Shlens and Szegedy, Explaining and Harnessing
        Adversarial Examples, 2015, section 4), kept within the range of the data.
        """
        low, high = float(dataset.inputs.min()), float(dataset.inputs.max())
        x = dataset.inputs.astype(self.evaluator.dtype)
        gradient = self.evaluator.input_gradient(self.params, x, dataset.targets)
        moved = np.clip(x + epsilon * (high - low) * np.sign(gradient), low, high)
        before, after = (self.predict(inputs)[0] for inputs in (x, moved))
        return Attack(x, moved, before, after, accuracy(before, dataset.targets), accuracy(after, dataset.targets))

    def _check(self, inputs: Samples, source: str) -> None:
        inputs = inputs if isinstance(inputs, MappedArray) else np.asarray(inputs)
        if inputs.ndim != 2 or inputs.dtype.kind not in "buif":
            raise DataError(
                f"{source} is {inputs.dtype} of shape {inputs.shape}; numbers of shape (n, {self.features}) are "
                "needed, one row a sample."
            )
        if not all(np.isfinite(block).all() for block in blocks(inputs)):
            raise DataError(f"{source} holds values that are not finite: repair or leave out those samples.")
        largest = max(0.0, float(inputs.max())) if len(inputs) else 0.0
        if self.preprocessing is None and (
            (self.max_input > 2 and 0 < largest <= 1) or (self.max_input <= 1 and largest > 2)
        ):
            raise DataError(
                f"{source} has values up to {largest:g} and this network was trained on up to {self.max_input:g}: "
                "bring the pixels to the same range first."
            )
        if inputs.shape[1] != self.features:
            raise DataError(
                f"{source} has {inputs.shape[1]} numbers a sample and this network takes {self.features}"
                + (f" (images of {' x '.join(map(str, self.image_shape))})" if self.image_shape else "")
                + f": it was trained on {self.config.data}."
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
