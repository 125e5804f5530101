"""Keys of the random streams: every random number is a function of a seed, a place and a purpose.

The place is a layer's path in its network ("2", or "2.0" in a nested one) for weights and dropout masks, the
number of the epoch for shuffles (-1 for a split), "" for augmentation in training and "evaluation" for that of
evaluations. So resuming, replaying and sharding are exact, on every library.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache

import numpy as np


def philox(seed: int, place: str | int, purpose: str) -> np.random.Philox:
    """Philox4x64-10 under a 128-bit key: NumPy promises that its words never change."""
    return np.random.Philox(key=int.from_bytes(_digest(seed, place, purpose, 16), "little"))


@lru_cache(maxsize=1024)
def threefry_key(seed: int, place: str | int, purpose: str) -> tuple[int, int]:
    """The two key words of a Threefry2x32 stream, as signed 32-bit numbers."""
    k0, k1 = struct.unpack("<ii", _digest(seed, place, purpose, 8))
    return k0, k1


def _digest(seed: int, place: str | int, purpose: str, size: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{place}/{purpose}".encode(), digest_size=size).digest()
