"""How much memory a file may take: what its header claims is checked against one limit before any is taken.

The limit is the environment variable NNBACKPROP_MAX_BYTES, for a file that is large and trusted, or 4 GiB.
Readers take at most four times as much at their peak, a copy and a conversion included.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nnbackprop.errors import DataError, NnbackpropError, UsageError

VARIABLE = "NNBACKPROP_MAX_BYTES"
DEFAULT = 4 * 2**30
SAMPLE_BYTES = 64  # for a row besides its values: its label, the class of that, a place in an order
LONGEST_LABEL = 128  # characters: labels are kept side by side, each as wide as the longest
MAX_NAMES = 10
JSON_GROWTH = 16  # a quarter of what a byte of JSON may become: `{"":` is a dict of 200 bytes and more
DEFLATE_RATIO = 1032  # deflate cannot expand further (RFC 1951), so a larger claim is false


@dataclass
class Budget:
    """Memory that the file `source` takes, counted before each array is made; `error` is raised beyond it."""

    source: str
    taken: int = 0
    error: type[NnbackpropError] = DataError

    def take(self, size: int) -> None:
        """Count `size` more bytes; the error, telling the limit and how to raise it, where that is too much."""
        self.taken += size
        if self.taken > (most := max_bytes()):
            raise self.error(
                f"{self.source}: would take {self.taken:,} bytes of memory, and one file may take {most:,}. "
                f"If you trust the file, set {VARIABLE}={self.taken} in the environment."
            )

    def take_array(self, shape: Sequence[int], dtype: np.dtype) -> None:
        """Count an array with what becomes of it: signed and wide integers are floats in the end."""
        wide = np.result_type(dtype, np.float32) if dtype.kind in "iu" and dtype != np.uint8 else dtype
        self.take(math.prod(shape) * wide.itemsize + max(shape, default=1) * SAMPLE_BYTES)


def max_bytes() -> int:
    """The limit of one file; UsageError if the environment does not set it to a whole number above 0."""
    words = os.environ.get(VARIABLE) or str(DEFAULT)
    if not (words.isdecimal() and len(words) <= 19 and int(words) > 0):
        raise UsageError(
            f"{VARIABLE} is {words!r} in the environment; a number of bytes such as {DEFAULT} is needed."
        )
    return int(words)


def listed(names: Iterable[str]) -> str:
    """Names from a file, for a message: at most ten, and no control characters."""
    shown = [name if name.isprintable() else ascii(name) for name in names]
    return ", ".join(shown[:MAX_NAMES]) + (" ..." if len(shown) > MAX_NAMES else "") or "nothing"
