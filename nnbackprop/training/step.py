"""One training step, top to bottom: batch, forward, loss, backward, update. Nothing else happens in a step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, NamedTuple

from backends import Array, Tree, device_of, leaves, tree_map
from nnbackprop.data.batch import (
    BatchKind,
    batch_kind,
    batch_size,
    batch_weights,
    get_batch,
    microbatch,
    precompute_batches,
)
from nnbackprop.nn.augmentation import ImageAugmenter
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.metrics import Metrics, confusion_counts
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential, replace_buffers
from nnbackprop.optim import Optimizer

MAX_PRECOMPUTED_SIZE = 1 << 21
"""Numbers in the samples and masks of a batch above which it is not prepared ahead."""


def zero_sums(xp: Any, metrics: Metrics, params: Params, weighted: bool) -> Tree:
    """Sums of losses and metrics at zero, and of weights where samples have them, on the parameters' device."""
    like = leaves(params)[0]
    zero = xp.zeros((), dtype=like.dtype, device=device_of(like))
    sums = {"loss": zero, "metrics": metrics.zeros(xp, like)}
    return {**sums, "weight": xp.zeros_like(zero)} if weighted else sums


def unflatten_numbers(sums: Tree, numbers: Iterator[float]) -> Tree:
    """The next of `numbers` in the places of `sums`: a number for each 0-d array, a list for each vector."""
    return tree_map(lambda a: list(islice(numbers, a.shape[0])) if a.ndim else next(numbers), sums)


def add_batch(
    xp: Any, metrics: Metrics, sums: Tree, J: Array, y: Array, targets: Array, weights: Array | None
) -> Tree:
    """`sums` with a batch's mean loss J and its metrics added."""
    total = targets.shape[0] if weights is None else xp.sum(weights)
    added = {
        "loss": xp.fuse(add_product, donate_argnums=(0,))(sums["loss"], J, total),
        "metrics": metrics.update(xp, sums["metrics"], y, targets, weights),
    }
    return added if weights is None else {**added, "weight": sums["weight"] + total}


def add_product(xp: Any, total: Array, a: Array, b: Array) -> Array:
    """total + a b: an elementwise kernel."""
    return total + a * b


class StepInputs(NamedTuple):
    """What a step computes with: inputs (n, ...), targets, weights (n,) or None, and the key of its masks."""

    x: Array
    targets: Array
    weights: Array | None
    key: RngKey


class Microbatch(NamedTuple):
    """Some rows of a batch: the first of them, `data` and `batch` for `get_batch`, and the share of the weight.

    `fraction`, the share, is None where they are the whole batch.
    """

    first_row: int | Array
    data: Tree
    batch: Tree
    fraction: Array | float | None


@dataclass(frozen=True, eq=False)
class TrainStep:
    """`state, constants, batch -> state`, for `Backend.scan`; the constants are the data set's arrays.

    `batch` has samples or their indices, the step's number and the optimizer's scalars. It is worked through in
    `n_microbatches`, whose gradients sum to its own: 1, more where memory ran out, or the shards of the whole
    batch where processes train together. With `record_gradient_norms` the state gets the norm of each layer's
    gradients, before any clipping. `augment` transforms the images of a batch.
    """

    xp: Any
    objective: Objective
    optimizer: Optimizer
    metrics: Metrics
    seed: int = 0
    n_microbatches: int = 1
    record_gradient_norms: bool = False
    augment: ImageAugmenter | None = None

    @cached_property
    def with_gradient_norms(self) -> TrainStep:
        """The step for the last of a chunk: no norm is taken in steps nobody looks at."""
        return replace(self, record_gradient_norms=True)

    def init(self, params: Params, weighted: bool = False) -> Tree:
        """The state before the first step; `weighted` where samples have weights."""
        like, trained = leaves(params)[0], len(self.trained_layers(params))
        return {
            "params": params,
            "optimizer": self.optimizer.init(self.xp, params),
            "gradient_norms": self.xp.zeros((trained,), dtype=like.dtype, device=device_of(like)),
            "sums": zero_sums(self.xp, self.metrics, params, weighted),
        }

    def __call__(self, state: Tree, constants: Tree, batch: Tree) -> Tree:
        """One update of the parameters by the gradients of one batch (derivation, D22)."""
        xp, params, sums, grads = self.xp, state["params"], state["sums"], None
        for micro in self.microbatches(constants, batch):  # one, unless memory ran out
            x, targets, weights, key = self.step_inputs(micro)
            J, y, _, new_grads, caches = self.objective.value_and_grad(xp, params, x, targets, key, weights)
            grads = new_grads if micro.fraction is None else add_scaled(grads, new_grads, micro.fraction)
            sums = add_batch(xp, self.metrics, sums, J, y, targets, weights)
            if self.objective.network.has_buffers:
                params = replace_buffers(params, self.objective.network.new_buffers(xp, params, caches))
        return self.update({**state, "params": params, "sums": sums}, grads, batch)

    def update(self, state: Tree, grads: Params, batch: Tree) -> Tree:
        """The state after one update by the gradients of a whole batch."""
        xp = self.xp
        if self.record_gradient_norms:
            state = {**state, "gradient_norms": gradient_norms(xp, self.objective.network, grads)}
        params, optimizer = self.optimizer.step(xp, state["params"], grads, state["optimizer"], batch["scalars"])
        return {**state, "params": params, "optimizer": optimizer}

    def step_inputs(self, micro: Microbatch) -> StepInputs:
        """The samples of a microbatch as the network gets them in training, augmented where they are to be."""
        x, targets, weights = get_batch(self.xp, micro.data, micro.batch)
        # random numbers depend on the row of the whole batch
        key = RngKey(self.seed, micro.batch["step"], micro.first_row, precomputed_masks=micro.batch.get("masks"))
        if self.augment is not None and batch_kind(micro.batch) is not BatchKind.PRECOMPUTED:
            x = self.augment(self.xp, x, targets, key)
        return StepInputs(x, targets, weights, key)

    def precompute(self, data: Tree, batches: Tree) -> Tree:
        """`batches` of several steps with what needs no parameters made ahead: their samples and dropout masks.

        A step takes them from its batch, and makes them itself where they are not there, with the same numbers. In
        a captured graph one kernel then does for all of its steps. Large batches are left as they are: they would
        take much memory, and the kernels' launches cost them nothing.
        """
        kind = batch_kind(batches)
        if kind is BatchKind.WHOLE_SET:
            return batches
        xp, network, key = self.xp, self.objective.network, RngKey(self.seed, batches["step"])
        steps, n = batches[kind].shape[:2]
        shape = data["inputs"].shape[1:] if kind.resident else batches["inputs"].shape[2:]
        drawn = sum(math.prod(layer.in_shape) for layer in network.summary(shape) if layer.draws)
        if n * (math.prod(shape) + drawn) > MAX_PRECOMPUTED_SIZE:
            return batches
        samples = precompute_batches(xp, data, batches)
        x = xp.reshape(samples["precomputed_inputs"], (steps * n, *shape))
        if self.augment is not None:
            targets = samples["targets"]
            x = self.augment(xp, x, xp.reshape(targets, (steps * n, *targets.shape[2:])), key)
        x, masks = network.precompute(xp, x, key)
        made = tree_map(
            lambda a: xp.reshape(a, (steps, n, *a.shape[1:])), {"precomputed_inputs": x, "masks": masks}
        )
        return {"step": batches["step"], "scalars": batches["scalars"], **samples, **made}

    def microbatches(self, data: Tree, batch: Tree) -> list[Microbatch]:
        """The microbatches of a batch."""
        if self.n_microbatches == 1:
            return [Microbatch(0, data, batch, None)]
        xp, bounds = self.xp, self.microbatch_bounds(batch_size(data, batch))
        if len(bounds) == 1:
            return [Microbatch(0, data, batch, None)]
        total, microbatches = total_weight(xp, data, batch), []
        for begin, end in bounds:
            rows = microbatch(data, batch, begin, end)
            microbatches.append(Microbatch(begin, *rows, weight_fraction(xp, total_weight(xp, *rows), total)))
        return microbatches

    def microbatch_bounds(self, n: int) -> list[tuple[int, int]]:
        """The first row and the one past the last of each microbatch of a batch of n samples.

        Their sizes differ by one at most. Running statistics need two samples in each.
        """
        least = 2 if self.objective.network.has_buffers else 1
        count = min(self.n_microbatches, max(1, n // least))
        return list(pairwise(n * i // count for i in range(count + 1)))

    def reset_sums(self, state: Tree) -> Tree:
        """The same state with its sums at zero."""
        return {**state, "sums": tree_map(self.xp.zeros_like, state["sums"])}

    def pack_metrics(self, state: Tree) -> Array:
        """All that a chunk has to show in one array, so that reading it waits for the device once.

        1 if losses, norms and parameters are finite, else 0; the sums, flat, in the order of `leaves`; the norm of
        the last gradient of each layer that is trained.
        """
        xp, norms, sums = self.xp, state["gradient_norms"], leaves(state["sums"])
        checked = (state["sums"]["loss"], norms, *leaves(state["params"]))
        finite = xp.all(xp.isfinite(xp.stack([xp.sum(a) for a in checked])))  # a sum reads each once
        flat = [xp.reshape(xp.astype(a, norms.dtype), (-1,)) for a in (finite, *sums)]
        return xp.concat([*flat, norms])

    def unpack_metrics(self, flat: Any, state: Tree) -> tuple[bool, Tree, dict[str, float]]:
        """What `pack_metrics` gave, on the host: whether all was finite, the sums as numbers, norms by layer."""
        finite, *numbers = flat.tolist()
        left = iter(numbers)
        sums = unflatten_numbers(state["sums"], left)
        return bool(finite), sums, dict(zip(self.trained_layers(state["params"]), left, strict=True))

    def trained_layers(self, params: Params) -> list[str]:
        """Names of the layers with parameters that are trained, whose gradient norms are recorded."""
        layers = self.objective.network.named_layers(params)
        return [name for name, layer, own in layers if own.keys() - set(getattr(layer, "buffers", ()))]


def total_weight(xp: Any, data: Tree, batch: Tree) -> Array | int:
    """The sum of a batch's sample weights: a 0-d array, or the number of samples where they have none."""
    weights = batch_weights(xp, data, batch)
    return batch_size(data, batch) if weights is None else xp.sum(weights)


def weight_fraction(xp: Any, weight: Array | int, total: Array | int) -> Array | float:
    """weight / total; 0 where all weights are."""
    return weight / total if isinstance(total, int) else weight / xp.where(total > 0, total, xp.ones_like(total))


def add_scaled(total: Params | None, grads: Params, fraction: Array | float) -> Params:
    """total + fraction grads, array by array; fraction grads where there is no total yet."""
    if total is None:
        return tree_map(lambda g: g * fraction, grads)
    return tree_map(lambda g, t: t + g * fraction, grads, total)


def gradient_norms(xp: Any, network: Sequential, grads: Params) -> Array:
    """||g|| of all gradients g of a layer, for each layer that has any."""
    branches = [leaves(branch) for *_, branch in network.named_layers(grads)]
    flat = [[xp.reshape(g, (-1,)) for g in branch] for branch in branches if branch]
    return xp.stack([xp.sqrt(sum(xp.matmul(g, g) for g in layer)) for layer in flat])


@dataclass(frozen=True, eq=False)
class EvalStep:
    """`sums, constants, batch -> sums` over batches in evaluation mode: losses and metrics, no update.

    Sums with `confusion` count the samples of each class that are predicted as each.

    `constants` are the data set's arrays and the parameters: a state is donated, and these must outlive it.
    """

    xp: Any
    objective: Objective
    metrics: Metrics

    def __call__(self, sums: Tree, constants: Tree, batch: Tree) -> Tree:
        """Add one batch to the sums."""
        inputs, targets, weights = get_batch(self.xp, constants, batch)
        J, y = self.objective.value(self.xp, constants["params"], inputs, targets, weights)
        added = add_batch(self.xp, self.metrics, sums, J, y, targets, weights)
        if (counts := sums.get("confusion")) is None:
            return added
        n_classes = math.isqrt(counts.shape[0])
        new = confusion_counts(self.xp, y, targets, self.objective.loss.threshold, n_classes)
        return {**added, "confusion": counts + new}
