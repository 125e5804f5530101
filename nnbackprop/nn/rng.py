"""Random numbers that are the same bits on every library: a counter-based generator in int32 operators.

A dropout mask depends on its rate, on (seed, path of the layer, step, row, column) and on how many columns there
are, and on nothing else, so resuming, sharding and replaying are exact. So they are with augmentation, whose
numbers come from streams of their own. Threefry2x32 with 13 rounds, the fewest that pass BigCrush: Salmon, Moraes,
Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends import Array, device_of
from nnbackprop._random import threefry_key
from nnbackprop.errors import UsageError

KEY_SCHEDULE_PARITY = 0x1BD11BDA
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
ROUNDS = 13
RATE_LEVELS = 1 << 16
"""A rate is a multiple of 1 / RATE_LEVELS: each element of a mask is decided by 16 random bits."""


def quantize_rate(rate: float) -> int:
    """Return `rate` in units of 1 / RATE_LEVELS, rounded to the nearest (ties to even), in 0 .. RATE_LEVELS - 1.

    Raises:
        UsageError: the rate is not in 0 <= rate < 1, or rounds to 1, where no unit would survive.
    """
    level = round(rate * RATE_LEVELS) if 0 <= rate < 1 else RATE_LEVELS
    if level == RATE_LEVELS:
        raise UsageError(
            f"A dropout rate must be at least 0 and below 1; got {rate!r}. Rates are rounded to multiples of "
            f"1/{RATE_LEVELS}, and one that rounds to 1 would leave no unit alive: use a smaller rate."
        )
    return level


def threefry(
    xp: Any, c0: Array, c1: Array, k0: int, k1: int, begin: int | Array = 0
) -> tuple[Array, Array, Array, Array]:
    """Encrypt the counter (begin + c0, c1) under the key (k0, k1): an elementwise kernel for `xp.fuse`, all int32.

    Returns the two words, and both again with their lower halves at the top. Every operator is right modulo 2^32
    whatever stands above bit 31 (a right shift keeps only bits that came from below 32), so a fuser that computes
    in wider integers and stores int32 gives the same words.
    """
    keys = (k0, k1, k0 ^ k1 ^ KEY_SCHEDULE_PARITY)
    x0, x1 = c0 + begin + k0, c1 + k1
    for r in range(ROUNDS):
        k = ROTATIONS[r % 8]
        x0 = x0 + x1
        x1 = ((x1 << k) | ((x1 >> (32 - k)) & ((1 << k) - 1))) ^ x0
        if r % 4 == 3:
            i = r // 4 + 1
            x0 = x0 + keys[i % 3]
            x1 = x1 + keys[(i + 1) % 3] + i
    return x0, x1, x0 << 16, x1 << 16


def scaled_mask(xp: Any, bits: Array, threshold: int, scale: Array) -> Array:
    """`scale` where the random bits are at least the threshold, else 0: an elementwise kernel."""
    return xp.astype(bits >= threshold, scale.dtype) * scale


@dataclass(frozen=True)
class RngKey:
    """The random stream of one step, at one layer; each layer of a training step gets its own.

    `step` is a 0-d int32 array on the device (it may be traced), or (k,) for the masks of k batches one after the
    other. `first_row` is the row of the whole batch at which this shard or microbatch begins, a number or, where a
    compiled step serves several, a 0-d int32 array; `path` is the layer's place in the network: "2", or "2.0" in a
    nested one; "" for augmentation in training, "evaluation" for that of evaluations. `precomputed_masks` has, by
    path, the masks that `Sequential.precompute` made ahead.
    """

    seed: int
    step: Array
    first_row: int | Array = 0
    path: str = ""
    precomputed_masks: Mapping[str, Array] | None = None

    def child(self, i: int) -> RngKey:
        """The key of child `i` of the layer at this path, as JAX's `fold_in`."""
        path = f"{self.path}.{i}" if self.path else str(i)
        return RngKey(self.seed, self.step, self.first_row, path, self.precomputed_masks)

    def dropout_mask(self, xp: Any, shape: tuple[int, ...], rate: float, dtype: Any) -> Array:
        """Inverted-dropout mask: 0 with probability p, else 1 / (1 - p), p = round(rate 2^16) / 2^16.

        An element is kept if its number of `uniform_int16` is at least p 2^16 - 2^15. `shape` is
        (rows, *sample_shape); UsageError as of `quantize_rate`.
        """
        if self.precomputed_masks and self.path in self.precomputed_masks:
            return self.precomputed_masks[self.path]
        level = quantize_rate(rate)
        # a half at the top of its word compares as the 16-bit number would, against a threshold moved up too
        threshold = (level - RATE_LEVELS // 2) * RATE_LEVELS
        bits = self._high_bits(xp, shape[0], math.prod(shape[1:]), "dropout")
        scale = xp.full((), RATE_LEVELS / (RATE_LEVELS - level), dtype=dtype, device=device_of(self.step))
        mask = xp.fuse(scaled_mask)(bits, threshold, scale)
        return mask if mask.shape == shape else xp.reshape(mask, shape)

    def uniform_int16(self, xp: Any, rows: int, width: int, purpose: str) -> Array:
        """Uniform whole numbers in -2^15 .. 2^15 - 1, int32 (rows, width), of the stream of this purpose.

        One call of the generator gives the 16 bits of four elements of a row, q = ceil(width / 4) columns apart:
        those of (row, column) are half number column // q of counter ((first_row + row) q + column % q, step).
        The halves are word 0 high, word 1 high, word 0 low, word 1 low: signed 16-bit numbers.
        """
        return xp.reshape(self._high_bits(xp, rows, width, purpose) >> 16, (rows, width))

    def _high_bits(self, xp: Any, rows: int, width: int, purpose: str) -> Array:
        """int32 with the numbers of `uniform_int16` on top: (rows, width) or (k, rows / k, width) of k batches."""
        batches = self.step.shape  # () or (k,)
        rows, q = rows // math.prod(batches), -(-width // 4)
        counter = xp.reshape(xp.arange(rows * q, dtype=xp.int32, device=device_of(self.step)), (rows, q))
        step = xp.broadcast_to(xp.reshape(self.step, (*batches, 1, 1)), (*batches, rows, q))
        key = threefry_key(self.seed, self.path, purpose)
        words = xp.fuse(threefry)(counter, step, *key, self.first_row * q)
        return xp.concat(words, axis=len(batches) + 1)[..., :width]
