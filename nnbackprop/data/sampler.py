"""The order samples are visited in: one shuffle an epoch, the same on every machine and backend."""

from __future__ import annotations

import hashlib

import numpy as np


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the int64 permutation of 0 .. n-1 that belongs to (seed, epoch), drawn on the host.

    It is the stable argsort of n raw 64-bit words of Philox4x64-10, which NumPy promises never to change
    (`Generator.permutation` may change between versions). Equal words are a chance of n^2 / 2^65; they keep
    their order.
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/shuffle".encode(), digest_size=16).digest()
    words = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64)
