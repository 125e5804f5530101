"""Networks such as learners write them, in plain NumPy: right ones, and ones with one mistake each.

`right_examples()` and `wrong_examples()` build them anew at every call, for some keep state between calls.
A mistake is one switch, `self.has(...)`, in `network.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.numpy_networks.network import Network
from tests.support.numpy_networks.spec import Params, Spec
from tests.support.numpy_networks.specs import RIGHT, WRONG


@dataclass(frozen=True)
class Example:
    name: str
    loss_fn: Callable[[Any], float]
    """The function that is trained, of the parameters; inputs and targets are inside."""
    grad_fn: Callable[[Any], Any]
    """Its gradient as derived by hand, in the form of the parameters."""
    params: Params
    expected: str | None
    """The mistake's id; None: there is none."""


def example(spec: Spec) -> Example:
    network = Network(spec)
    params = spec.pack(*spec.weights())
    if spec.has("accumulated/one step made before"):
        network.grad(params)
    return Example(spec.name(), network.loss, network.grad, params, spec.mistake.split("/")[0] or None)


def right_examples() -> list[Example]:
    return [example(spec) for spec in RIGHT]


def wrong_examples() -> list[Example]:
    return [example(spec) for spec in WRONG]
