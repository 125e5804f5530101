"""What a trained network sees in one image: the gradient of its answer by each pixel, and every layer's output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError

from .image_samples import read_image
from .saved_model import SavedModel
from .trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class Explanation:
    """One image in the network, on the host.

    `image` (rows, columns) or (rows, columns, 3) is in the range of the training data. `saliency`, of the same
    shape, is dy_c/dx, the gradient of the output y_c of the predicted class by each input (Simonyan, Vedaldi and
    Zisserman, Deep inside convolutional networks, 2014, section 3). `activations` has the output of each layer
    that changes its input, by name.
    """

    name: str
    image: np.ndarray
    saliency: np.ndarray
    activations: tuple[tuple[str, np.ndarray], ...]
    predicted: int
    label: int | None  # where it is known
    probabilities: np.ndarray  # (k,), or (1,) of class 1
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def explain_image(trained: TrainedModel, image: str, as_is: bool = False) -> Explanation:
    """Explain an image file, or the sample of that number in the run's test part.

    UsageError for a network of other data than images of classes, and for a number beyond the last sample.
    """
    if trained.image_shape is None or not trained.classes:
        raise UsageError(
            f"An explanation is of an image and its class, and {trained.run_dir.path} was trained on "
            f"{trained.source}: train on images, such as `nnbackprop train mnist`."
        )
    if not image.isdecimal() or Path(image).exists():
        sample = read_image(Path(image), trained, as_is)
        return _explain(trained, image, sample.inputs, None, sample.notes)
    data, i = trained.data(), int(image)
    if i >= len(data):
        raise UsageError(
            f"Sample {i} was asked for, and {data.source} has {len(data)} samples: give a number from 0 to "
            f"{len(data) - 1}, or an image file."
        )
    return explain_sample(trained, data, i)


def explain_sample(model: SavedModel, data: Dataset, i: int) -> Explanation:
    """Explain sample i of images that `model` classifies."""
    name = f"sample {i} of {Path(data.source).name}"
    return _explain(model, name, data.inputs[i : i + 1], int(data.targets[i]), ())


@np.errstate(all="ignore")  # an underflow in a tail
def _explain(
    trained: SavedModel, name: str, inputs: np.ndarray, label: int | None, notes: tuple[str, ...]
) -> Explanation:
    probabilities = trained.predict_proba(inputs, name)
    predicted = int(trained.evaluator.predicted_targets(probabilities)[0])
    shape = trained.image_shape or ()
    return Explanation(
        name,
        np.reshape(inputs, shape),
        np.reshape(output_gradient(trained, inputs, predicted), shape),
        layer_outputs(trained, inputs),
        predicted,
        label,
        probabilities[0],
        trained.classes,
        notes,
    )


def output_gradient(trained: SavedModel, inputs: np.ndarray, label: int) -> np.ndarray:
    """dy_c/dx of the output of one class, of the shape of raw `inputs` (1, *sample_shape) and in their units.

    Of a network with a single output y, which stands for class 1, class 0 has -dy/dx.
    """
    evaluator, network = trained.evaluator, trained.evaluator.objective.network
    backend, scaling = evaluator.backend, evaluator.scaling
    x = backend.asarray(scaling.apply(inputs, evaluator.dtype))
    y, caches = network.forward(backend.xp, trained.params, x)
    of_label = np.eye(y.shape[1])[[label]] if y.shape[1] > 1 else np.array([[2.0 * label - 1.0]])
    dy = backend.asarray(of_label.astype(evaluator.dtype))
    dx, _ = network.backward(backend.xp, trained.params, caches, dy, need_dx=True)
    return backend.to_numpy(dx) * scaling.scale.astype(evaluator.dtype)  # x' = scale x + shift


def layer_outputs(trained: SavedModel, inputs: np.ndarray) -> tuple[tuple[str, np.ndarray], ...]:
    """The name and output of each layer for one raw input, on the host.

    Layers that hand the same numbers on, such as dropout in evaluation and Flatten, are left out.
    """
    evaluator = trained.evaluator
    backend = evaluator.backend
    x = backend.asarray(evaluator.scaling.apply(inputs, evaluator.dtype))
    outputs = []
    for layer in evaluator.objective.network.trace(backend.xp, trained.params, x).layers:
        before, after = backend.to_numpy(layer.x), backend.to_numpy(layer.y)
        if not np.array_equal(before.ravel(), after.ravel()):
            outputs.append((layer.name, after[0]))
    return tuple(outputs)
