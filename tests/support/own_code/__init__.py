"""Networks such as learners write them, in plain NumPy: right ones, and ones with one mistake each.

`right()` and `wrong()` build them anew at every call, for some keep state between calls.
A mistake is one switch, `plan.has(...)`, in the code of a style: plan, rows, columns, theta, layers or scripts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.own_code import columns, layers, rows, scripts, theta
from tests.support.own_code.lists import RIGHT, WRONG
from tests.support.own_code.plan import Functions, Params, Plan

STYLES: dict[str, Callable[[Plan], Functions]] = {
    "rows": rows.build,
    "columns": columns.build,
    "theta": theta.build,
    "layers": layers.build,
    "notes": scripts.notes,
    "book": scripts.book,
    "blog": scripts.blog,
    "xor": scripts.xor,
}


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
    batch: int


def example(plan: Plan) -> Example:
    loss, grad, params = STYLES[plan.style](plan)
    return Example(plan.name(), loss, grad, params, plan.bug.split("/")[0] or None, plan.n)


def right() -> list[Example]:
    return [example(plan) for plan in RIGHT]


def wrong() -> list[Example]:
    return [example(plan) for plan in WRONG]
