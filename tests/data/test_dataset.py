"""A Dataset refuses what is no data set, and a split keeps every class's fraction, by seed alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbackprop.data import Dataset, Splits, permutation, split
from nnbackprop.data.split import stratified_counts
from nnbackprop.errors import DataError, UsageError

LETTERS = tuple("abcdefgh")


def numbered_samples(counts: list[int], features: int = 2) -> Dataset:
    """A set whose sample i holds the number i, with classes interleaved by a fixed stride."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    labels = labels[np.argsort(np.arange(len(labels)) * 7 % 11, kind="stable")]
    inputs = np.repeat(np.arange(len(labels), dtype=np.float64)[:, None], features, axis=1)
    return Dataset(inputs, labels, LETTERS[: len(counts)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": np.zeros(4)}, r"shape \(4,\); \(samples, features\)"),
        ({"inputs": np.zeros((0, 2))}, "at least one of each"),
        ({"inputs": [[1, 2], [3]] * 2}, "inputs of type list are no array of numbers"),
        ({"inputs": [["a"]] * 4}, "inputs are of type <U1; real numbers are needed"),
        ({"targets": np.zeros((4, 1), np.int32)}, r"int32 of shape \(4, 1\); integers of shape \(4,\)"),
        ({"targets": np.zeros(3, np.int32)}, r"\(3,\)"),
        ({"targets": np.zeros(4)}, "float64 of shape .*; integers of shape"),
        ({"targets": np.array([0, 1, 2, 0], np.int32)}, r"0\.\.2.*2 classes"),
        ({"targets": np.array([0, -1, 1, 0], np.int32)}, r"-1\.\.1"),
        ({"classes": (), "targets": np.zeros((4, 2), np.int8) - 1}, r"int8 of shape \(4, 2\), without classes"),
        ({"classes": (), "targets": np.zeros((4, 1, 1))}, r"floats of shape \(4, k\)"),
        ({"classes": (), "targets": np.zeros((3, 1))}, r"floats of shape \(4, k\)"),
        ({"classes": (), "targets": [0.0, 1.0, np.nan, np.inf]}, "targets of sample 2 are not finite"),
        ({"weights": np.ones(3)}, r"weights are float64 of shape \(3,\); numbers of shape \(4,\)"),
        ({"weights": [1, 1, 1, -1]}, r"weights lie in -1\.\.1"),
        ({"weights": [0, 0, 0, 0]}, "sum to 0; finite weights of at least 0 with a positive sum"),
        ({"weights": [1e-46] * 4}, "positive sum are needed, also in float32"),
        ({"weights": [1e39] * 4}, "positive sum are needed, also in float32"),
        ({"weights": [1, 1, 1, np.nan]}, "sum to nan"),
        ({"weights": [1, 1, 1, np.inf]}, "sum to inf"),
        ({"image_shape": (3, 3)}, r"image_shape is \(3, 3\) and a sample has 2 features"),
        ({"image_shape": 2}, "image_shape is 2 and a sample has 2 features"),
        ({"classes": 2}, "classes are 2; names are needed"),
        ({"classes": (1, "1")}, "classes are called 1 more than once"),
    ],
)
def test_a_faulty_dataset_is_refused_when_built(changes: dict, words: str) -> None:
    good = {"inputs": np.zeros((4, 2)), "targets": np.array([0, 1, 1, 0], np.int32), "classes": ("0", "1")}
    Dataset(**good)
    with pytest.raises(DataError, match=words):
        Dataset(**(good | changes))


def test_lists_and_other_dtypes_are_converted_exactly() -> None:
    data = Dataset([[1, 2], [255, 0]], [0, 1], ["a", "b"], weights=[1, 2])
    assert (data.inputs.dtype, data.targets.dtype, data.weights.dtype) == (np.uint8, np.int32, np.float64)
    assert data.inputs.tolist() == [[1, 2], [255, 0]]
    assert (data.targets.tolist(), data.classes, data.weights.tolist()) == ([0, 1], ("a", "b"), [1, 2])
    assert Dataset(np.array([[-1], [2**24]]), [0, 0], ("a",)).inputs.dtype == np.float32
    assert Dataset(np.array([[-1], [2**24 + 1]]), [0, 0], ("a",)).inputs.tolist() == [[-1], [2**24 + 1]]
    assert Dataset(np.zeros((2, 4)).T, [0.5] * 4).inputs.flags.c_contiguous


@pytest.mark.parametrize(
    ("targets", "classes", "labels"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        ([3, 10, 3], ("3", "10"), [0, 1, 0]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (np.array(["dog", "cat", "dog"], object), ("cat", "dog"), [1, 0, 1]),
    ],
)
def test_classes_are_found_where_they_are_left_out(targets: Any, classes: tuple[str, ...], labels: list) -> None:
    data = Dataset(np.zeros((3, 2)), targets)
    assert (data.classes, data.targets.tolist(), data.targets.dtype) == (classes, labels, np.int32)
    assert data.task == "classification"


def test_columns_of_0_and_1_are_several_labels() -> None:
    data = Dataset(np.zeros((3, 2)), [[0, 1], [1, 1], [0, 0]])
    assert (data.task, data.targets.dtype, data.classes) == ("multilabel", np.float32, ())
    assert Dataset(np.zeros((3, 2)), [0.5, 1, 2]).task == "regression"


def test_a_frame_names_the_features() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1, 2]}, index=[7, 8, 9])
    data = Dataset(frame, pandas.Series(["x", "y", "x"], index=[7, 8, 9]))
    assert (data.feature_names, data.classes, data.inputs.tolist()) == (
        ("a", "b"),
        ("x", "y"),
        frame.values.tolist(),
    )
    with pytest.raises(DataError, match=r"column 'c' is text.*nb\.load\(frame, target=\.\.\.\)"):
        Dataset(frame.assign(c="red"), [0, 1, 0])
    with pytest.raises(DataError, match="row 1, column 'b': the value is missing"):
        Dataset(frame.assign(b=[1, None, 2]), [0, 1, 0])


def test_targets_without_classes_are_numbers() -> None:
    column = Dataset(np.zeros((3, 2)), [0.5, 1.5, -2.0])
    assert (column.targets.shape, column.target_shape, column.classes) == ((3, 1), (1,), ())
    assert column.counts().tolist() == []
    rows = Dataset(np.zeros((3, 2)), np.arange(6, dtype=np.float32).reshape(3, 2))
    assert (rows.targets.dtype, rows.target_shape) == (np.float32, (2,))
    with pytest.raises(DataError, match="0 classes where 2 are needed"):
        column.with_classes(("a", "b"))


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((6,), None), ((2, 3), (2, 3)), ((2, 3, 1), (2, 3)), ((2, 3, 3), (2, 3, 3)), ((2, 3, 4), None)],
)
def test_samples_keep_their_shape(shape: tuple[int, ...], image_shape: tuple[int, int] | None) -> None:
    data = Dataset(np.arange(4.0 * np.prod(shape)).reshape(4, *shape), [0] * 4, ("a",))
    assert (data.sample_shape, data.n_features, data.image_shape) == (shape, np.prod(shape), image_shape)
    assert data.take(np.array([2])).inputs.tolist() == [data.inputs[2].tolist()]
    if image_shape:
        flat = Dataset(data.inputs.reshape(4, -1), data.targets, ("a",), image_shape)
        assert data.image(1).tolist() == flat.image(1).tolist() == data.inputs[1].reshape(image_shape).tolist()
    else:
        with pytest.raises(DataError, match="not images"):
            data.image(0)


def test_parts_must_belong_together() -> None:
    with pytest.raises(DataError, match=r"sample_shape is \(2,\) in memory, \(3,\) in memory"):
        Splits(numbered_samples([4, 4]), numbered_samples([4, 4], features=3))
    with pytest.raises(DataError, match="classes"):
        Splits(numbered_samples([4, 4]), numbered_samples([4, 4, 4]))
    with pytest.raises(DataError, match=r"target_shape is \(1,\) in memory, \(2,\) in memory"):
        Splits(Dataset(np.zeros((2, 1)), np.zeros((2, 1))), Dataset(np.zeros((2, 1)), np.zeros((2, 2))))


def test_take_copies_rows_in_the_order_asked() -> None:
    data = numbered_samples([3, 3])
    part = data.take(np.array([4, 0]))
    part.inputs[:] = -1
    assert data.inputs[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    weighted = Dataset(data.inputs, data.targets, data.classes, weights=np.arange(6))
    assert weighted.take(np.array([4, 0])).inputs[:, 0].tolist() == [4, 0]
    assert weighted.take(np.array([4, 0])).weights.tolist() == [4, 0]
    assert np.array_equal(data.take(np.array([4, 0])).targets, data.targets[[4, 0]])


def test_with_classes_maps_labels_by_class_name() -> None:
    data = Dataset(np.zeros((3, 1)), np.array([0, 2, 1], np.int32), ("7", "8", "9"))
    moved = data.with_classes(("9", "8", "7", "0"))
    assert [moved.classes[k] for k in moved.targets] == ["7", "9", "8"]
    with pytest.raises(DataError, match="classes 9, which"):
        data.with_classes(("7", "8"))
    unused = Dataset(np.zeros((2, 1)), np.array([0, 0], np.int32), ("7", "8"))
    assert unused.with_classes(("6", "7")).targets.tolist() == [1, 1]


@pytest.mark.parametrize("seed", [1, 3])
def test_split_takes_each_class_by_the_shuffle_and_keeps_order(seed: int) -> None:
    data = numbered_samples([40, 10, 20])
    rest, part = split(data, 0.2, seed)
    order = permutation(seed, -1, 70).tolist()
    expected = []
    for label, count in enumerate((8, 2, 4)):
        expected += [i for i in order if data.targets[i] == label][:count]
    assert part.inputs[:, 0].tolist() == sorted(expected)
    assert rest.inputs[:, 0].tolist() == sorted(set(range(70)) - set(expected))
    assert np.array_equal(rest.targets, data.targets[rest.inputs[:, 0].astype(int)])


def test_split_of_numbers_takes_the_first_of_the_shuffle_with_their_weights() -> None:
    numbers = np.arange(10.0)
    rest, part = split(Dataset(numbers[:, None], numbers, weights=numbers), 0.3, seed=3)
    assert part.targets[:, 0].tolist() == sorted(permutation(3, -1, 10)[:3].tolist())
    assert sorted([*part.weights, *rest.weights]) == numbers.tolist()
    assert np.array_equal(rest.inputs, rest.targets)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.integers(1, 99).map(lambda percent: percent / 100),
)
def test_every_class_gives_its_fraction_up_to_rounding(counts: list[int], fraction: float) -> None:
    drawn_counts = stratified_counts(np.array(counts), fraction).tolist()
    exact = Fraction(round(fraction * 100), 100)
    for count, drawn in zip(counts, drawn_counts, strict=True):
        assert abs(drawn - count * exact) < 1
        assert drawn < count
    assert sum(drawn_counts) <= round(sum(counts) * exact)
    if all(count * (1 - exact) >= 1 for count in counts):  # no class's last sample was asked for
        assert sum(drawn_counts) == round(sum(counts) * exact)


def test_counts_of_decimal_fractions_are_exact() -> None:
    assert stratified_counts(np.array([100, 100]), 0.29).tolist() == [
        29,
        29,
    ]  # 0.29 * 100 is 28.999999999999996 in floats


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_fraction_outside_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        split(numbered_samples([5, 5]), fraction, 0)


def test_a_part_that_would_be_empty_is_refused() -> None:
    for counts, fraction in (([5, 5], 0.01), ([1, 1, 1], 0.5)):
        with pytest.raises(DataError, match="leaves that part empty"):
            split(numbered_samples(counts), fraction, 0)


def test_masked_values_are_refused() -> None:
    masked = np.ma.masked_equal(np.array([[1.0, 2], [-9999, 3]]), -9999)
    with pytest.raises(
        DataError, match=r"inputs are a masked array, and 1 of its values are masked.*inputs\.filled"
    ):
        Dataset(masked, ["a", "b"])
    with pytest.raises(DataError, match="targets are a masked array"):
        Dataset(np.ones((2, 2)), np.ma.masked_equal([1, 2], 2))
    assert Dataset(np.ma.masked_equal(np.ones((2, 2)), 0), ["a", "b"]).inputs.tolist() == [[1, 1], [1, 1]]
