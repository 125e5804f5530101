"""What is checked: a loss J and its analytic gradients, as functions of named float64 arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import Array, Backend
from nnbackprop.data.limits import format_names
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Layer, LayerParams, Params, map_layers
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.rng import RngKey

from .central_differences import Tensors

INPUT = "input"
KEEP_FLOAT64 = "float32 has too few digits for differences, so keep data and parameters in float64 here."
Path = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class NetworkFunction:
    """Network, loss and penalty in training mode, with the dropout masks of one step, on a backend.

    Tensors are `dense1.W`, `dense1.b` and so on, dotted where networks are nested, and `input`. `params` is the
    whole tree on the device, with the buffers, which have no gradient.
    """

    backend: Backend
    objective: Objective
    params: Params
    targets: Array
    weights: Array | None
    key: RngKey

    def value(self, tensors: Tensors) -> float:
        """J of a training step."""
        xp, objective, (params, x) = self.backend.xp, self.objective, self._arguments(tensors)
        y, _ = objective.network.forward(xp, params, x, self.key)
        J, _ = objective.loss(xp, y, objective.loss.encode_targets(xp, y, self.targets), self.weights)
        return float(self.backend.to_numpy(objective.regularized_loss(xp, params, J)))

    def gradients(self, tensors: Tensors) -> Tensors:
        """dJ/dparams and dJ/dx of a training step."""
        params, x = self._arguments(tensors)
        xp = self.backend.xp
        result = self.objective.value_and_grad(xp, params, x, self.targets, self.key, self.weights, need_dx=True)
        grads = {**self.trained(result.grads), INPUT: result.dx}
        return {name: self.backend.to_numpy(g) for name, g in grads.items()}

    def trained(self, tree: Params) -> dict[str, Any]:
        """The arrays of a tree like `params` by name, without buffers."""
        return {
            f"{layer_name}.{name}": array
            for layer_name, layer, branch in self.objective.network.named_layers(tree)
            for name, array in branch.items()
            if name not in getattr(layer, "buffers", ())
        }

    def _arguments(self, tensors: Tensors) -> tuple[Params, Array]:
        on_device = {name: self.backend.asarray(a, copy=False) for name, a in tensors.items()}
        layer_names = (name for name, _ in self.objective.network.named_layers())

        def replaced(layer: Layer, branch: LayerParams) -> LayerParams:
            layer_name = next(layer_names)
            return {name: on_device.get(f"{layer_name}.{name}", a) for name, a in branch.items()}

        return map_layers(replaced, self.objective.network, self.params), on_device[INPUT]


@dataclass(frozen=True, eq=False)
class UserFunction:
    """A user's two functions of their parameters, in any structure of lists, tuples and dicts.

    Tensors are named as Python reads them: `W1` in a dict, else `params[0]` or `params['layer1']['W']`. Every call
    gets copies, so that a function which writes to its arguments changes nothing here.
    """

    loss_fn: Callable[[Any], Any]
    grad_fn: Callable[[Any], Any]
    params: Any

    def value(self, tensors: Tensors) -> float:
        """loss_fn's number; UsageError unless it is one float64."""
        J = self.loss_fn(self.arguments(tensors))
        if isinstance(J, (tuple, list, dict)):
            parts = J.values() if isinstance(J, dict) else J
            raise UsageError(
                f"loss_fn returned a {type(J).__name__} ({', '.join(type(part).__name__ for part in parts)}), and "
                "one number is needed, the loss. Where f returns loss and gradients, give lambda p: f(p)[0] and "
                "lambda p: f(p)[1]."
            )
        J = np.asarray(J)
        if J.size != 1 or J.dtype.kind != "f" or J.dtype.itemsize < 8:
            raise UsageError(
                f"loss_fn returned {J.dtype} of shape {J.shape}, and one number in float64 is needed, the loss. "
                f"{KEEP_FLOAT64}"
            )
        return float(J.reshape(()))

    def gradients(self, tensors: Tensors) -> Tensors:
        """grad_fn's arrays, in whatever shapes it returns; UsageError if some are missing or not real numbers."""
        grads = named_arrays(self.grad_fn(self.arguments(tensors)), "grad_fn")
        if missing := [name for name in tensors if name not in grads]:
            raise UsageError(
                f"grad_fn returned gradients for {format_names(grads)}, none for {', '.join(missing)}: "
                "it must return an array for each parameter, in the same structure and under the same names."
            )
        return {name: grads[name] for name in tensors}

    def params_changed(self, tensors: Tensors) -> list[str]:
        """The parameters that a call of either function changes in place."""
        names: list[str] = []
        for fn in (self.loss_fn, self.grad_fn):
            params = self.arguments(tensors)
            fn(params)
            after = named_arrays(params, "params")
            names += [name for name in tensors if not np.array_equal(after[name], tensors[name])]
        return list(dict.fromkeys(names))

    def arguments(self, tensors: Tensors) -> Any:
        """Copies of the tensors, in the user's own structure."""
        return map_leaves(lambda path, leaf: tensors[_path_name(path)].copy(), self.params)


Function = NetworkFunction | UserFunction
"""J and dJ/dtensor of named tensors, which are not changed."""


def map_leaves(function: Callable[[Path, Any], Any], tree: Any, path: Path = ()) -> Any:
    """The same dicts, lists and tuples with `function(path, leaf)` for each leaf."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, branch, (*path, key)) for key, branch in tree.items()}
    if isinstance(tree, (list, tuple)):
        branches = [map_leaves(function, branch, (*path, i)) for i, branch in enumerate(tree)]
        return branches if isinstance(tree, list) else tuple(branches)
    return function(path, tree)


def named_arrays(tree: Any, source: str) -> dict[str, np.ndarray]:
    """The arrays of a tree as float64, by name; UsageError if a leaf is not of real numbers."""
    arrays = {}

    def add(path: Path, leaf: Any) -> None:
        array = np.asarray(leaf)
        if array.dtype.kind not in "biuf" or not array.size:
            raise UsageError(
                f"{source} has {type(leaf).__name__} of {array.dtype} and shape {array.shape} at "
                f"{_path_name(path)}, and arrays of real numbers are needed, in a dict or a list: "
                "{'W1': W1, 'b1': b1}."
            )
        arrays[_path_name(path)] = array.astype(np.float64)

    map_leaves(add, tree)
    return arrays


def _path_name(path: Path) -> str:
    if len(path) == 1 and isinstance(path[0], str):
        return path[0]
    return "params" + "".join(f"[{key!r}]" for key in path)
