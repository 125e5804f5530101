"""The order of samples: one shuffle per epoch, the same on every machine and backend."""

from __future__ import annotations

import numpy as np

from nnbackprop._random import philox


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the int64 permutation of 0 .. n-1 that belongs to (seed, epoch), drawn on the host.

    It is the stable argsort of n raw 64-bit words of Philox4x64-10, which NumPy promises never to change
    (`Generator.permutation` may change between versions). Two words are equal with a probability of n^2 / 2^65;
    they keep their order.
    """
    return np.argsort(philox(seed, epoch, "shuffle").random_raw(n), kind="stable").astype(np.int64)
