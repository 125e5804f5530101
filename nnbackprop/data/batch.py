"""A step's batch: its samples, in whichever of four kinds a step is handed them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from backends import Array, Tree, tree_map

SAMPLE_ARRAYS = "inputs", "targets", "weights"


class BatchKind(StrEnum):
    """How a batch gives its samples; the value is the key that a batch of this kind alone has."""

    WHOLE_SET = "all"  # the resident set, as it lies
    INDICES = "indices"  # (n,) of samples of the resident set
    SAMPLES = "inputs"  # the samples themselves, streamed: bytes as they are in the data set, floats scaled
    PRECOMPUTED = "precomputed_inputs"  # the samples themselves, their inputs scaled: see `precompute_batches`

    @property
    def resident(self) -> bool:
        """Whether the samples are in the `data` that every step reads, and not in the batch."""
        return self in (BatchKind.WHOLE_SET, BatchKind.INDICES)


BATCH_KINDS = tuple(BatchKind)


def batch_kind(batch: Tree) -> BatchKind:
    """The kind of a batch, or of the batches of several steps."""
    return next(kind for kind in BATCH_KINDS if kind in batch)


def get_batch(xp: Any, data: Tree, batch: Tree) -> tuple[Array, Array, Array | None]:
    """Inputs (n, *sample_shape) in the parameters' dtype, targets (n,) or (n, k) and weights (n,) of one step.

    Weights are None where the data set has none. Inputs that are not scaled yet are scaled here.
    """
    if batch_kind(batch) is BatchKind.PRECOMPUTED:
        return batch["precomputed_inputs"], batch["targets"], batch.get("weights")
    samples = _take_samples(xp, data, batch, SAMPLE_ARRAYS)
    inputs = samples["inputs"]
    if "scale" in data:
        inputs = xp.astype(inputs, data["scale"].dtype)  # a copy, to be changed in place
        inputs *= data["scale"]
        inputs += data["shift"]
    return inputs, samples["targets"], samples.get("weights")


def batch_weights(xp: Any, data: Tree, batch: Tree) -> Array | None:
    """The weights (n,) that `get_batch` returns, without the rest."""
    return _take_samples(xp, data, batch, ("weights",)).get("weights")


def batch_size(data: Tree, batch: Tree) -> int:
    """The number of samples that `get_batch` returns."""
    kind = batch_kind(batch)
    array = data["targets"] if kind is BatchKind.WHOLE_SET else batch[kind]
    return array.shape[0]


def precompute_batches(xp: Any, data: Tree, batches: Tree) -> Tree:
    """The samples of several steps, (steps, n, ...) each, as batches of kind `PRECOMPUTED`; not of whole sets."""
    kind = batch_kind(batches)
    steps, n = batches[kind].shape[:2]
    names = ("indices",) if kind is BatchKind.INDICES else SAMPLE_ARRAYS
    flat = {name: xp.reshape(a, (steps * n, *a.shape[2:])) for name, a in _select(batches, names).items()}
    inputs, targets, weights = get_batch(xp, data, flat)
    arrays = {"precomputed_inputs": inputs, "targets": targets} | ({} if weights is None else {"weights": weights})
    return {name: xp.reshape(a, (steps, n, *a.shape[1:])) for name, a in arrays.items()}


def microbatch(data: Tree, batch: Tree, begin: int, end: int) -> tuple[Tree, Tree]:
    """`data` and `batch` of which `get_batch` returns samples `begin` to `end` - 1; masks are cut alike."""
    if batch_kind(batch) is BatchKind.WHOLE_SET:
        return {**data, **{name: a[begin:end, ...] for name, a in _select(data, SAMPLE_ARRAYS).items()}}, batch
    by_sample = _select(batch, ("indices", "precomputed_inputs", "masks", *SAMPLE_ARRAYS))
    return data, {**batch, **tree_map(lambda a: a[begin:end, ...], by_sample)}


def _take_samples(xp: Any, data: Tree, batch: Tree, names: tuple[str, ...]) -> Tree:
    """The arrays of these names of a batch's samples, those that there are."""
    kind = batch_kind(batch)
    arrays = _select(data if kind.resident else batch, names)
    if kind is BatchKind.INDICES:
        return {name: xp.take(a, batch["indices"], axis=0) for name, a in arrays.items()}
    return arrays


def _select(tree: Tree, names: tuple[str, ...]) -> Tree:
    return {name: tree[name] for name in names if name in tree}
