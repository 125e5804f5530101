"""The bundled data sets are what the literature says they are."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import bundled, fit_scaling, load

# LeCun et al.; the counts stand in many a paper, mean and std in every PyTorch example.
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
DIGESTS = {  # SHA-256 of the decompressed files, as published with many copies of MNIST
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
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
    x, y = bundled.ex4_arrays(bundled.mnist().train)
    assert (x.shape, x.dtype, x.min(), x.max(), y.shape) == ((5000, 400), np.float64, 0, 1, (5000, 1))
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
    assert any("column by column" in note for note in data.reader_notes)
    assert any("sorted by class" in note for note in data.reader_notes)


def test_weight_height_has_four_people() -> None:
    splits = load("weight-height", split=False)
    assert splits.test is None
    assert splits.train.inputs.tolist() == [[-2, -1], [25, 6], [17, 4], [-15, -6]]
    assert splits.train.targets.tolist() == [1, 0, 0, 1]
    assert splits.train.classes == ("M", "F")


def test_mnist_files_and_their_licence_have_the_published_digests() -> None:
    licence = (bundled.FOLDER / "LICENSE").read_text(encoding="utf-8")
    for name, digest in DIGESTS.items():
        assert hashlib.sha256(gzip.decompress((bundled.FOLDER / name).read_bytes())).hexdigest() == digest
        assert digest in licence
    assert all(words in licence for words in ("CC BY-SA 3.0", "LeCun", "Cortes", "Burges"))


def test_iris_is_scikit_learns() -> None:
    datasets = pytest.importorskip(
        "sklearn.datasets", reason="sklearn, which has Fisher's values, is not installed"
    )
    theirs, ours = datasets.load_iris(), load("iris", split=False).train
    np.testing.assert_array_equal(ours.inputs, theirs.data.astype(np.float32))
    assert [ours.classes[k] for k in ours.targets] == [theirs.target_names[k] for k in theirs.target]
    assert ours.feature_names == ("sepal_length", "sepal_width", "petal_length", "petal_width")
    assert (ours.source, ours.target_names) == ("iris (bundled)", ("species",))


def test_house_prices_are_what_the_script_makes() -> None:
    path = Path(__file__).parents[2] / "scripts" / "make_house_prices.py"
    spec = importlib.util.spec_from_file_location("make_house_prices", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.table() == (bundled.TABLES / "house-prices.csv").read_text(encoding="utf-8")
    houses = load("house-prices", split=False).train
    assert (len(houses), houses.task, houses.target_names) == (2000, "regression", ("price",))
    assert 15_000 < houses.targets.min() < houses.targets.max() < 3_000_000
