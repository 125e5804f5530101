"""TensorBoard event files, by its own writer; TensorFlow is not needed."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends import Tree, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.prepared import as_trained
from nnbackprop.runs.train import Run
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkBegin, ChunkEnd, EpochBegin, EpochEnd, TrainBegin, TrainEnd
from nnbackprop.training.step import Microbatch
from nnbackprop.training.trainer import Trainer

from .registry import import_library
from .values import chunk_values, epoch_values, flat_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIBRARY = "tensorboard"
HISTOGRAM_BINS = 50
MAX_HISTOGRAMS = 100  # epochs of a run that have histograms
SESSION_START = 1  # SessionLog.START: what an older event file has from this step on is not shown


class TensorBoardLogger(Callback):
    """Writes scalars, histograms, images and hyperparameters to an event file in `log_dir`.

    Scalars at the ends of chunks and epochs; histograms of weights, and of the gradients of an epoch's first
    batch, for up to 100 epochs; when training is over the first layer's weights as images and, of `evaluated`, a
    data set with classes, the confusion matrix.
    """

    def __init__(self, log_dir: str | Path, evaluated: Dataset | None = None) -> None:
        self.log_dir, self.evaluated = Path(log_dir), evaluated
        self._writer: EventWriter | None = None
        self._gradients_fit = True  # into memory

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Open an event file; after a resume, what older ones have of later steps is dropped."""
        self._writer = EventWriter(self.log_dir, event.first_step)
        self._writer.hyperparameters(flat_config(event.config), str(self.log_dir))
        self._interval = math.ceil(event.epochs / MAX_HISTOGRAMS)
        self._last_epoch, self._wants_gradients, self._ended = event.epochs, False, False

    def epoch_begin(self, trainer: Trainer, event: EpochBegin) -> None:
        """Choose whether this epoch has histograms."""
        self._wants_gradients = event.epoch % self._interval == 0 or event.epoch in (1, self._last_epoch)

    def chunk_begin(self, trainer: Trainer, event: ChunkBegin) -> None:
        """Histograms of the gradients of an epoch's first batch, at the weights before it."""
        if self._wants_gradients and self._gradients_fit:
            self._wants_gradients = False
            grads = first_gradients(trainer, event.batches)
            if grads is None:
                self._gradients_fit = False
                trainer.message("memory ran out: the TensorBoard log has no more histograms of gradients")
            else:
                self._histograms(trainer, "gradients", grads, event.step)

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Scalars of the chunk."""
        self._open.scalars(chunk_values(event), event.step)

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Scalars of the epoch, and histograms of the weights."""
        self._open.scalars(epoch_values(event), event.step)
        if event.epoch % self._interval == 0 or event.epoch in (1, self._last_epoch):
            self._histograms(trainer, "weights", trainer.params, event.step)
        self._open.flush()

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """Images are made in `close`, where the weights are the best ones."""
        self._ended = event.reason != "interrupted"

    def close(self, trainer: Trainer) -> None:
        """Write the images of a run that ended, and close the file."""
        if self._writer is None:
            return
        if self._ended:
            try:
                for name, figure in figures(trainer, self.evaluated):
                    self._writer.image(name, figure, trainer.progress.step)
            except Exception as error:  # no picture fails a finished run
                trainer.message(f"a picture for TensorBoard could not be drawn: {type(error).__name__}: {error}")
        self._writer.close()
        self._writer = None

    @property
    def _open(self) -> EventWriter:
        assert self._writer is not None, "train_begin opens it"
        return self._writer

    def _histograms(self, trainer: Trainer, kind: str, tree: Tree, step: int) -> None:
        for layer, _, branch in trainer.network.named_layers(tree):
            for name, array in (branch or {}).items():
                self._open.histogram(f"{kind}/{layer}/{name}", trainer.backend.to_numpy(array), step)


class EventWriter:
    """An event file in `log_dir` for steps after `first_step`: TensorBoard's writer, and its messages."""

    def __init__(self, log_dir: Path, first_step: int) -> None:
        self._events = import_library("tensorboard.compat.proto.event_pb2")
        self._summaries = import_library("tensorboard.compat.proto.summary_pb2")
        self._hparams = import_library("tensorboard.plugins.hparams.summary_v2")
        writer = import_library("tensorboard.summary.writer.event_file_writer")
        self._file = writer.EventFileWriter(str(log_dir))
        self._add(first_step + 1, session_log=self._events.SessionLog(status=SESSION_START))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by tag."""
        self._values(step, [{"tag": tag, "simple_value": value} for tag, value in values.items()])

    def histogram(self, tag: str, array: np.ndarray, step: int) -> None:
        """The finite numbers of an array in 50 bins of equal width."""
        values = array[np.isfinite(array)].astype(np.float64)
        if not values.size:
            return
        counts, edges = np.histogram(values, HISTOGRAM_BINS)
        histogram = self._summaries.HistogramProto(
            min=values.min(),
            max=values.max(),
            num=values.size,
            sum=values.sum(),
            sum_squares=values @ values,
            bucket_limit=edges[1:],
            bucket=counts,
        )
        self._values(step, [{"tag": tag, "histo": histogram}])

    def image(self, tag: str, png: bytes, step: int) -> None:
        """A picture as PNG."""
        width, height = struct.unpack(">II", png[16:24])  # of its header
        image = self._summaries.Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._values(step, [{"tag": tag, "image": image}])

    def hyperparameters(self, config: Mapping[str, str | float | bool], run: str) -> None:
        """The settings of the run, for TensorBoard's table of hyperparameters."""
        self._add(0, summary=self._hparams.hparams_pb(dict(config), trial_id=run))

    def flush(self) -> None:
        """Write what has been collected."""
        self._file.flush()

    def close(self) -> None:
        """Write and close the file."""
        self._file.close()

    def _values(self, step: int, values: list[dict[str, Any]]) -> None:
        of = self._summaries.Summary
        self._add(step, summary=of(value=[of.Value(**value) for value in values]))

    def _add(self, step: int, **content: Any) -> None:
        self._file.add_event(self._events.Event(wall_time=time.time(), step=step, **content))


def first_gradients(trainer: Trainer, batches: Tree) -> Tree | None:
    """Gradients of the first of a chunk's batches, in training mode; None where memory does not suffice."""
    backend, objective = trainer.backend, trainer.evaluator.objective
    batch = tree_map(lambda a: a[0, ...], batches)
    try:
        with np.errstate(all="ignore"), backend.memory_errors():
            data = trainer.device_data.arrays
            x, targets, weights, key = trainer.train_step.step_inputs(Microbatch(0, data, batch, None))
            return objective.value_and_grad(backend.xp, trainer.params, x, targets, key, weights).grads
    except MemoryError:
        backend.empty_cache()
        return None


def figures(trainer: Trainer, evaluated: Dataset | None) -> Iterator[tuple[str, bytes]]:
    """The first layer's weights where samples are images, and the confusion matrix where there are classes."""
    from nnbackprop.report.first_layer import first_layer_images
    from nnbackprop.report.plots import confusion_plot, first_layer_plot

    images = first_layer_images(
        trainer.network, trainer.params, trainer.backend, trainer.device_data.dataset.image_shape
    )
    if images is not None:
        yield "first_layer_weights", _png(lambda: first_layer_plot(images))
    if evaluated is not None and trainer.classes:
        evaluated = as_trained(evaluated.with_classes(trainer.classes), trainer.preprocessing)
        predicted = trainer.predict(evaluated.inputs)
        yield "confusion_matrix", _png(lambda: confusion_plot(evaluated.targets, predicted, trainer.classes))


def _png(plot: Callable[[], Figure]) -> bytes:
    from nnbackprop.report.style import png, style

    with style():
        return png(plot())


def for_run(run: Run) -> TensorBoardLogger:
    """`--log tensorboard`: an event file in the run's folder; `tensorboard --logdir runs` shows all runs."""
    return TensorBoardLogger(run.run_dir.path, run.data.validation or run.data.test)
