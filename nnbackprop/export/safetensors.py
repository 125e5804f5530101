"""A network's weights as a safetensors file in PyTorch's layout."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import numpy as np

from nnbackprop._files import write_atomically
from nnbackprop.data.scaling import has_large_shift
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import BatchNorm, Conv2D, Dense, Flatten, Layer, LayerNorm, PReLU, Reshape
from nnbackprop.nn.layers.base import Params, Shape, map_layers
from nnbackprop.nn.layers.windows import pair
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import LayerSummary
from nnbackprop.runs.checkpoint import flatten

from .exportable import Exportable

WEIGHT_NAMES = {"W": "weight", "b": "bias"}
NORMALIZATION_NAMES = {"gamma": "weight", "beta": "bias"}
PYTORCH_NAMES: dict[type, dict[str, str]] = {
    Dense: WEIGHT_NAMES,
    Conv2D: WEIGHT_NAMES,
    LayerNorm: NORMALIZATION_NAMES,
    PReLU: {"a": "weight"},
    BatchNorm: {**NORMALIZATION_NAMES, "mean": "running_mean", "var": "running_var"},
}
"""What PyTorch's layers of these kinds call their parameters; those of other layers keep their names.

Of layers of vectors only Dense and those that keep features in their order may be here: after the Flatten of an
image PyTorch has them in another.
"""


def export_safetensors(model: Exportable, path: str | Path) -> None:
    """Write the weights of a `TrainedModel`, or of a `Trainer` that has been fit, whole or not at all.

    Of dense, convolutional and normalization layers and PReLU they are the `state_dict` of PyTorch's
    `nn.Sequential` of the same layers: `0.weight` (out, in) or (out, in, kh, kw), `0.bias` and so on; of others
    they have the names and shapes they have here. PyTorch's images are (channels, rows, columns), and so are the
    rows of a dense layer after Flatten. `scale` and `shift` are beside them, as the network takes inputs * scale +
    shift, in float64 where float32 would lose digits; `target_scale` and `target_shift` too where targets are
    scaled: the outputs are targets * scale + shift. The metadata has the class names, JSON in `classes`. Of a
    table it has the `preprocessing`, as in an ONNX file, and the `feature_names`; there `inputs` are the features
    that the preprocessing makes, offsets taken off.

    Raises:
        UsageError: the features of an image meet a layer that says nothing of their order: a Residual, or a layer
            of your own with parameters, between Flatten and Dense. Or Reshape makes something else than a vector
            of an image of several channels, or makes one: PyTorch's layer would put other numbers there.
        RunFolderError: the file cannot be written.
    """
    from safetensors.numpy import save

    e = model.evaluator
    params = model.host_params()
    network = e.objective.network
    orders = iter(feature_orders(network, model.sample_shape))
    tree = map_layers(lambda layer, p: _in_pytorchs_layout(layer, p, next(orders)), network, params)
    tensors = {path[1:].replace("/", "."): array for path, array in flatten(tree, "").items()}
    dtype = "float64" if has_large_shift(e.scaling).any() else e.dtype
    scale, shift = (_channels_first(array.astype(dtype)) for array in (e.scaling.scale, e.scaling.shift))
    tensors |= {"scale": scale, "shift": shift}
    if (targets := e.scaling.target_scaling) is not None:
        tensors |= {"target_scale": targets.scale.astype(e.dtype), "target_shift": targets.shift.astype(e.dtype)}
    # the memory of a transposed view would be written as it lies
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
    metadata = {"format": "pt", "classes": json.dumps(model.classes)}
    if model.preprocessing is not None:
        metadata["preprocessing"] = msgspec.json.encode(model.preprocessing).decode()
        metadata["feature_names"] = json.dumps(model.preprocessing.feature_names)
    write_atomically(Path(path), save(arrays, metadata))


def feature_orders(network: Sequential, sample_shape: Shape) -> list[np.ndarray | None]:
    """For each layer without children, our index (k,) of each feature that PyTorch's has at its input.

    None where the two are the same. They differ from the Flatten of an image of several channels to the next
    Dense; a Reshape to a vector is a Flatten. UsageError where a layer between them says nothing of the order of
    its features.
    """
    orders: dict[tuple[int, ...], np.ndarray | None] = {}
    order: np.ndarray | None = None
    for place in network.summary(sample_shape):
        layer = place.layer
        if isinstance(layer, Sequential):  # a Residual, after its layers
            before = next(found for path, found in orders.items() if path[: len(place.path)] == place.path)
            if before is not order:
                raise _no_order(place.name)
            continue
        orders[place.path] = order
        if order is not None and place.params and type(layer) not in PYTORCH_NAMES:
            raise _no_order(place.name)
        if isinstance(layer, Flatten | Reshape):
            order = _order_after_reshape(order, place)
        elif isinstance(layer, Dense):
            order = None
    return list(orders.values())


def _order_after_reshape(order: np.ndarray | None, place: LayerSummary) -> np.ndarray | None:
    """The order behind a Flatten or a Reshape, which leave the numbers as they lie: here, and in PyTorch."""
    lie = _pytorchs_order(place.in_shape) if order is None else order
    if len(place.out_shape) == 1:
        return None if (lie == np.arange(len(lie))).all() else lie
    if (lie != _pytorchs_order(place.out_shape)).any():
        raise UsageError(
            f"The layer {place.name} makes {place.out_shape} of {place.in_shape}, and PyTorch, whose images are "
            "channels first, would put other numbers in each place: leave it out, or use export_onnx."
        )
    return None


def _pytorchs_order(shape: Shape) -> np.ndarray:
    """Our index of each number of a sample of that shape as it lies in PyTorch."""
    return _channels_first(np.arange(math.prod(shape)).reshape(shape)).reshape(-1)


def _no_order(name: str) -> UsageError:
    return UsageError(
        f"The layer {name} takes the features of a flattened image, which PyTorch has in another order, channels "
        "first, and only Dense, PReLU and normalization layers are known to take them in any: put a Dense layer, "
        "or GlobalAveragePool2D in the place of Flatten, before it; or use export_onnx."
    )


def _channels_first(array: np.ndarray) -> np.ndarray:
    """(rows, columns, channels) as (channels, rows, columns); arrays of other shapes as they are."""
    return array.transpose(2, 0, 1) if array.ndim == 3 else array


def _in_pytorchs_layout(layer: Layer, params: Params, order: np.ndarray | None) -> Params:
    """A layer's parameters as PyTorch's layer of that kind has them."""
    names = PYTORCH_NAMES.get(type(layer))
    if names is None:
        return params
    if isinstance(layer, Conv2D):
        kh, kw = pair(layer.kernel_size, "kernel_size")
        W = params["W"]  # (kh kw in, filters)
        params = {**params, "W": W.reshape(kh, kw, -1, W.shape[1]).transpose(3, 2, 0, 1)}
    elif order is not None:
        by_feature = {name for name, array in params.items() if name != "b" and len(array) == len(order)}
        params = {name: array[order] if name in by_feature else array for name, array in params.items()}
    if isinstance(layer, Dense):
        params = {**params, "W": params["W"].T}  # W is (in, out)
    return {names[name]: array for name, array in params.items()}
