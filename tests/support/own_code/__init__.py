"""Networks such as learners write them, in plain NumPy: right ones, and ones with one mistake each.

`right()` and `wrong()` build them anew at every call, for some keep state between calls.
A mistake is one switch, `self.has(...)`, in `network.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.own_code.lists import RIGHT, WRONG
from tests.support.own_code.network import Network
from tests.support.own_code.plan import Params, Plan


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


def example(plan: Plan) -> Example:
    network = Network(plan)
    params = plan.pack(*plan.weights())
    if plan.has("accumulated/one step made before"):
        network.grad(params)
    return Example(plan.name(), network.loss, network.grad, params, plan.bug.split("/")[0] or None)


def right() -> list[Example]:
    return [example(plan) for plan in RIGHT]


def wrong() -> list[Example]:
    return [example(plan) for plan in WRONG]
