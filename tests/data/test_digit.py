"""Pictures of digits become what MNIST's are: the facts of MNIST itself, and its digits drawn and photographed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

import nnbackprop as nb
from nnbackprop.data import Dataset, digit, load
from nnbackprop.errors import DataError

TEST = load("mnist").test
RNG = np.random.default_rng(3)
BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


def drawn(i: int, side: int = 200, resampling: Image.Resampling = BICUBIC) -> np.ndarray:
    """MNIST's test digit i in black on white, (side, side)."""
    return 255 - np.asarray(Image.fromarray(TEST.image(i)).resize((side, side), resampling))


def photographed(i: int, rng: np.random.Generator) -> np.ndarray:
    """The digit somewhere on a page under uneven light, blurred and noisy, beside a strip of a dark table."""
    side = int(rng.integers(90, 180))
    page = np.zeros((320, 240))
    top, left = rng.integers(10, 320 - side - 10), rng.integers(20, 240 - side - 10)
    page[top : top + side, left : left + side] = (255 - drawn(i, side)) / 255
    y, x = np.mgrid[0:1:320j, 0:1:240j]
    photo = (0.55 + 0.3 * x - 0.2 * y + 0.1 * x * y) * (1 - 0.75 * page) + rng.normal(0, 0.02, page.shape)
    photo[:, :8] = 0.1
    pixels = Image.fromarray((255 * photo.clip(0, 1)).astype(np.uint8))
    return np.asarray(pixels.filter(ImageFilter.GaussianBlur(1)))


def prepared(picture: np.ndarray, shape: tuple[int, int] = (28, 28)) -> np.ndarray:
    return digit.to_mnist_digit(picture, None, shape)[-1].picture


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_mnist_fits_into_20_x_20_and_its_mass_lies_in_the_pixel_past_the_middle() -> None:
    """What `fit` and `centre` do, seen in the data."""
    for i in range(1000):
        image = TEST.image(i)
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == digit.BOX
        mass = ndimage.center_of_mass(image)
        assert [math.floor(place + 0.5) for place in mass] == [14, 14]


def test_a_mnist_digit_cut_out_and_centred_is_itself() -> None:
    for i in range(100):
        image = TEST.image(i) / 255
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.array_equal(digit.centre(ink), image)
        if image.max() == 1:
            assert np.allclose(digit.fit(ink), ink, rtol=0, atol=1e-6)


@pytest.mark.parametrize("resampling", [NEAREST, BICUBIC])
def test_digits_drawn_black_on_white_go_back_to_nearly_their_own_pixels(resampling: Image.Resampling) -> None:
    """A mass near the edge of a pixel may come to lie in the next: such a digit is moved by one."""
    direct, moved = [], []
    for i in range(100):
        image, back = TEST.image(i), prepared(drawn(i, 200, resampling))
        shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        direct.append(correlation(image, back))
        moved.append(max(correlation(image, np.roll(back, shift, (0, 1))) for shift in shifts))
    assert np.mean(direct) > 0.95
    assert np.median(direct) > 0.975
    assert np.mean(np.array(moved) > 0.95) >= 0.9


@pytest.fixture(scope="module")
def trainer() -> nb.Trainer:
    train = load("mnist").train
    layers = nb.Dense(64), nb.ReLU(), nb.Dense(10)
    scaling = nb.fit_scaling("standard", train)
    trainer = nb.Trainer(
        nb.Sequential(*layers),
        nb.SoftmaxCrossEntropy(),
        nb.Adam(),
        lr=0.002,
        batch_size=100,
        epochs=2,
        scaling=scaling,
    )
    trainer.fit(train)
    return trainer


@pytest.mark.parametrize("kind", ["drawn", "white on black", "photographed"])
def test_a_trained_network_gives_pictures_of_digits_their_class(trainer: nb.Trainer, kind: str) -> None:
    rng = np.random.default_rng(0)
    pictures = {
        "drawn": drawn,
        "white on black": lambda i: 255 - drawn(i, 90),
        "photographed": lambda i: photographed(i, rng),
    }
    inputs = np.stack([255 * prepared(pictures[kind](i)).reshape(-1) for i in range(100)])
    of_originals = trainer.predict(TEST.inputs[:100])
    assert np.mean(trainer.predict(inputs) == of_originals) >= 0.95
    if kind == "white on black":
        return
    resized = [np.asarray(Image.fromarray(pictures[kind](i)).resize((28, 28))).reshape(-1) for i in range(100)]
    assert np.mean(trainer.predict(np.stack(resized)) == of_originals) < 0.5  # what preparing is for


def test_steps_have_their_pictures_and_say_what_was_done() -> None:
    steps = digit.to_mnist_digit(drawn(3), None)
    assert [step.name for step in steps] == ["grey", "inverted", "ink", "cropped", "fitted", "centred"]
    assert [steps[i].picture.shape for i in (0, 1, 2, 5)] == [(200, 200)] * 3 + [(28, 28)]
    assert max(steps[4].picture.shape) == 20
    assert steps[1].note == "inverted, as its ink is dark on paper of brightness 1.00"
    assert all(step.picture.min() >= 0 and step.picture.max() == 1 for step in steps)
    assert [step.name for step in digit.to_mnist_digit(255 - drawn(3), None)] == [
        "grey",
        "ink",
        "cropped",
        "fitted",
        "centred",
    ]


def test_the_inner_20_x_20_is_that_of_28_x_28() -> None:
    assert np.array_equal(prepared(drawn(5), (20, 20)), prepared(drawn(5))[4:24, 4:24])


def test_a_picture_of_the_right_size_is_left_or_only_inverted() -> None:
    image = TEST.image(0)
    assert [step.name for step in digit.to_mnist_digit(image, None)] == ["grey"]
    assert np.array_equal(prepared(image), image / 255)
    assert np.allclose(prepared(255 - image), image / 255, rtol=0, atol=1e-15)


@pytest.mark.parametrize("brightness", [0, 255])
def test_transparent_ink_is_found_whether_black_or_white(brightness: int) -> None:
    opacity = 255 - drawn(4)
    steps = digit.to_mnist_digit(np.full_like(opacity, brightness), opacity)
    assert np.allclose(steps[-1].picture, prepared(drawn(4)), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((28, 28)), "is blank"),
        (np.full((50, 40), 255.0), "is blank"),
        (np.full((50, 40), 200.0) + RNG.normal(0, 2, (50, 40)), "is blank"),
        (np.full((90, 90), 150.0) + RNG.normal(0, 12, (90, 90)), "is blank"),
        (np.pad(np.full((90, 90), 255.0), 2), "has ink on 9[0-9]% of it"),
    ],
)
def test_pictures_without_a_digit_are_refused(picture: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        prepared(picture.clip(0, 255).astype(np.uint8))
    assert "--" not in str(error.value)  # an option is of the command that has it


def test_specks_and_what_reaches_in_from_the_edge_are_erased() -> None:
    clean = drawn(7)
    dirty = clean.copy()
    dirty[10:13, 20:23] = 0
    dirty[:4, :] = 90
    assert np.allclose(prepared(dirty), prepared(clean), rtol=0, atol=0.02)


def test_connected_strokes_are_those_that_scipy_labels() -> None:
    for density in (0.1, 0.4, 0.6):
        mask = RNG.random((40, 50)) < density
        ours, theirs = digit._connected(mask), ndimage.label(mask, np.ones((3, 3)))[0]
        pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
        assert len(pairs) == len(np.unique(ours)) == len(np.unique(theirs))


def test_otsu_separates_two_normal_distributions() -> None:
    values = np.concatenate([RNG.normal(0.2, 0.05, 4000), RNG.normal(0.8, 0.05, 1000)])
    assert 0.35 < digit.otsu(values) < 0.65


def test_digits_of_mnist_are_known_and_other_sets_are_not() -> None:
    mnist = load("mnist").train
    assert digit.is_mnist_like(mnist)
    assert digit.is_mnist_like(load("mnist-20x20").train)
    sevens = mnist.inputs[np.isin(mnist.targets, (0, 7))][:100]
    assert digit.is_mnist_like(Dataset(sevens, np.zeros(100, np.int32), ("0", "7"), (28, 28)))
    names = tuple("abcdefghij")
    filled = np.where(mnist.inputs.reshape(-1, 28, 28) == 0, 90, 0).astype(np.uint8)[:500].reshape(500, -1)
    for inputs, classes in (
        (mnist.inputs[:500], names),
        (255 - mnist.inputs[:500], mnist.classes),
        (filled, mnist.classes),
    ):
        assert not digit.is_mnist_like(Dataset(inputs, mnist.targets[:500], classes, (28, 28)))
