"""Memory limit of a file: the sizes that its header claims are checked before any memory is allocated.

The limit is the environment variable NNBACKPROP_MAX_BYTES, or 4 GiB. Readers allocate at most four times as much
at their peak, a copy and a conversion included.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from nnbackprop.errors import DataError, NnbackpropError, UsageError

ENVIRONMENT_VARIABLE = "NNBACKPROP_MAX_BYTES"
DEFAULT_MAX_BYTES = 4 * 2**30
SAMPLE_BYTES = 64  # of a sample besides its inputs: its label, its class, its place in a permutation
MAX_LABEL_LENGTH = 128  # characters: an array of text is as wide as its longest element
JSON_GROWTH = 16  # bytes reserved for one of JSON, which may take four times that: `{"":` is a dict of over 200
DEFLATE_RATIO = 1032  # deflate cannot expand further (RFC 1951), so a larger claim is false


@dataclass
class MemoryBudget:
    """Bytes reserved for the file `source` before each allocation; `error` is raised beyond the limit."""

    source: str
    reserved: int = 0
    error: type[NnbackpropError] = DataError

    def reserve(self, size: int) -> None:
        """Reserve `size` more bytes."""
        self.reserved += size
        if self.reserved > (limit := max_bytes()):
            raise self.error(
                f"{self.source}: would take {self.reserved:,} bytes of memory, and one file may take {limit:,}. "
                f"If you trust the file, set {ENVIRONMENT_VARIABLE}={self.reserved} in the environment."
            )

    def reserve_array(self, shape: Sequence[int], dtype: np.dtype) -> None:
        """Reserve an array and its conversion: signed and wide integers become floats."""
        wide = np.result_type(dtype, np.float32) if dtype.kind in "iu" and dtype != np.uint8 else dtype
        self.reserve(math.prod(shape) * wide.itemsize + max(shape, default=1) * SAMPLE_BYTES)


def max_bytes() -> int:
    """The limit of one file; UsageError if the environment variable is not a positive integer."""
    value = os.environ.get(ENVIRONMENT_VARIABLE) or str(DEFAULT_MAX_BYTES)
    if not (value.isdecimal() and len(value) <= 19 and int(value) > 0):
        raise UsageError(
            f"{ENVIRONMENT_VARIABLE} is {value!r} in the environment; a number of bytes such as "
            f"{DEFAULT_MAX_BYTES} is needed."
        )
    return int(value)


def format_names(names: Iterable[str], most: int = 10) -> str:
    """The first names from a file, for a message; control characters are escaped."""
    escaped = [name if name.isprintable() else ascii(name) for name in islice(names, most + 1)]
    return ", ".join(escaped[:most]) + (" ..." if len(escaped) > most else "") or "nothing"
