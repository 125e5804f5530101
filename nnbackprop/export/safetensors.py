"""A network's weights as a safetensors file in PyTorch's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from backends import tree_map
from nnbackprop._files import write_atomically
from nnbackprop.nn.layers import BatchNorm, Dense, Layer, LayerNorm
from nnbackprop.nn.layers.base import Params, map_layers
from nnbackprop.runs.checkpoint import flatten

from .exportable import Exportable

NORMALIZATION_NAMES = {"gamma": "weight", "beta": "bias"}
PYTORCH_NAMES: dict[type, dict[str, str]] = {
    Dense: {"W": "weight", "b": "bias"},
    LayerNorm: NORMALIZATION_NAMES,
    BatchNorm: {**NORMALIZATION_NAMES, "mean": "running_mean", "var": "running_var"},
}
"""What PyTorch's layers of these kinds call their parameters; those of other layers keep their names."""


def export_safetensors(model: Exportable, path: str | Path) -> None:
    """Write the weights of a `TrainedModel`, or of a `Trainer` that has been fit, whole or not at all.

    Of dense and normalization layers they are the `state_dict` of PyTorch's `nn.Sequential` of the same layers:
    `0.weight` (out, in), `0.bias` and so on; of others they have the names and shapes they have here. `scale` and
    `shift` are beside them, as the network takes inputs * scale + shift; `target_scale` and `target_shift` too
    where targets are scaled: the outputs are targets * scale + shift. The metadata has the class names, JSON in
    `classes`.

    Raises:
        RunFolderError: the file cannot be written.
    """
    from safetensors.numpy import save

    e = model.evaluator
    params = tree_map(e.backend.to_numpy, model.params)
    tree = map_layers(_renamed, e.objective.network, params)
    tensors = {path[1:].replace("/", "."): array for path, array in flatten(tree, "").items()}
    tensors |= {"scale": e.scaling.scale.astype(e.dtype), "shift": e.scaling.shift.astype(e.dtype)}
    if (targets := e.scaling.target_scaling) is not None:
        tensors |= {"target_scale": targets.scale.astype(e.dtype), "target_shift": targets.shift.astype(e.dtype)}
    # the memory of a transposed view would be written as it lies
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
    write_atomically(Path(path), save(arrays, {"format": "pt", "classes": json.dumps(model.classes)}))


def _renamed(layer: Layer, params: Params) -> Params:
    """A layer's parameters as PyTorch's layer of that kind has them."""
    names = PYTORCH_NAMES.get(type(layer))
    if names is None:
        return params
    return {names[name]: array.T if name == "W" else array for name, array in params.items()}  # W is (in, out)
