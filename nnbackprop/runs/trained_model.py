"""A trained network out of its run folder: evaluate, predict, and attack it by its own input gradient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends import Backend, select, tree_map
from nnbackprop.data import load
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader
from nnbackprop.data.readers import csv, png
from nnbackprop.errors import DataError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.metrics import accuracy, metrics_for
from nnbackprop.training.evaluator import Evaluator
from nnbackprop.training.events import Score

from . import build
from . import checkpoint as checkpoints
from . import trainer_state as state
from .config import Config
from .config_files import load_run_config
from .run_dir import RunDir


@dataclass(frozen=True)
class TrainedModel:
    """The best weights of a run and what they need to be used: `TrainedModel.open("runs/mnist")`."""

    folder: RunDir
    config: Config
    evaluator: Evaluator
    params: Params
    features: int
    classes: tuple[str, ...]
    image_shape: tuple[int, int] | None
    highest: float  # input value of the training data: tells pixels of 0..255 from pixels of 0..1
    input_dtype: str = ""  # of the training data; older runs do not say

    @classmethod
    def open(cls, run: str, runs: Path = Path("runs"), backend: Backend | None = None) -> TrainedModel:
        """Open a run folder by path, by name, or as `last`; on any backend, whichever trained it."""
        folder = RunDir.open(runs, run)
        config = load_run_config(folder.config)
        best = folder.checkpoint("best")
        path = best if best.is_file() else folder.checkpoint("last")
        checkpoint = checkpoints.load(path)
        state.check_settings(checkpoint, config.fixed_settings, path, folder.config)
        info = state.info_of(checkpoint)
        backend = backend or select(config.backend, config.device)
        objective = build.objective(config, config.n_outputs or len(info.classes))
        outline = objective.network.empty_params((info.features,), config.params_dtype)
        params = tree_map(backend.asarray, checkpoints.fill(outline, checkpoint.arrays, "params"))
        metrics = metrics_for(objective.loss)
        evaluator = Evaluator(backend, objective, metrics, state.scaling_of(checkpoint), config.params_dtype)
        data = info.features, info.classes, info.image_shape, info.highest, info.input_dtype
        return cls(folder, config, evaluator, params, *data)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return (self.features,)

    def data(self, spec: str | None = None) -> Dataset:
        """The data to evaluate on: `spec`, or the run's own; its test part, or all of it where it has none."""
        split = self.config.test_fraction > 0 and spec is None
        splits = load(
            spec or self.config.data, test_fraction=self.config.test_fraction, seed=self.config.seed, split=split
        )
        dataset = (splits.test or splits.train).with_classes(self.classes)
        self._check(dataset.inputs, dataset.source)
        return dataset

    def evaluate(self, dataset: Dataset) -> Score:
        """Mean loss and accuracy, dropout off."""
        e = self.evaluator
        return e.evaluate(self.params, DataLoader(e.backend, dataset, e.scaling, e.dtype, self.config.resident))

    def predict(self, inputs: np.ndarray, source: str = "the input") -> tuple[np.ndarray, np.ndarray]:
        """Predicted class (n,) and probabilities (n, k) of raw inputs (n, features)."""
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

    def _check(self, inputs: np.ndarray, source: str) -> None:
        if not np.isfinite(inputs).all():
            raise DataError(f"{source} holds values that are not finite: repair or leave out those samples.")
        bright = float(inputs.max(initial=0))
        if (self.highest > 2 and 0 < bright <= 1) or (self.highest <= 1 and bright > 2):
            raise DataError(
                f"{source} has values up to {bright:g} and this network was trained on up to {self.highest:g}: "
                "bring the pixels to the same range first."
            )
        if inputs.shape[1] != self.features:
            raise DataError(
                f"{source} has {inputs.shape[1]} numbers a sample and this network takes {self.features}"
                + (f" (images of {self.image_shape[0]} x {self.image_shape[1]})" if self.image_shape else "")
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


def read_samples(paths: list[str], trained: TrainedModel) -> list[tuple[str, np.ndarray]]:
    """Samples to predict, as (name, (n, features)): a PNG of the network's image size, or rows of a CSV."""
    return [
        (path, _read_png(Path(path), trained) if path.lower().endswith(".png") else csv.read_rows(Path(path)))
        for path in paths
    ]


def _read_png(path: Path, trained: TrainedModel) -> np.ndarray:
    """A grey image as (1, features), black 0 and white as in the training data."""
    white = 255 if trained.highest > 2 else 1
    return (png.read(path, trained.image_shape) * white).reshape(1, -1)
