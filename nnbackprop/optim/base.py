"""What every optimizer is: a kernel for one number, and the state_names of state it keeps for each parameter.

An optimizer holds hyperparameters only. Parameters, gradients and state travel as arguments; all three are
given away to `step`, and what it returns takes their place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from backends import ElementwiseKernel, Tree, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params


class Optimizer(ABC):
    """One update of all parameters: `kernel(xp, w, dw, *states, *arguments) -> (w, *states)`, element by element.

    A subclass gives `kernel`, a module-level function, the names of its `state_names`, all zero at first, and the
    scalars the kernel is called with; and, where these depend on the step, `scalars`.
    """

    kernel: ClassVar[ElementwiseKernel]
    state_names: ClassVar[tuple[str, ...]] = ()

    def init(self, xp: Any, params: Params) -> Tree:
        """Return the state before the first step: zeros like `params` for each name; () without state."""
        return {name: tree_map(xp.zeros_like, params) for name in self.state_names} or ()

    def step_scalars(self, t: int, lr: float) -> dict[str, float]:
        """Return the numbers of step `t`, counted from 1, computed on the host in double precision.

        The caller hands them to `step` as 0-d arrays of the parameters' dtype, so that a compiled loop takes
        them as data. "lr" is always among them.
        """
        return {"lr": lr}

    @abstractmethod
    def arguments(self, s: dict[str, Any]) -> tuple[Any, ...]:
        """Return the scalar arguments of the kernel, in its order, out of the step's scalars `s`."""

    def step(self, xp: Any, params: Params, grads: Params, state: Tree, s: dict[str, Any]) -> tuple[Params, Tree]:
        """Return the parameters after one update by `grads`, and the state; shapes and dtypes stay."""
        donated = (0, *range(2, 2 + len(self.state_names)))  # w and the state_names, whose place the new ones take
        kernel, arguments = xp.fuse(type(self).kernel, donated), self.arguments(s)
        if not self.state_names:
            return tuple(
                {name: kernel(w, dw[name], *arguments) for name, w in layer.items()}
                for layer, dw in zip(params, grads, strict=True)
            ), state
        trees = [state[name] for name in self.state_names]
        updated = [
            {name: kernel(w, *(branch[name] for branch in branches), *arguments) for name, w in layer.items()}
            for layer, *branches in zip(params, grads, *trees, strict=True)
        ]
        params, *trees = (
            tuple({name: numbers[k] for name, numbers in layer.items()} for layer in updated)
            for k in range(1 + len(self.state_names))
        )
        return params, dict(zip(self.state_names, trees, strict=True))


def check_share(name: str, value: float) -> None:
    """Raise UsageError unless 0 <= value < 1, as the decay of a running mean must be."""
    if not 0 <= value < 1:
        raise UsageError(f"{name} is the share of a running mean that is kept, 0 <= {name} < 1; got {value!r}.")


def check_epsilon(eps: float) -> None:
    """Raise UsageError unless eps > 0: it keeps a division by a root of zero from being one by zero."""
    if not eps > 0:
        raise UsageError(f"eps stands in a divisor that may else be zero, and must be above 0; got {eps!r}.")
