"""An exponential moving average of the weights, kept beside any optimizer's own state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, Tree, tree_map
from nnbackprop.nn.layers.base import Params

from .base import Optimizer, check_decay, check_optimizer


def average_kernel(xp: Any, average: Array, w: Array, rate: Array) -> Array:
    """average <- average + rate (w - average)."""
    return average + rate * (w - average)


@dataclass(frozen=True)
class ExponentialMovingAverage(Optimizer):
    """The updates of `optimizer`, and after each the average a <- d a + (1 - d) w of the parameters w.

    d = min(decay, (1 + t) / (10 + t)) at step t, counted from 1, so that the initial weights are soon forgotten,
    as in TensorFlow's ExponentialMovingAverage (Polyak and Juditsky, "Acceleration of stochastic approximation by
    averaging", 1992). A `Trainer` evaluates, predicts and saves by the average; training goes on from w. Running
    statistics are averaged too.
    """

    optimizer: Optimizer
    decay: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check_optimizer(self.optimizer, self)
        check_decay("decay", self.decay)

    @property
    def state_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the optimizer, whose state lies within this one's, and the average."""
        return (*self.optimizer.state_names, "average")

    def init(self, xp: Any, params: Params) -> Tree:
        """The optimizer's state, and a copy of the parameters."""
        return self.state_for_new_params(xp, params, {"optimizer": self.optimizer.init(xp, params)})

    def step_scalars(self, t: int, lr: float) -> dict[str, float]:
        """The optimizer's scalars, and 1 - d."""
        return {**self.optimizer.step_scalars(t, lr), "average_rate": 1 - min(self.decay, (1 + t) / (10 + t))}

    def step(
        self, xp: Any, params: Params, grads: Params, state: Tree, scalars: dict[str, Any]
    ) -> tuple[Params, Tree]:
        """One update, and the average after it."""
        params, inner = self.optimizer.step(xp, params, grads, state["optimizer"], scalars)
        update = xp.fuse(average_kernel, donate_argnums=(0,))
        average = tree_map(lambda a, w: update(a, w, scalars["average_rate"]), state["average"], params)
        return params, {"optimizer": inner, "average": average}

    def eval_params(self, params: Params, state: Tree) -> Params:
        """The average."""
        average: Params = state["average"]
        return average

    def state_for_new_params(self, xp: Any, params: Params, state: Tree) -> Tree:
        """The average begins anew at `params`."""
        return {**state, "average": tree_map(lambda w: xp.asarray(w, copy=True), params)}
