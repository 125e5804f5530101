"""An exported ONNX file, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from backends import select
from nnbackprop._files import open_data, size_of
from nnbackprop.data.catalog import load_splits, open_source
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.limits import MemoryBudget
from nnbackprop.data.mapped import Samples, blocks
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.raw import Task
from nnbackprop.data.table import DataOptions, Table, is_frame, table_of
from nnbackprop.data.tabular import TableSplits, dataset_of
from nnbackprop.errors import DataError
from nnbackprop.nn.metrics import MultilabelMetrics, RegressionMetrics, accuracy
from nnbackprop.training.evaluator import EVAL_BATCH_SIZE, check_inputs

from .libraries import import_library
from .onnx_columns import column_arrays, takes_columns

DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(double)": "float64"}

Feeds = Mapping[str, Samples]
"""What a file takes, by the names of its inputs."""


class OnnxInfo(msgspec.Struct, frozen=True):
    """The metadata of a file, each value a JSON text but for the task."""

    task: Task = "classification"  # of which files of version 0.1.0 say nothing
    classes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    image_shape: tuple[int, ...] | None = None
    gives_probabilities: bool = False  # whether `probabilities` sum to 1 over the classes

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> OnnxInfo:
        """Of onnxruntime's metadata; ValueError for what makes no sense."""
        known = {name: metadata[name] for name in cls.__struct_fields__ if name in metadata}
        values = {name: text if name == "task" else msgspec.json.decode(text) for name, text in known.items()}
        return msgspec.convert(values, cls)


@dataclass(frozen=True)
class OnnxModel:
    """A network that `export_onnx` wrote: `OnnxModel.open("model.onnx")`."""

    path: Path
    session: Any  # onnxruntime's
    info: OnnxInfo
    sample_shape: tuple[int, ...]  # of `inputs`, and () where each column is an input
    dtype: str

    @classmethod
    def open(cls, path: Path) -> OnnxModel:
        """Load a file; DataError for one that `export_onnx` did not write."""
        ort = import_library("onnxruntime")
        with open_data(path, "ONNX") as stream:
            MemoryBudget(str(path)).reserve(size := size_of(stream))
            content = stream.read(size)
        options = ort.SessionOptions()
        options.log_severity_level = 4  # an error is raised, and need not be printed as well
        try:
            session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            info = OnnxInfo.of(session.get_modelmeta().custom_metadata_map)
            inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
            if outputs != (["outputs"] if info.task == "regression" else ["labels", "probabilities"]):
                raise ValueError(f"its outputs are {', '.join(outputs)}")
            if bool(info.classes) != (info.task == "classification"):
                raise ValueError(f"its task is {info.task}, and it has {len(info.classes)} classes")
            if info.preprocessing is not None and takes_columns(info.preprocessing):
                if [given.name for given in inputs] != list(info.preprocessing.columns):
                    raise ValueError("its inputs are not the columns of its table")
                return cls(path, session, info, (), "")
            (given,) = inputs
            return cls(path, session, info, tuple(given.shape[1:]), DTYPES[given.type])
        except Exception as error:  # onnxruntime raises kinds of its own
            raise DataError(
                f"{path} cannot be used ({type(error).__name__}: {error}). What is needed is an ONNX file that "
                "`nnbackprop export RUN --onnx` wrote."
            ) from error

    def data(self, spec: str) -> tuple[Dataset, Feeds]:
        """The data `spec`, its test part if it has one, as targets in this network's terms, and its raw inputs.

        Images of a folder are brought to the size and channels that the network takes.
        """
        source = open_source(spec, self._reading_options())
        if self.info.preprocessing is not None and isinstance(source, TableSplits):
            table = source.test or source.train
            dataset = dataset_of(table, self.info.preprocessing)
            return dataset, self._feeds(table if takes_columns(self.info.preprocessing) else dataset.inputs)
        splits = load_splits(source, DataOptions(), 0.0)
        dataset = (splits.test or splits.train).with_classes(self.info.classes)
        return dataset, self._feeds(dataset.inputs, dataset.source)

    def _reading_options(self) -> DataOptions:
        """How data is read: a table by its targets, images in the size of the network's."""
        options = DataOptions()
        if (preprocessing := self.info.preprocessing) is not None:
            target, text = preprocessing.targets, preprocessing.text_columns
            options = replace(options, target=target, task=preprocessing.task, text_columns=text)
        if (shape := self.info.image_shape) is None:
            return options
        return replace(options, size=shape[:2], channels="rgb" if len(shape) == 3 else "grey")  # type: ignore[arg-type]

    def predict(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Labels (n,) and probabilities (n, k) of raw inputs (n, *sample_shape), or of the rows of a data frame.

        Of several labels at once the labels are (n, k), 0 or 1; of a regression both are the numbers (n, k).
        """
        return self.run(self._feeds(inputs))

    def run(self, feeds: Feeds) -> tuple[np.ndarray, np.ndarray]:
        """`predict`, of what `data` gave."""
        n = len(next(iter(feeds.values())))
        parts = []
        for at in range(0, max(1, n), EVAL_BATCH_SIZE):
            batch = {name: a[at : at + EVAL_BATCH_SIZE] for name, a in feeds.items()}
            batch = {name: x.astype(self.dtype or x.dtype, copy=False) for name, x in batch.items()}
            parts.append(self.session.run(None, batch))
        found = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return found[0], found[-1]

    def metrics(self, dataset: Dataset, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
        """The metrics of `evaluate`, of predictions for a data set, weighted where its samples have weights."""
        targets, weights = dataset.targets, dataset.weights
        if self.info.task == "classification":
            if weights is None:
                return {"accuracy": accuracy(labels, targets)}
            return {"accuracy": float(np.average(labels == targets, weights=weights))}
        metrics: MultilabelMetrics | RegressionMetrics = MultilabelMetrics(0.5)
        y = labels.astype(np.float64)
        if self.info.task == "regression":
            metrics, y = RegressionMetrics(tuple(targets.mean(axis=0).tolist())), outputs.astype(np.float64)
        xp = select("numpy").xp
        sums = metrics.update(xp, metrics.zeros(xp, y), y, targets.astype(np.float64), weights)
        return metrics.compute(sums, len(dataset) if weights is None else float(weights.sum()))

    @property
    def target_names(self) -> tuple[str, ...]:
        """The target columns of its table; else output 0, output 1 ..."""
        if self.info.preprocessing is not None and self.info.preprocessing.targets:
            return self.info.preprocessing.targets
        return tuple(f"output {k}" for k in range(self.session.get_outputs()[-1].shape[1]))

    def _feeds(self, inputs: Any, source: str = "the input") -> Feeds:
        """Checked raw inputs by the names of the file's inputs."""
        preprocessing = self.info.preprocessing
        if preprocessing is not None and takes_columns(preprocessing):
            if not isinstance(inputs, Table) and not is_frame(inputs):
                raise DataError(
                    f"{self.path} takes the columns of a table and {source} is no table: give a "
                    "data frame, or a file with the columns it was trained on."
                )
            return column_arrays(preprocessing, table_of(inputs, source))
        if np.shape(inputs)[1:] != self.sample_shape:
            raise DataError(
                f"{source} has samples of shape {np.shape(inputs)[1:]} and {self.path} takes {self.sample_shape}: "
                "name the data it was trained on."
            )
        inputs = check_inputs(inputs, self.sample_shape)
        if self.dtype == "uint8" != inputs.dtype and not all(map(_are_bytes, blocks(inputs))):
            raise DataError(
                f"{self.path} takes bytes, whole numbers in 0..255, and these inputs lie in {inputs.min():g} .. "
                f"{inputs.max():g}: bring the pixels to that range first."
            )
        return {"inputs": inputs}


def _are_bytes(numbers: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):  # -1.5 as a byte is any byte, and another number
        return np.array_equal(numbers.astype(np.uint8), numbers)
