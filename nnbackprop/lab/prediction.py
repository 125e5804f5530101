"""A drawing in a trained network: how it is prepared, what each layer makes of it, what would change its class."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends import select
from backends.numba_fuse import MIN_COMPILED_SIZE
from nnbackprop.data import digit
from nnbackprop.data.digit import Step
from nnbackprop.errors import DataError, UsageError
from nnbackprop.report.prediction_metrics import by_class
from nnbackprop.runs.explanation import layer_outputs, output_gradient
from nnbackprop.runs.image_samples import in_range
from nnbackprop.runs.trained_model import TrainedModel

from .errors import unfit
from .messages import Attack, Picture, Predict, picture, signed_picture
from .models import Model

MAX_VALUES = 1024  # of a layer's outputs that are sent
MAX_CHANNELS = 16
BAR = np.pad(np.full((60, 12), 255, np.uint8), ((26, 26), (50, 50)))  # a drawn 1


def warm_up() -> None:
    """Import and compile what a prediction by any network needs."""
    W = np.ones((MIN_COMPILED_SIZE, 1), np.float32)
    select("numpy").xp.matmul(W, np.ones((1, 1), np.float32))  # the gradient of a single sample
    digit.to_mnist_digit(BAR, None)


def example(run: str | None) -> Predict:
    """A request that leaves nothing out."""
    rows, columns = BAR.shape
    return Predict(Picture(rows, columns, BAR.tobytes()), explain=0, attack=Attack(0.1), run=run)


def predict(model: Model, request: Predict) -> dict[str, Any]:
    """Classes and their probabilities, and what else was asked for."""
    trained = model.trained
    stages = prepare(trained, request.drawing.array())
    x = in_range(stages[-1].picture * 255, trained)
    probabilities = trained.predict_proba(x, "the drawing")
    predicted = int(trained.evaluator.predicted_targets(probabilities)[0])
    return {
        "model": {"run": model.name, "step": model.step, "title": model.title},
        "stages": [{"name": s.name, "note": s.note, "picture": picture(s.picture)} for s in stages],
        "classes": trained.classes,
        "predicted": predicted,
        "probabilities": by_class(probabilities)[0],
        "activations": activations(trained, x) if request.activations else [],
        "gradient": None if request.explain is None else gradient(trained, x, request.explain),
        "attack": None if request.attack is None else attack(trained, x, predicted, request),
    }


def prepare(trained: TrainedModel, grey: np.ndarray) -> list[Step]:
    """The steps from a drawing (rows, columns) uint8 to the network's input."""
    rows, columns = trained.image_shape or (0, 0)
    if trained.mnist_like:
        try:
            return digit.to_mnist_digit(grey, None, (rows, columns))
        except DataError as error:
            raise unfit("no-digit", problem=str(error)) from None
    from PIL import Image

    resized = Image.fromarray(grey).resize((columns, rows), Image.Resampling.BOX)
    note = f"resized to {rows} x {columns}"
    return [Step("grey", grey / 255, "as drawn"), Step("fitted", np.asarray(resized) / 255, note)]


def activations(trained: TrainedModel, x: np.ndarray) -> list[dict[str, Any]]:
    """The output of each layer that changes its input."""
    found = []
    for name, y in layer_outputs(trained, x):
        channels = min(y.shape[-1], MAX_CHANNELS) if y.ndim == 3 else 0
        found.append(
            {
                "name": name,
                "shape": y.shape,
                "units": y.size,
                "values": [] if channels else y.ravel()[:MAX_VALUES],
                "min": float(y.min()),
                "max": float(y.max()),
                "mean": float(y.mean()),
                "zeros": float((y == 0).mean()),
                "pictures": [signed_picture(y[:, :, c]) for c in range(channels)],
            }
        )
    return found


def gradient(trained: TrainedModel, x: np.ndarray, label: int) -> dict[str, Any]:
    """dy_c/dx of a class, as a picture."""
    _check_class(trained, label)
    values = output_gradient(trained, x, label)
    return {"class": label, "picture": signed_picture(values.reshape(trained.image_shape or ()))}


def attack(trained: TrainedModel, x: np.ndarray, predicted: int, request: Predict) -> dict[str, Any]:
    """The input moved against a class by the fast gradient sign method, within the range of the data."""
    assert request.attack is not None
    epsilon, label = request.attack.epsilon, request.attack.label
    label = predicted if label is None else label
    _check_class(trained, label)
    white = float(in_range(np.array([255.0]), trained)[0, 0])
    dtype = trained.evaluator.dtype
    dx = trained.evaluator.input_gradient(trained.params, x.astype(dtype), np.array([label], np.int32))
    moved = np.clip(x + epsilon * white * np.sign(dx), 0, white).astype(dtype)
    probabilities = trained.predict_proba(moved, "the attacked drawing")
    return {
        "epsilon": epsilon,
        "label": label,
        "picture": picture(moved.reshape(trained.image_shape or ()) / white),
        "predicted": int(trained.evaluator.predicted_targets(probabilities)[0]),
        "probabilities": by_class(probabilities)[0],
    }


def _check_class(trained: TrainedModel, label: int) -> None:
    if label >= len(trained.classes):
        raise UsageError(f"There is no class {label}: the network knows {len(trained.classes)}, counted from 0.")
