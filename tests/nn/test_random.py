"""Dropout masks: the known answers of Threefry2x32-13, and the same bits on every backend and under tracing.

The judge of whole masks is the paper's algorithm in Python integers, written here a second time.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backends
from nnbackprop._random import threefry_key
from nnbackprop.errors import UsageError
from nnbackprop.nn.rng import RngKey, quantize_rate, threefry

WORD = 0xFFFFFFFF

# Random123's kat_vectors for threefry2x32, 13 rounds: counter, key, words
KNOWN = [
    ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    ((WORD, WORD), (WORD, WORD), (0xFD36D048, 0x2D17272C)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
]


def reference_words(c: tuple[int, int], k: tuple[int, int]) -> tuple[int, int]:
    """Threefry2x32-13 as Salmon et al. (SC'11) print it, every operation modulo 2^32."""

    def rotl(x: int, n: int) -> int:
        return ((x << n) | (x >> (32 - n))) & WORD

    schedule = [k[0], k[1], 0x1BD11BDA ^ k[0] ^ k[1]]
    x = [(c[0] + schedule[0]) & WORD, (c[1] + schedule[1]) & WORD]
    for done, n in enumerate((13, 15, 26, 6, 17, 29, 16, 24, 13, 15, 26, 6, 17), start=1):
        x[0] = (x[0] + x[1]) & WORD
        x[1] = rotl(x[1], n) ^ x[0]
        if done % 4 == 0:
            s = done // 4
            x = [(x[0] + schedule[s % 3]) & WORD, (x[1] + schedule[(s + 1) % 3] + s) & WORD]
    return x[0], x[1]


@lru_cache(maxsize=64)
def reference_kept(
    seed: int, layer: int, step: int, first_row: int, rows: int, width: int, level: int
) -> np.ndarray:
    """Which elements of a mask live, one by one: half, sign and threshold, in Python integers."""
    digest = hashlib.blake2b(f"{seed}/{layer}/dropout".encode(), digest_size=8).digest()
    k = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
    q = math.ceil(width / 4)
    kept = np.zeros((rows, 4 * q), bool)
    for r in range(rows):
        for c in range(q):
            w0, w1 = reference_words((((first_row + r) * q + c) & WORD, step & WORD), k)
            halves = w0 >> 16, w1 >> 16, w0 & 0xFFFF, w1 & 0xFFFF
            for part, half in enumerate(halves):
                signed = half - 65536 if half >= 32768 else half
                kept[r, part * q + c] = signed >= level - 32768
    return kept[:, :width]


def draw_mask(backend, shape, rate=0.4, dtype="float64", seed=1, step=7, first_row=0, layer=2) -> np.ndarray:
    draw = RngKey(seed, backend.asarray(np.asarray(step, np.int32)), first_row, str(layer))
    return backend.to_numpy(draw.dropout_mask(backend.xp, shape, rate, getattr(backend.xp, dtype)))


def signed(*words: int) -> tuple[int, ...]:
    return tuple(word - (1 << 32) if word >> 31 else word for word in words)


@pytest.mark.parametrize(("counter", "k", "words"), KNOWN)
@pytest.mark.parametrize("n", [1, 10_000])  # few elements run plain, many through the library's fuser
def test_known_answers(backend, counter, k, words, n):
    c0, c1 = (backend.asarray(np.full(n, c, np.int32)) for c in signed(*counter))
    got = backend.xp.fuse(threefry)(c0, c1, *signed(*k))
    for word, want in zip(got, (*words, *(word << 16 & WORD for word in words)), strict=True):
        word = backend.to_numpy(word)
        assert word.dtype == np.int32
        assert set(word.view(np.uint32).tolist()) == {want}


def test_the_judge_knows_the_answers():
    for counter, k, words in KNOWN:
        assert reference_words(counter, k) == words


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [784, 10, 7, 1, 33])
def test_masks_are_the_judges_bit_for_bit(backend, dtype, width):
    mask = draw_mask(backend, (120, width), dtype=dtype)
    level = round(0.4 * 65536)
    kept = reference_kept(1, 2, 7, 0, 120, width, level)
    want = np.where(kept, np.asarray(65536 / (65536 - level), dtype), np.asarray(0, dtype))
    assert mask.dtype == want.dtype
    assert mask.tobytes() == want.tobytes()


def test_one_whole_mask_is_pinned(backend):
    """(120, 784) at rate 0.4, seed 1, layer 2, step 7; the digest is that of the judge's mask as well."""
    pinned = "2a23149124431c7dcd5f07b45fd9dd41ebf777b0f97167a2c9586f1e9a9bc47d"
    kept = reference_kept(1, 2, 7, 0, 120, 784, round(0.4 * 65536))
    assert hashlib.sha256(kept.tobytes()).hexdigest() == pinned
    assert hashlib.sha256((draw_mask(backend, (120, 784)) > 0).tobytes()).hexdigest() == pinned


@pytest.mark.parametrize("width", [784, 9])
def test_a_mask_is_the_masks_of_its_shards_stacked(backend, width):
    whole = draw_mask(backend, (120, width))
    halves = [draw_mask(backend, (60, width), first_row=first_row) for first_row in (0, 60)]
    assert np.array_equal(whole, np.concatenate(halves))
    thirds = [
        draw_mask(backend, (rows, width), first_row=first_row) for rows, first_row in ((1, 0), (77, 1), (42, 78))
    ]
    assert np.array_equal(whole, np.concatenate(thirds))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 5),
    width=st.integers(1, 21),
    first_row=st.integers(0, 10**6),
    step=st.integers(0, 2**31 - 1),
    seed=st.integers(-(2**70), 2**70),
    layer=st.integers(0, 50),
    rate=st.floats(0, 65535 / 65536),
)
def test_any_mask_is_the_judges(rows, width, first_row, step, seed, layer, rate):
    mask = draw_mask(
        backends.NumpyBackend(), (rows, width), rate, seed=seed, step=step, first_row=first_row, layer=layer
    )
    assert np.array_equal(mask > 0, reference_kept(seed, layer, step, first_row, rows, width, round(rate * 65536)))


@pytest.mark.parametrize(
    ("rate", "level"),
    [(0.0, 0), (0.5, 32768), (0.1, 6554), (1e-6, 0), (1 / 65536, 1), (65535 / 65536, 65535)],
)
def test_survivors_are_scaled_by_the_rate_that_is_drawn(backend, rate, level):
    """The threshold and the scale use one quantized rate, so the mask's expectation is 1 exactly."""
    assert quantize_rate(rate) == level
    mask = draw_mask(backend, (400, 512), rate)
    assert set(np.unique(mask)) <= {0.0, 65536 / (65536 - level)}
    assert (level == 0) == bool(np.all(mask == 1.0))


@pytest.mark.parametrize("rate", [1.0, 0.999999, 65535.5 / 65536, -0.1, 1.5, math.nan, math.inf, -1e-9])
def test_rates_that_leave_nothing_or_make_no_sense_are_refused(rate):
    with pytest.raises(UsageError, match="dropout rate"):
        quantize_rate(rate)
    with pytest.raises(UsageError, match="dropout rate"):
        draw_mask(backends.NumpyBackend(), (2, 3), rate)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.9])
def test_every_lane_keeps_its_share(rate):
    """Binomial counts within five standard deviations, over all and for each of the four parts of a row."""
    mask = draw_mask(backends.NumpyBackend(), (1000, 512), rate) > 0
    p = 1 - quantize_rate(rate) / 65536
    for part in (mask, *np.split(mask, 4, axis=1)):
        deviation = math.sqrt(part.size * p * (1 - p))
        assert abs(part.sum() - part.size * p) < 5 * deviation


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"step": 8}, {"layer": 3}, {"first_row": 1000}], ids=lambda other: next(iter(other))
)
def test_masks_of_other_seeds_steps_layers_and_rows_are_independent(other):
    """Agreement of two fair independent masks is a fair coin an element: within five standard deviations."""
    one = draw_mask(backends.NumpyBackend(), (1000, 256), 0.5) > 0
    two = draw_mask(backends.NumpyBackend(), (1000, 256), 0.5, **other) > 0
    assert abs((one == two).sum() - one.size / 2) < 5 * math.sqrt(one.size / 4)


def test_neighbours_within_a_mask_are_independent():
    mask = draw_mask(backends.NumpyBackend(), (1000, 256), 0.5) > 0
    pairs = [(mask[1:], mask[:-1]), *((mask[:, k:], mask[:, :-k]) for k in (1, 64, 128, 192))]
    for one, two in pairs:
        assert abs((one == two).sum() - one.size / 2) < 5 * math.sqrt(one.size / 4)


def test_at_extends_the_path_alone():
    key = RngKey(3, np.asarray(5, np.int32), first_row=60)
    assert key.child(4) == RngKey(3, key.step, 60, "4")
    assert key.child(4).child(0) == RngKey(3, key.step, 60, "4.0")


def test_a_mask_for_images_is_the_mask_of_their_rows(backend):
    assert np.array_equal(draw_mask(backend, (5, 3, 4, 2)).reshape(5, 24), draw_mask(backend, (5, 24)))


def test_keys_are_signed_words_of_blake2b():
    digest = hashlib.blake2b(b"9/3/dropout", digest_size=8).digest()
    assert np.array_equal(np.asarray(threefry_key(9, 3, "dropout"), "<i4"), np.frombuffer(digest, "<i4"))


def test_the_step_may_be_traced():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    backend = backends.select("jax")

    def mask(step):
        return RngKey(1, step, 0, "2").dropout_mask(backend.xp, (120, 784), 0.4, backend.xp.float32)

    traced = jax.jit(mask)(backend.asarray(np.asarray(7, np.int32)))
    kept = reference_kept(1, 2, 7, 0, 120, 784, round(0.4 * 65536))
    assert np.array_equal(backend.to_numpy(traced) > 0, kept)


def test_the_compiled_rounds_give_the_plain_bits():
    """numba computes int32 sums in 64 bits; the rounds are right modulo 2^32 all the same."""
    pytest.importorskip("numba", reason="numba is not installed")
    rng = np.random.default_rng(0)
    c0, c1 = rng.integers(-(2**31), 2**31, (2, 1 << 16), dtype=np.int32)
    k = signed(0xDEADBEEF, 0x7FFFFFFF)
    fused = backends.NumpyBackend().xp.fuse(threefry)(c0, c1, *k)
    for word, want in zip(fused, threefry(np, c0, c1, *k), strict=True):
        assert word.dtype == np.int32
        assert np.array_equal(word, want)
