"""What every optimizer is: a rule for one number, and the slots of state it keeps for each parameter.

An optimizer holds hyperparameters only. Parameters, gradients and state travel as arguments; all three are
given away to `step`, and what it returns takes their place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from backends import Rule, Tree, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.layers.base import Params


class Optimizer(ABC):
    """One update of all parameters: `rule(xp, w, dw, *slots, *arguments) -> (w, *slots)`, element by element.

    A subclass gives `rule`, a module-level function, the names of its `slots`, all zero at first, and the
    scalars the rule is called with; and, where these depend on the step, `scalars`.
    """

    rule: ClassVar[Rule]
    slots: ClassVar[tuple[str, ...]] = ()

    def init(self, xp: Any, params: Params) -> Tree:
        """Return the state before the first step: zeros like `params` for each slot; () without slots."""
        return {slot: tree_map(xp.zeros_like, params) for slot in self.slots} or ()

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """Return the numbers of step `t`, counted from 1, computed on the host in double precision.

        The caller hands them to `step` as 0-d arrays of the parameters' dtype, so that a compiled loop takes
        them as data. "lr" is always among them.
        """
        return {"lr": lr}

    @abstractmethod
    def arguments(self, s: dict[str, Any]) -> tuple[Any, ...]:
        """Return the scalar arguments of the rule, in its order, out of the step's scalars `s`."""

    def step(self, xp: Any, params: Params, grads: Params, state: Tree, s: dict[str, Any]) -> tuple[Params, Tree]:
        """Return the parameters after one update by `grads`, and the state; shapes and dtypes stay."""
        donated = (0, *range(2, 2 + len(self.slots)))  # w and the slots, whose place the new ones take
        rule, arguments = xp.fuse(type(self).rule, donated), self.arguments(s)
        if not self.slots:
            return tuple(
                {name: rule(w, dw[name], *arguments) for name, w in layer.items()}
                for layer, dw in zip(params, grads, strict=True)
            ), state
        trees = [state[slot] for slot in self.slots]
        updated = [
            {name: rule(w, *(branch[name] for branch in branches), *arguments) for name, w in layer.items()}
            for layer, *branches in zip(params, grads, *trees, strict=True)
        ]
        params, *trees = (
            tuple({name: numbers[k] for name, numbers in layer.items()} for layer in updated)
            for k in range(1 + len(self.slots))
        )
        return params, dict(zip(self.slots, trees, strict=True))


def check_share(name: str, value: float) -> None:
    """Raise UsageError unless 0 <= value < 1, as the decay of a running mean must be."""
    if not 0 <= value < 1:
        raise UsageError(f"{name} is the share of a running mean that is kept, 0 <= {name} < 1; got {value!r}.")


def check_epsilon(eps: float) -> None:
    """Raise UsageError unless eps > 0: it keeps a division by a root of zero from being one by zero."""
    if not eps > 0:
        raise UsageError(f"eps stands in a divisor that may else be zero, and must be above 0; got {eps!r}.")
