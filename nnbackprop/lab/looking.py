"""Views of a trained run: what it confuses, what its units answer to, and how it differs from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Dense
from nnbackprop.report.first_layer import first_layer_images
from nnbackprop.report.prediction_metrics import by_class, confidence_of
from nnbackprop.runs.run_table import RunInfo, compare_runs

from .errors import unfit
from .events import MAX_POINTS, epoch_of_row, spread
from .messages import Look, picture, signed_picture
from .models import Model, Models
from .principal_components import principal_components

PAGE = 64  # samples or units that are sent at once
BEST_INPUTS = 16
MAP_POINTS = 2000


def look(models: Models, request: Look) -> dict[str, Any]:
    """The view that was asked for; RequestError where the run has no such view."""
    if request.view == "compare":
        return compare(models, request)
    model = models.saved(request.run)
    return {"run": model.name, **VIEWS[request.view](model, request)}


def confusion(model: Model, request: Look) -> dict[str, Any]:
    """How many samples of each class (rows) were predicted as each (columns)."""
    data, (predicted, _) = _classified(model)
    k = len(data.classes)
    counts = np.bincount(data.targets * k + predicted, minlength=k * k).reshape(k, k)
    return {"classes": data.classes, "counts": counts, "n": len(data), "accuracy": np.trace(counts) / len(data)}


def cell(model: Model, request: Look) -> dict[str, Any]:
    """The samples of a cell of the confusion matrix, the most confident first."""
    if request.true is None or request.predicted is None:
        raise UsageError("A cell is named by its true and its predicted class: send both.")
    data, (predicted, _) = _classified(model)
    rows = np.flatnonzero((data.targets == request.true) & (predicted == request.predicted))
    return _page(model, _by_confidence(model, rows), request)


def wrong(model: Model, request: Look) -> dict[str, Any]:
    """The misclassified samples, the most confident first."""
    data, (predicted, _) = _classified(model)
    return _page(model, _by_confidence(model, np.flatnonzero(predicted != data.targets)), request)


def weights(model: Model, request: Look) -> dict[str, Any]:
    """The weights of the first layer as pictures."""
    e = model.trained.evaluator
    found = first_layer_images(e.objective.network, model.trained.params, e.backend, model.trained.image_shape)
    if found is None:
        raise unfit("no-image-layer", run=model.name, source=model.trained.source)
    units = range(request.offset, min(request.offset + PAGE, len(found)))
    shown = [{"unit": unit, "picture": signed_picture(_grey(found[unit]))} for unit in units]
    return {"total": len(found), "units": shown}


def unit(model: Model, request: Look) -> dict[str, Any]:
    """The samples that a unit answers to most; of a convolution a unit is a channel, by its greatest answer."""
    data, layers = _images(model), _hidden_layers(model)
    name = _layer(layers, request.layer)
    outputs = model.layer_outputs(name)
    if request.unit >= outputs.shape[-1]:
        raise UsageError(f"{name} has {outputs.shape[-1]} units, and unit {request.unit} was asked for.")
    answers = outputs.reshape(len(data), -1, outputs.shape[-1])[:, :, request.unit].max(axis=1)
    best = np.argsort(-answers, kind="stable")[:BEST_INPUTS]
    samples = [{**_sample(model, int(i)), "activation": float(answers[i])} for i in best]
    return {"layers": _widths(layers), "layer": name, "unit": request.unit, "samples": samples}


def map_(model: Model, request: Look) -> dict[str, Any]:
    """A hidden layer's outputs in the plane of their two directions of greatest variance."""
    data, (predicted, _) = _classified(model)
    layers = _hidden_layers(model)
    name = _layer(layers, request.layer or list(layers)[-1])
    rows = np.array(spread(range(len(data)), MAP_POINTS))
    outputs = model.layer_outputs(name)[rows].reshape(len(rows), -1)
    points, variances, total = principal_components(outputs)
    return {
        "layers": _widths(layers),
        "layer": name,
        "points": points,
        "labels": data.targets[rows],
        "predicted": predicted[rows],
        "indices": rows,
        "classes": data.classes,
        "explained": variances / total if total else np.zeros(2),
    }


def sample(model: Model, request: Look) -> dict[str, Any]:
    """One sample, with the probability of each class."""
    data, (_, probabilities) = _classified(model)
    if request.index >= len(data):
        raise UsageError(f"Sample {request.index} was asked for, and there are {len(data)}, counted from 0.")
    return {**_sample(model, request.index), "probabilities": by_class(probabilities)[request.index]}


def compare(models: Models, request: Look) -> dict[str, Any]:
    """Two runs: their epochs, their summaries, and the settings in which they differ."""
    if request.run is None or request.other is None:
        raise UsageError("Two runs are compared: name run and other.")
    names = [models.session.run_dir(name).path.name for name in (request.run, request.other)]
    table = compare_runs(names, models.runs_dir)
    differences = [{"setting": name, "values": values} for name, values in table.differences.items()]
    return {"runs": [_run(info) for info in table.runs], "differences": differences}


VIEWS: dict[str, Callable[[Model, Look], dict[str, Any]]] = {
    "confusion": confusion,
    "cell": cell,
    "wrong": wrong,
    "weights": weights,
    "unit": unit,
    "map": map_,
    "sample": sample,
}


def _run(info: RunInfo) -> dict[str, Any]:
    rows = spread([epoch_of_row(row) for row in info.rows], MAX_POINTS)
    return {"name": info.name, "status": info.status, "epochs": rows, "summary": info.summary}


def _classified(model: Model) -> tuple[Dataset, tuple[np.ndarray, np.ndarray]]:
    """The data and what is predicted of it; RequestError unless they have classes."""
    if not model.trained.classes:
        raise unfit("no-classes", run=model.name, source=model.trained.source)
    return model.data, model.outputs


def _images(model: Model) -> Dataset:
    _classified(model)
    if model.trained.image_shape is None:
        raise unfit("no-images", run=model.name, source=model.trained.source)
    return model.data


def _by_confidence(model: Model, rows: np.ndarray) -> np.ndarray:
    predicted, probabilities = model.outputs
    return rows[np.argsort(-confidence_of(predicted, probabilities)[rows], kind="stable")]


def _page(model: Model, rows: np.ndarray, request: Look) -> dict[str, Any]:
    shown = rows[request.offset : request.offset + PAGE]
    return {"total": len(rows), "samples": [_sample(model, int(i)) for i in shown]}


def _sample(model: Model, i: int) -> dict[str, Any]:
    data, (predicted, probabilities) = model.data, model.outputs
    found = {
        "index": i,
        "label": data.classes[data.targets[i]],
        "predicted": data.classes[predicted[i]],
        "probability": float(confidence_of(predicted[i : i + 1], probabilities[i : i + 1])[0]),
    }
    if data.image_shape is None:
        return {**found, "picture": None, "values": data.inputs[i]}
    image = np.reshape(np.asarray(data.inputs[i], np.float64), data.image_shape)
    return {**found, "picture": picture(_grey(image) / model.white)}


def _grey(image: np.ndarray) -> np.ndarray:
    """The mean of the colours, where an image (rows, columns, 3) has any."""
    return image.mean(axis=2) if image.ndim == 3 else image


def _hidden_layers(model: Model) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's output but the last Dense layer's, and of those after it, by name."""
    network = model.trained.evaluator.objective.network
    rows = list(network.summary(model.trained.sample_shape))
    last = max((i for i, row in enumerate(rows) if isinstance(row.layer, Dense)), default=len(rows) - 1)
    found = {row.name: row.out_shape for row in rows[:last] if not row.draws}
    if not found:
        raise unfit("no-hidden-layer", run=model.name)
    return found


def _layer(layers: dict[str, tuple[int, ...]], name: str | None) -> str:
    if name is not None and name not in layers:
        raise UsageError(f"There is no hidden layer {name[:50]!r}. Known are {', '.join(layers)}.")
    return name or next(iter(layers))


def _widths(layers: dict[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    return [{"name": name, "units": shape[-1], "shape": shape} for name, shape in layers.items()]
