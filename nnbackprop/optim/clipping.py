"""Gradients held back before an update, so that one bad batch cannot throw the parameters far."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

from backends import Array, Tree, leaves, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params

from .base import Optimizer, check_optimizer

NORM_EPS = 1e-6
"""Added to the norm before the division, as PyTorch does: all-zero gradients stay zero, and finite."""


@dataclass(frozen=True)
class GradientClipping(Optimizer):
    """The updates of `optimizer` by gradients clipped to `value` element by element, then to the global `norm`.

    Either may be None, for no such limit. The state is the optimizer's.

    Raises:
        UsageError: neither limit is given, or one is not above 0; what is no optimizer.
    """

    optimizer: Optimizer
    _: KW_ONLY
    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_optimizer(self.optimizer, self)
        limits = [limit for limit in (self.norm, self.value) if limit is not None]
        if not limits:
            raise UsageError("GradientClipping needs a limit: norm=1.0, value=0.5, or both.")
        for limit in limits:
            check_limit(limit)

    @property
    def state_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the optimizer."""
        return self.optimizer.state_names

    def init(self, xp: Any, params: Params) -> Tree:
        """The optimizer's state."""
        return self.optimizer.init(xp, params)

    def step_scalars(self, t: int, lr: float) -> dict[str, float]:
        """The optimizer's scalars."""
        return self.optimizer.step_scalars(t, lr)

    def step(
        self, xp: Any, params: Params, grads: Params, state: Tree, scalars: dict[str, Any]
    ) -> tuple[Params, Tree]:
        """One update by the clipped gradients."""
        if self.value is not None:
            grads = clip_by_value(xp, grads, self.value)
        if self.norm is not None:
            grads = clip_by_global_norm(xp, grads, self.norm)
        return self.optimizer.step(xp, params, grads, state, scalars)

    def eval_params(self, params: Params, state: Tree) -> Params:
        """Those of the optimizer."""
        return self.optimizer.eval_params(params, state)

    def state_for_new_params(self, xp: Any, params: Params, state: Tree) -> Tree:
        """As the optimizer does."""
        return self.optimizer.state_for_new_params(xp, params, state)


def clip_by_global_norm(xp: Any, grads: Params, limit: float) -> Params:
    """Scale all gradients by min(1, limit / (norm + 1e-6)), norm being that of all of them as one vector.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013. Their
    direction stays. A NaN or infinite gradient gives NaN; where the squares of finite ones overflow, all become 0,
    as in PyTorch.

    Raises:
        UsageError: the limit is not above 0.
    """
    check_limit(limit)
    squares = [xp.sum(dw * dw) for dw in leaves(grads)]
    norm = xp.sqrt(sum(squares[1:], squares[0]))
    scale = xp.minimum(float(limit) / (norm + NORM_EPS), xp.ones_like(norm))
    return tree_map(lambda dw: dw * scale, grads)


def clip_by_value(xp: Any, grads: Params, limit: float) -> Params:
    """Clip every element of every gradient to [-limit, limit].

    Raises:
        UsageError: the limit is not above 0.
    """
    check_limit(limit)
    clip = xp.fuse(clip_element)
    return tree_map(lambda dw: clip(dw, -float(limit), float(limit)), grads)


def clip_element(xp: Any, dw: Array, low: float, high: float) -> Array:
    """dw <- min(max(dw, low), high)."""
    return xp.minimum(xp.maximum(dw, low), high)


def check_limit(limit: float) -> None:
    """Raise UsageError unless 0 < limit < inf."""
    if not 0 < limit < math.inf:
        raise UsageError(f"Gradients are clipped to a finite limit above 0; got {limit!r}.")
