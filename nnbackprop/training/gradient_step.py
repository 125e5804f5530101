"""A training step in two halves, for batches in shards: the gradients of one shard, and the update by all."""

from __future__ import annotations

from dataclasses import dataclass

from backends import Array, Tree, tree_map
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import replace_buffers

from .step import Microbatch, TrainStep, add_batch, zero_sums


@dataclass(frozen=True, eq=False)
class GradientStep:
    """`result, constants, batch -> result` for `Backend.scan`: gradients, next buffers and sums of one shard.

    `constants` are the data set's arrays and the parameters; `batch` has the shard's first row too.
    """

    step: TrainStep

    def __call__(self, result: Tree, constants: Tree, batch: Tree) -> Tree:
        """What `result` holds is replaced."""
        rows = Microbatch(batch["first_row"], constants, batch, None)
        return self.gradients(constants["params"], *self.step.step_inputs(rows))

    def gradients(
        self, params: Params, x: Array, targets: Array, weights: Array | None, key: RngKey | None
    ) -> Tree:
        """The same of samples as they are; without a key, without dropout."""
        s, xp = self.step, self.step.xp
        result = s.objective.value_and_grad(xp, params, x, targets, key, weights)
        network, sums = s.objective.network, zero_sums(xp, s.metrics, params, weights is not None)
        return {
            "grads": result.grads,
            "buffers": network.new_buffers(xp, params, result.caches) if network.has_buffers else (),
            "sums": add_batch(xp, s.metrics, sums, result.J, result.y, targets, weights),
        }


@dataclass(frozen=True, eq=False)
class UpdateStep:
    """`state, constants, batch -> state` for `Backend.scan`: the update by `batch["result"]`.

    That is the sum over all shards of what `GradientStep` gives, gradients and buffers weighted by their shares.
    """

    step: TrainStep

    def __call__(self, state: Tree, constants: Tree, batch: Tree) -> Tree:
        """The state after the step."""
        params, result = state["params"], batch["result"]
        if self.step.objective.network.has_buffers:
            params = replace_buffers(params, result["buffers"])
        sums = tree_map(lambda total, added: total + added, state["sums"], result["sums"])
        return self.step.update({**state, "params": params, "sums": sums}, result["grads"], batch)
