"""Initial weights: their distributions against theory, their keys, and the words that make them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import (
    INITIALIZERS,
    FanOutNormal,
    Glorot,
    He,
    Initializer,
    InitRng,
    LeCun,
    Normal,
    Uniform,
    Zeros,
    parse_initializer,
)
from nnbackprop.nn.layers import Conv2D

FAN_IN, FAN_OUT = 400, 150

# word, what it makes, its distribution, variance by the paper
TABLE = [
    ("he-normal", He("normal"), "normal", 2 / FAN_IN),
    ("he-uniform", He("uniform"), "uniform", 2 / FAN_IN),
    ("glorot-normal", Glorot("normal"), "normal", 2 / (FAN_IN + FAN_OUT)),
    ("glorot-uniform", Glorot("uniform"), "uniform", 2 / (FAN_IN + FAN_OUT)),
    ("lecun-normal", LeCun("normal"), "normal", 1 / FAN_IN),
    ("lecun-uniform", LeCun("uniform"), "uniform", 1 / FAN_IN),
    ("fan-out-normal", FanOutNormal(), "normal", 1 / FAN_OUT),
    ("normal:1", Normal(std=1.0), "normal", 1.0),
    ("normal:0.25", Normal(std=0.25), "normal", 0.0625),
    ("uniform:0.12", Uniform(0.12), "uniform", 0.12**2 / 3),
]
SCALED = [(word, distribution, variance) for word, _, distribution, variance in TABLE]
WORDS = [*(row[0] for row in TABLE), "normal:0.5:2", "zeros"]


def draw(word: str, dtype: str = "float64", seed: int = 0, layer: int = 0) -> np.ndarray:
    return parse_initializer(word)(InitRng(seed, str(layer)), (FAN_IN, FAN_OUT), dtype)


@pytest.mark.parametrize(("word", "distribution", "variance"), SCALED)
def test_the_distribution_is_the_papers(word, distribution, variance):
    """The mean square within five of its standard deviations, and Kolmogorov-Smirnov on the whole shape."""
    w = draw(word).ravel()
    fourth = 3 if distribution == "normal" else 9 / 5  # E w^4 / (E w^2)^2
    deviation = math.sqrt((fourth - 1) / w.size)
    assert abs(np.mean(w**2) / variance - 1) < 5 * deviation
    limit = math.sqrt(3 * variance)
    law = stats.norm(0, math.sqrt(variance)) if distribution == "normal" else stats.uniform(-limit, 2 * limit)
    assert stats.kstest(w, law.cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("word", "limit"), [(word, math.sqrt(3 * v)) for word, kind, v in SCALED if kind == "uniform"]
)
def test_uniform_weights_fill_their_range_and_never_leave_it(word, limit):
    """Of n numbers the largest comes within 20 limit / n of the limit, but for a chance of exp(-10)."""
    w = draw(word)
    assert -limit <= w.min() < w.max() < limit
    assert max(limit - w.max(), limit + w.min()) < 20 * limit / w.size


def test_a_mean_shifts_the_normal():
    assert np.array_equal(draw("normal:0.5:2"), 2 + draw("normal:0.5"))


def test_zeros_are_zeros():
    assert not draw("zeros").any()
    assert Zeros()(InitRng(), (7,), "float32").shape == (7,)


@pytest.mark.parametrize("word", WORDS)
def test_both_dtypes_begin_at_the_same_numbers(word):
    wide, narrow = draw(word, "float64"), draw(word, "float32")
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    assert narrow.shape == (FAN_IN, FAN_OUT)
    assert np.array_equal(wide.astype("float32"), narrow)


@pytest.mark.parametrize("word", [word for word in WORDS if word != "zeros"])
def test_streams_repeat_and_differ_by_seed_and_layer(word):
    assert np.array_equal(draw(word), draw(word))
    for other in (draw(word, seed=1), draw(word, layer=1)):
        assert not np.any(draw(word) == other)


def test_streams_of_other_seeds_and_paths_are_uncorrelated():
    """The correlation of n independent pairs is normal with deviation n^-1/2."""
    n = 100_000
    keys = [(0, "0"), (1, "0"), (0, "1"), (0, "0.0"), (0, "10"), (10, "0"), (-1, "0")]
    streams = np.stack([InitRng(*key).normal(size=n) for key in keys])
    off_diagonal = np.corrcoef(streams) - np.eye(len(keys))
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(n)


def test_a_generator_is_philox_under_a_blake2b_key():
    """So a stream can be made again without this package."""
    for rng, key in ((InitRng(7).child(2), b"7/2/weights"), (InitRng(7).child(2).child(0), b"7/2.0/weights")):
        digest = hashlib.blake2b(key, digest_size=16).digest()
        want = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(5)
        assert np.array_equal(rng.random(5), want)


@pytest.mark.parametrize(
    ("word", "want"),
    [*(row[:2] for row in TABLE), ("normal:0.5:-3", Normal(std=0.5, mean=-3.0)), ("zeros", Zeros())],
)
def test_words_make_initializers(word, want):
    assert parse_initializer(word) == want


def test_every_word_of_the_table_has_a_test():
    assert {word.split(":")[0] for word in WORDS} == set(INITIALIZERS)


@pytest.mark.parametrize(
    "word",
    [
        *("", "he", "xavier", "he-normal:2", "fan-out-normal:1", "zeros:1"),
        *("uniform", "uniform:", "uniform:0", "uniform:-1", "uniform:nan", "uniform:1:2"),
        *("normal", "normal:a", "normal:0", "normal:1:inf", "normal:1:2:3"),
    ],
)
def test_words_that_cannot_be_are_refused(word):
    with pytest.raises(UsageError) as error:
        parse_initializer(word)
    assert "initializer" in str(error.value) or "weights need" in str(error.value)


@pytest.mark.parametrize("make", [He, Glorot, LeCun, FanOutNormal])
def test_a_distribution_that_is_neither_is_refused(make):
    with pytest.raises(UsageError, match="'normal' or 'uniform'"):
        make("gaussian")


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (Glorot(), 2 / (5 * 3 * (16 + 64))),
        (Glorot("uniform"), 2 / (5 * 3 * (16 + 64))),
        (FanOutNormal(), 1 / (5 * 3 * 64)),
        (He(), 2 / (5 * 3 * 16)),
        (LeCun(), 1 / (5 * 3 * 16)),
        (Normal(0.5), 0.25),
    ],
    ids=repr,
)
def test_the_fans_of_a_convolution_count_its_kernel(init: Initializer, variance: float) -> None:
    """As PyTorch's xavier_normal_ and kaiming_normal_ and Keras's initializers have them."""
    params, _ = Conv2D(64, (5, 3), weight_init=init).build(InitRng(0, "0"), (9, 9, 16), "float64")
    deviation = math.sqrt(2 / params["W"].size)  # of a normal's mean square; a uniform's is less
    assert abs(np.mean(params["W"] ** 2) / variance - 1) < 5 * deviation


@pytest.mark.parametrize("shape", [(5,), (), (2, 3, 4), (0, 3), (3, 0)])
@pytest.mark.parametrize("make", [He, Glorot, LeCun, FanOutNormal])
def test_fans_need_a_matrix(make, shape):
    with pytest.raises(ShapeError, match="fan_in, fan_out"):
        make()(InitRng(), shape, "float64")
