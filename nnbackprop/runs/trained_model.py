"""A trained network out of its run folder, with the data that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backends import Array, Backend, select
from nnbackprop.data.catalog import load_splits, open_source
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.mapped import Samples
from nnbackprop.data.table import DataOptions
from nnbackprop.data.tabular import TableSplits, dataset_of
from nnbackprop.errors import UsageError
from nnbackprop.nn.rng import RngKey

from . import build
from . import trainer_checkpoint as state
from .checkpoint import load as load_checkpoint
from .config import Config
from .config_files import load_run_config
from .run_data import RunData, absolute, data_options_of
from .run_dir import RunDir
from .saved_model import SavedModel, evaluator_and_params

SEEN = (
    "the network was trained on rows of this file, so this says little of new ones; without --data its test part "
    "alone is evaluated"
)


@dataclass(frozen=True, kw_only=True)
class TrainedModel(SavedModel):
    """The best weights of a run and what they need to be used: `TrainedModel.open("runs/mnist")`."""

    run_dir: RunDir
    config: Config
    max_input: float
    fingerprint: str = ""  # of the data it was trained and evaluated on
    background: tuple[float, ...] = ()  # of the training images, a value for each channel
    mnist_like: bool = False  # whether it was trained on digits of MNIST's kind

    @classmethod
    def open(cls, run: str, runs: Path = Path("runs"), backend: Backend | None = None) -> TrainedModel:
        """Open a run folder by path, by name, or as `last`; on any backend, whichever trained it."""
        run_dir = RunDir.open(runs, run)
        config = load_run_config(run_dir.config_path)
        best = run_dir.checkpoint_path("best")
        path = best if best.is_file() else run_dir.checkpoint_path("last")
        checkpoint = state.with_eval_params(load_checkpoint(path))
        state.check_settings(checkpoint, config, path, run_dir.config_path)
        info = state.info_of(checkpoint)
        backend = backend or select(config.backend, config.device)
        n_outputs = config.n_outputs or info.n_outputs or len(info.classes)
        objective = build.objective(config, n_outputs, info.image_shape)
        evaluator, params = evaluator_and_params(
            backend,
            objective,
            checkpoint,
            state.scaling_of(checkpoint),
            config.params_dtype,
            sample_shape=(info.n_features,),
            n_outputs=n_outputs,
            has_classes=bool(info.classes),
        )
        return cls(
            run_dir=run_dir,
            config=config,
            evaluator=evaluator,
            params=params,
            sample_shape=(info.n_features,),
            classes=info.classes,
            source=config.data,
            image_shape=info.image_shape,
            max_input=info.max_input,
            input_dtype=info.input_dtype,
            preprocessing=info.preprocessing,
            n_outputs=n_outputs,
            resident=config.resident,
            fingerprint=info.fingerprint,
            background=info.background,
            mnist_like=info.mnist_like,
        )

    def predict_augmented(self, inputs: Samples, copies: int) -> np.ndarray:
        """Probability of each class (n, k), the mean over so many random transformations of each input.

        They are those of the run's training, but for `augment_half_angle`: a sample's class is not known.

        Raises:
            UsageError: fewer than 1 copy, or a run that was trained without augmentation or on no classes.
        """
        augmentation = build.augmentation(replace(self.config, augment_half_angle=()))
        if copies < 1 or augmentation is None or not self.classes:
            raise UsageError(
                f"augment={copies} averages over transformed copies of each image, as in training, and "
                f"{self.run_dir.path} was trained with augment = {list(self.config.augment)}: give at least 1 "
                "copy, of a run of classes that was trained with augmentation."
            )
        e, augment = self.evaluator, augmentation.for_images(self.image_shape)

        def of_copy(k: int) -> np.ndarray:
            step = e.backend.asarray(np.array(k, np.int32))

            def transform(x: Array, first_row: int) -> Array:
                return augment(e.backend.xp, x, None, RngKey(self.config.seed, step, first_row, "evaluation"))

            return e.predict_proba_or_values(self.params, inputs, self.sample_shape, transform)

        total = of_copy(0)
        for k in range(1, copies):
            total += of_copy(k)
        return total / copies

    def data(self, spec: str | None = None) -> Dataset:
        """The data to evaluate on: `spec`, or the run's own; its test part, or all of it where it has none."""
        if spec is None:
            data = RunData.load(self.config)
            data.check(self.fingerprint, self.run_dir.checkpoint_path("best"))
            return data.test or data.train
        options = self._reading_options()
        source = open_source(spec, options)
        if self.preprocessing is not None and isinstance(source, TableSplits):
            dataset = dataset_of(source.test or source.train, self.preprocessing)
        else:
            splits = load_splits(source, options, 0.0)
            dataset = (splits.test or splits.train).with_classes(self.classes)
            self._check(dataset.inputs, dataset.source)
        if source.test is None and absolute(spec) == absolute(self.config.data):
            dataset = replace(dataset, reader_notes=(*dataset.reader_notes, SEEN))
        return dataset

    def _reading_options(self) -> DataOptions:
        """How other data is read: as the run's own, images in the size and channels that the network takes."""
        options = data_options_of(self.config)
        if self.preprocessing is not None:
            options = replace(options, text_columns=self.preprocessing.text_columns)
        if self.image_shape is None:
            return options
        rows, columns, *colours = self.image_shape
        return replace(options, size=(rows, columns), channels="rgb" if colours else "grey")
