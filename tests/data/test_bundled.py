"""The embedded sets are what the literature says they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import bundled as embedded
from nnbackprop.data import fit_scaling, load
from nnbackprop.errors import DataError

# LeCun et al.; the counts stand in many a paper, mean and std in every PyTorch example.
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


def test_mnist_has_the_published_sizes_and_counts(mnist) -> None:
    assert mnist.train.inputs.shape == (60_000, 784)
    assert mnist.test.inputs.shape == (10_000, 784)
    assert mnist.train.counts().tolist() == TRAIN_COUNTS
    assert mnist.test.counts().tolist() == TEST_COUNTS
    assert mnist.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.train.classes == tuple("0123456789")
    assert mnist.train.inputs.dtype == np.uint8
    assert mnist.train.image_shape == (28, 28)


def test_mnist_has_the_published_mean_and_deviation(mnist) -> None:
    scaling = fit_scaling("standard", mnist.train)
    assert round(float(-scaling.shift / scaling.scale) / 255, 4) == 0.1307
    assert round(float(1 / scaling.scale) / 255, 4) == 0.3081


def test_mnist_is_upright(mnist) -> None:
    ones = mnist.train.inputs[mnist.train.targets == 1].reshape(-1, 28, 28).mean(axis=0)
    at = np.arange(28)
    rows, columns = ones.sum(axis=1), ones.sum(axis=0)
    assert np.cov(at, aweights=rows) > 3 * np.cov(at, aweights=columns)  # a one is taller than wide


def test_crops_are_laid_out_as_ex4data1() -> None:
    x, y = embedded.ex4_arrays(embedded.mnist().train)
    assert x.shape == (5000, 400)
    assert x.dtype == np.float64
    assert (x.min(), x.max()) == (0, 1)
    assert y.shape == (5000, 1)
    assert y[:, 0].tolist() == [label for label in (10, *range(1, 10)) for _ in range(500)]


def test_crops_read_back_are_the_centres_of_the_first_500_of_each_digit(mnist) -> None:
    data = load("mnist-20x20", split=False).train
    assert load("mnist-20x20", split=False).test is None
    assert data.classes == ("1", "2", "3", "4", "5", "6", "7", "8", "9", "0")
    assert data.counts().tolist() == [500] * 10
    digits = np.array([int(data.classes[k]) for k in data.targets])
    for digit in range(10):
        source = mnist.train.inputs[mnist.train.targets == digit][:500].reshape(-1, 28, 28)[:, 4:-4, 4:-4]
        ours = data.inputs[digits == digit].reshape(-1, 20, 20)
        assert np.array_equal(ours, source / 255)
        assert not np.array_equal(ours, source.transpose(0, 2, 1) / 255)
    assert any("column by column" in note for note in data.notes)
    assert any("sorted by class" in note for note in data.notes)


def test_weight_height_has_four_people() -> None:
    splits = load("weight-height", split=False)
    assert splits.test is None
    assert splits.train.inputs.tolist() == [[-2, -1], [25, 6], [17, 4], [-15, -6]]
    assert splits.train.targets.tolist() == [1, 0, 0, 1]
    assert splits.train.classes == ("M", "F")


def test_a_changed_mnist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in embedded.DIGESTS:
        (tmp_path / name).write_bytes((embedded.FOLDER / name.replace("train", "t10k")).read_bytes())
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"train-images.*do not have SHA-256"):
        load("mnist")


def test_the_licence_lies_beside_the_files() -> None:
    text = (embedded.FOLDER / "LICENSE").read_text()
    for word in ("CC BY-SA 3.0", "LeCun", "Cortes", "Burges", *embedded.DIGESTS.values()):
        assert word in text
