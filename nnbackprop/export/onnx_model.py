"""An exported ONNX file, run by onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop._files import open_file, size_of
from nnbackprop.data import load
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.limits import MemoryBudget
from nnbackprop.data.mapped import Samples
from nnbackprop.errors import DataError
from nnbackprop.nn.metrics import accuracy
from nnbackprop.training.evaluator import EVAL_BATCH_SIZE, check_inputs

from .libraries import import_library

DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(double)": "float64"}


@dataclass(frozen=True)
class OnnxModel:
    """A classifier that `export_onnx` wrote: `OnnxModel.open("model.onnx")`."""

    path: Path
    session: Any  # onnxruntime's
    classes: tuple[str, ...]
    sample_shape: tuple[int, ...]
    dtype: str

    @classmethod
    def open(cls, path: Path) -> OnnxModel:
        """Load a file; DataError for one that is not a classifier of `export_onnx`."""
        ort = import_library("onnxruntime")
        content = _read(path)
        options = ort.SessionOptions()
        options.log_severity_level = 4  # an error is raised, and need not be printed as well
        try:
            session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
            (given,), outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
            if outputs != ["labels", "probabilities"] or not isinstance(classes, list):
                raise ValueError(f"its outputs are {', '.join(outputs)}")
            return cls(path, session, tuple(map(str, classes)), tuple(given.shape[1:]), DTYPES[given.type])
        except Exception as error:  # onnxruntime raises kinds of its own
            raise DataError(
                f"{path} cannot be used ({type(error).__name__}: {error}). What is needed is an ONNX file that "
                "`nnbackprop export RUN --onnx` wrote, of a network with classes."
            ) from error

    def data(self, spec: str) -> Dataset:
        """The data set `spec`, its test part if it has one, with labels that index this network's classes."""
        splits = load(spec, split=False)
        dataset = (splits.test or splits.train).with_classes(self.classes)
        if dataset.sample_shape != self.sample_shape:
            raise DataError(
                f"{dataset.source} has samples of shape {dataset.sample_shape} and {self.path} takes "
                f"{self.sample_shape}: name the data it was trained on."
            )
        return dataset

    def predict(self, inputs: Samples) -> tuple[np.ndarray, np.ndarray]:
        """Predicted class (n,) and probabilities (n, k) of raw inputs (n, *sample_shape)."""
        inputs = check_inputs(inputs, self.sample_shape)
        with np.errstate(all="ignore"):  # what is no byte is refused below
            x: np.ndarray = inputs.astype(self.dtype)
        if self.dtype == "uint8" and not np.array_equal(x, inputs):
            raise DataError(
                f"{self.path} takes bytes, whole numbers in 0..255, and these inputs lie in {inputs.min():g} .. "
                f"{inputs.max():g}: bring the pixels to that range first."
            )
        begins = range(0, max(1, len(x)), EVAL_BATCH_SIZE)
        parts = [self.session.run(None, {"inputs": x[at : at + EVAL_BATCH_SIZE]}) for at in begins]
        labels, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
        return labels, probabilities

    def accuracy(self, dataset: Dataset) -> float:
        """The share of samples whose predicted class is their label."""
        return accuracy(self.predict(dataset.inputs)[0], dataset.targets)


def _read(path: Path) -> bytes:
    try:
        with open_file(path) as stream:
            MemoryBudget(str(path)).reserve(size := size_of(stream))
            return stream.read(size)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): see that it is there and that you may read it."
        ) from error
