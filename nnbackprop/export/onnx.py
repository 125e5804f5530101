"""A network as an ONNX file: raw inputs in, labels and probabilities out."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from backends import Array, leaves, tree_map
from nnbackprop._files import write_atomically
from nnbackprop.data.raw import Task
from nnbackprop.data.scaling import Scaling, has_large_shift
from nnbackprop.errors import NnbackpropError, UsageError
from nnbackprop.nn.metrics import ClassificationMetrics, RegressionMetrics, predicted_classes
from nnbackprop.runs.checkpoint import flatten
from nnbackprop.runs.saved_model import SavedModel

from .exportable import Exportable
from .onnx_columns import features, takes_columns
from .onnx_graph import OnnxGraph


def export_onnx(model: Exportable, path: str | Path) -> None:
    """Write a `TrainedModel`, or a `Trainer` that has been fit, to an ONNX file, whole or not at all.

    The input is `inputs` (n, *sample_shape), n raw samples: uint8 where the network was trained on bytes, float64
    where float32 would lose digits of the numbers it was trained on, else of the parameters' dtype. Of a network
    that was trained on a table, each column is an input (n,) by its name: float64, NaN where it is missing, or
    text, empty where it is missing.

    The outputs are `labels` (n,) int32, which index the class names, JSON in the metadata `classes`, and
    `probabilities` (n, k) as `predict_proba` gives them. Of several labels at once, `labels` is (n, k), 0 or 1; a
    regression has `outputs` (n, k) alone, float64 where its targets were scaled. The metadata has the `task`, and
    as JSON the `preprocessing` of a table and the `image_shape` of images.

    The network's own forward pass runs on arrays of ndonnx, which record it as operators.

    Raises:
        UsageError: ndonnx or onnx is not installed, or a layer cannot be traced.
        RunFolderError: the file cannot be written.
    """
    graph = OnnxGraph()
    try:
        outputs = _outputs(graph, model, _network(graph, model, _preprocessed(graph, model)))
    except NnbackpropError:
        raise
    except Exception as error:  # whatever a layer of somebody's own does with an array that has no values
        raise UsageError(
            f"The network cannot be traced to ONNX ({type(error).__name__}: {error}). Every layer's forward pass "
            "must be made of Array API functions of xp and look at no value; x.shape[0], which is None there, may "
            "only be handed to xp.reshape."
        ) from error
    write_atomically(Path(path), graph.to_bytes(outputs, _metadata(model)))


def _metadata(model: Exportable) -> dict[str, str]:
    """What `OnnxModel` reads."""
    gives_probabilities = model.evaluator.objective.loss.gives_probabilities
    found = {"task": _task(model), "gives_probabilities": json.dumps(gives_probabilities)}
    if model.classes:
        found["classes"] = json.dumps(model.classes)
    if model.preprocessing is not None:
        found["preprocessing"] = msgspec.json.encode(model.preprocessing).decode()
    if isinstance(model, SavedModel) and model.image_shape is not None:
        found["image_shape"] = json.dumps(model.image_shape)
    return found


def _task(model: Exportable) -> Task:
    metrics = model.evaluator.metrics
    if isinstance(metrics, RegressionMetrics):
        return "regression"
    return "classification" if isinstance(metrics, ClassificationMetrics) else "multilabel"


def _preprocessed(graph: OnnxGraph, model: Exportable) -> Array:
    """Raw inputs as the network takes them; each step is a function of the graph and an array, called here."""
    e, preprocessing = model.evaluator, model.preprocessing
    if preprocessing is not None and takes_columns(preprocessing):
        return _scaled(graph, e.scaling, features(graph, preprocessing), e.dtype)
    exact = model.input_dtype == "float64" and has_large_shift(e.scaling).any()
    dtype = "uint8" if model.input_dtype == "uint8" else "float64" if exact else e.dtype
    raw = graph.input("inputs", dtype, model.sample_shape)
    if exact:
        return graph.xp.astype(_scaled(graph, e.scaling, raw, "float64"), getattr(graph.xp, e.dtype))
    return _scaled(graph, e.scaling, raw, e.dtype)


def _scaled(graph: OnnxGraph, scaling: Scaling, raw: Array, dtype: str) -> Array:
    """raw * scale + shift in `dtype`, as `Scaling.apply`."""
    x = graph.xp.astype(raw, getattr(graph.xp, dtype))
    if (scaling.scale != 1).any() or (scaling.shift != 0).any():
        x = x * graph.constant("scale", scaling.scale.astype(dtype))
        x = x + graph.constant("shift", scaling.shift.astype(dtype))
    return x


def _unscaled(graph: OnnxGraph, scaling: Scaling | None, y: Array) -> Array:
    """(y - shift) / scale in float64, the targets' own units, as `Scaling.unscale_targets`."""
    if scaling is None:
        return y
    y = graph.xp.astype(y, graph.xp.float64) - graph.constant("target_shift", scaling.shift)
    return y / graph.constant("target_scale", scaling.scale)


def _network(graph: OnnxGraph, model: Exportable, x: Array) -> Array:
    """The network's outputs y (n, k) in evaluation; parameters are named by layer, such as dense1/W."""
    network = model.evaluator.objective.network
    params = model.host_params()
    names = [name for layer, _, branch in network.named_layers(params) for name in flatten(branch, layer)]
    constants = iter([graph.constant(*pair) for pair in zip(names, leaves(params), strict=True)])
    y, _ = network.forward(graph.xp, tree_map(lambda _: next(constants), params), x, None)
    return y


def _outputs(graph: OnnxGraph, model: Exportable, y: Array) -> dict[str, Array]:
    """Labels and probabilities of the outputs y, or y itself for a regression."""
    xp, e, task = graph.xp, model.evaluator, _task(model)
    if task == "regression":
        outputs = e.objective.loss.predictions(xp, y)
        return {"outputs": _unscaled(graph, e.scaling.target_scaling, outputs)}
    threshold = e.objective.loss.threshold
    if task == "classification":
        labels = predicted_classes(xp, y, threshold)
    else:
        labels = xp.astype(y >= threshold, xp.int32)
    return {"labels": labels, "probabilities": e.objective.loss.predictions(xp, y)}
