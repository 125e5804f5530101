"""What is checked: a value J and its hand-derived gradients, as functions of named float64 arrays.

A network of ours on any backend, and a person's own two functions, look alike from here on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from backends import Array, Backend
from nnbackprop.errors import UsageError
from nnbackprop.nn.rng import RngKey
from nnbackprop.training.step import Objective

from .numeric import Tensors

T = TypeVar("T")

INPUT = "input"


class Function(Protocol):
    """J and dJ/dtensor of named tensors; arrays that are handed in belong to the caller."""

    def value(self, tensors: Tensors) -> float:
        """J."""

    def gradients(self, tensors: Tensors) -> Tensors:
        """The hand-derived gradient of each tensor, under the same names."""


@dataclass(frozen=True, eq=False)
class OfNetwork:
    """The whole function that is trained: network, loss, penalty and a fixed dropout mask, on a backend.

    Tensors are `dense1.W`, `dense1.b` and so on, and `input`. What has not changed since the last call
    stays on the device.
    """

    backend: Backend
    objective: Objective
    targets: Array
    draw: RngKey
    held: dict[str, tuple[np.ndarray, Array]] = field(default_factory=dict)

    def value(self, tensors: Tensors) -> float:
        """J, as a step of training computes it."""
        params, x = self._moved(tensors)
        J, _ = self.objective.value(self.backend.xp, params, x, self.targets, self.draw)
        return float(self.backend.to_numpy(J))

    def gradients(self, tensors: Tensors) -> Tensors:
        """dJ/dparams and dJ/dx, as a step of training computes them."""
        params, x = self._moved(tensors)
        _, _, dx, grads = self.objective.gradients(
            self.backend.xp, params, x, self.targets, self.draw, need_dx=True
        )
        return {name: self.backend.to_numpy(g) for name, g in {**self.named(grads), INPUT: dx}.items()}

    def named(self, params: Any) -> dict[str, Any]:
        """A tuple of dicts, one a layer, as one dict by name."""
        names = self.objective.network.names
        return {f"{layer}.{name}": a for layer, p in zip(names, params, strict=True) for name, a in p.items()}

    def _moved(self, tensors: Tensors) -> tuple[Any, Array]:
        for name, host in tensors.items():
            if name not in self.held or self.held[name][0] is not host:
                self.held[name] = (host, self.backend.asarray(host))
        layers: dict[str, dict[str, Array]] = {layer: {} for layer in self.objective.network.names}
        for name in tensors:
            if name != INPUT:
                layer, _, short = name.partition(".")
                layers[layer][short] = self.held[name][1]
        return tuple(layers.values()), self.held[INPUT][1]


class RefusedError(Exception):
    """A function raised at parameters it was never meant for, such as weights of zero."""


@dataclass(frozen=True, eq=False)
class Careful:
    """A function in experiments, which go where training never does; what it raises there is RefusedError."""

    function: Function

    def value(self, tensors: Tensors) -> float:
        """J."""
        return self._asked(self.function.value, tensors)

    def gradients(self, tensors: Tensors) -> Tensors:
        """The hand-derived gradient of each tensor."""
        return self._asked(self.function.gradients, tensors)

    def _asked(self, ask: Callable[[Tensors], T], tensors: Tensors) -> T:
        try:
            return ask(tensors)
        except Exception as error:
            raise RefusedError(str(error)) from error


@dataclass(frozen=True, eq=False)
class OwnCode:
    """A person's two functions of their parameters, whatever lists, tuples and dicts those are kept in.

    Tensors are named by their path: `W1`, or `0` in a list, or `0.W` in a list of dicts. Every call gets
    copies, so that a function which writes to its arguments harms nothing here.
    """

    loss_fn: Callable[[Any], Any]
    grad_fn: Callable[[Any], Any]
    params: Any

    def value(self, tensors: Tensors) -> float:
        """loss_fn's number; UsageError if it is none, or a float32 one."""
        J = np.asarray(self.loss_fn(self.arranged(tensors)))
        if J.size != 1 or J.dtype.kind != "f" or J.dtype.itemsize < 8:
            raise UsageError(
                f"loss_fn gave {J.dtype} of shape {J.shape}, and one number in float64 is needed: the mean loss "
                "of the batch. Numeric derivatives in float32 have no digits to compare, so keep data and "
                "parameters in float64 here."
            )
        return float(J.reshape(()))

    def gradients(self, tensors: Tensors) -> Tensors:
        """grad_fn's arrays, of whatever shape they are; UsageError if some are missing or no numbers."""
        given = leaves(self.grad_fn(self.arranged(tensors)), "grad_fn")
        if missing := [name for name in tensors if name not in given]:
            raise UsageError(
                f"grad_fn gave gradients for {', '.join(given) or 'nothing'} and none for {', '.join(missing)}: "
                "it must give an array for each of the parameters, kept in the same way and under the same names."
            )
        return {name: given[name] for name in tensors}

    def changed(self, tensors: Tensors) -> list[str]:
        """The parameters that a call of either function writes to."""
        names = []
        for fn in (self.loss_fn, self.grad_fn):
            given = self.arranged(tensors)
            fn(given)
            after = leaves(given, "params")
            names += [name for name in tensors if not np.array_equal(after[name], tensors[name])]
        return list(dict.fromkeys(names))

    def arranged(self, tensors: Tensors) -> Any:
        """Copies of the tensors, kept as the person keeps them."""
        return _arranged(self.params, tensors, "")


def leaves(tree: Any, source: str, path: str = "") -> dict[str, np.ndarray]:
    """The arrays in nested dicts, lists and tuples as float64 by path; UsageError if one holds no numbers."""
    if isinstance(tree, (dict, list, tuple)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        branches = (leaves(branch, source, f"{path}.{name}" if path else str(name)) for name, branch in items)
        return {name: array for branch in branches for name, array in branch.items()}
    array = np.asarray(tree)
    if array.dtype.kind not in "biuf" or not array.size:
        raise UsageError(
            f"{source} has {array.dtype} of shape {array.shape} at {path or 'its top'}, and arrays of real "
            "numbers are needed, in a dict or a list: {'W1': W1, 'b1': b1}."
        )
    return {path or "0": array.astype(np.float64)}


def _arranged(tree: Any, tensors: Tensors, path: str) -> Any:
    if isinstance(tree, dict):
        return {name: _arranged(t, tensors, f"{path}.{name}" if path else str(name)) for name, t in tree.items()}
    if isinstance(tree, (list, tuple)):
        branches = [_arranged(t, tensors, f"{path}.{i}" if path else str(i)) for i, t in enumerate(tree)]
        return branches if isinstance(tree, list) else tuple(branches)
    return tensors[path or "0"].copy()
