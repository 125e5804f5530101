"""The shuffle of an epoch: a permutation, keyed by seed and epoch, pinned against Philox's raw words."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from nnbackprop.data.sampler import permutation


@pytest.mark.parametrize("n", [0, 1, 2, 5000, 60_000])
def test_a_shuffle_is_a_permutation(n):
    order = permutation(3, 1, n)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize("other", [(3, 2), (4, 1), (1, 3), (31, 1), (-3, 1)])
def test_other_epochs_and_seeds_give_other_orders(other):
    """Two independent orders agree in Poisson(1) places: more than 20 is a chance below 1e-19."""
    assert (permutation(3, 1, 5000) == permutation(*other, 5000)).sum() <= 20


def test_a_shuffle_is_the_argsort_of_philox_words():
    digest = hashlib.blake2b(b"42/7/shuffle", digest_size=16).digest()
    words = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(1000)
    want = sorted(range(1000), key=lambda i: (int(words[i]), i))
    assert permutation(42, 7, 1000).tolist() == want


def test_philox_gives_the_words_of_the_paper():
    """Random123's known answer for philox4x64, 10 rounds, counter and key zero: NumPy counts from 1, so set -1."""
    words = np.random.Philox(key=0, counter=2**256 - 1).random_raw(4)
    want = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert words.tolist() == want


def test_every_position_is_equally_likely():
    """Over 2,000 epochs the mean place of a sample is normal about the middle, its deviation n / sqrt(12 k)."""
    n, epochs = 50, 2000
    places = np.mean([np.argsort(permutation(0, epoch, n)) for epoch in range(epochs)], axis=0)
    assert np.abs(places - (n - 1) / 2).max() < 5 * math.sqrt((n * n - 1) / 12 / epochs)
