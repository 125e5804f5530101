""".mat files as SciPy writes them; ex4data1's layout comes out upright, with 10 called zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io.matlab
from scipy.io import loadmat, savemat
from scipy.io.matlab import MatlabObject
from scipy.sparse import csc_array

from nnbackprop.data import load
from nnbackprop.data.readers import mat
from tests.support.data_files import assert_refused, write_file

RNG = np.random.default_rng(4)
UPRIGHT = RNG.random((40, 20, 20))
DIGITS = np.arange(40) % 10
LABELS = np.where(DIGITS == 0, 10, DIGITS)
COLUMNS = np.stack([image.ravel(order="F") for image in UPRIGHT])  # what MATLAB's img(:)' is


def ex4(path: Path, **changes: np.ndarray) -> Path:
    savemat(path, {"X": COLUMNS, "y": LABELS[:, None].astype(np.uint8)} | changes)
    return path


@pytest.mark.parametrize("y", [LABELS[:, None].astype(np.uint8), LABELS[None, :].astype(float)])
def test_the_layout_of_ex4data1_comes_out_upright(tmp_path: Path, y: np.ndarray) -> None:
    train = load(ex4(tmp_path / "ex4data1.mat", y=y), split=False).train
    assert np.array_equal(train.inputs.reshape(UPRIGHT.shape), UPRIGHT)
    assert not np.array_equal(train.inputs, COLUMNS)
    assert np.array_equal(train.image(3), UPRIGHT[3])
    assert train.classes == ("1", "2", "3", "4", "5", "6", "7", "8", "9", "0")
    assert [train.classes[k] for k in train.targets] == [str(digit) for digit in DIGITS]
    assert any("column by column" in note for note in train.reader_notes)
    assert any("from 1 to 10" in note for note in train.reader_notes)


@pytest.mark.parametrize(
    ("changes", "image_shape", "classes"),
    [({"y": DIGITS[:, None]}, (20, 20), range(10)), ({"X": COLUMNS[:, :21]}, None, range(1, 11))],
    ids=["SciPy's rows with labels from 0", "ten classes that are no images"],
)
def test_other_layouts_stay_as_they_are(
    tmp_path: Path, changes: dict, image_shape: tuple[int, int] | None, classes: range
) -> None:
    train = load(ex4(tmp_path / "x.mat", **changes), split=False).train
    assert np.array_equal(train.inputs, changes.get("X", COLUMNS))
    assert train.image_shape == image_shape
    assert train.classes == tuple(map(str, classes))


def test_samples_along_the_last_axis_are_found_by_the_number_of_labels(tmp_path: Path) -> None:
    """As in the Street View House Numbers: X (32, 32, 3, n), y (n, 1) with 10 for zero."""
    images = RNG.integers(0, 256, (20, 32, 32, 3), np.uint8)
    labels = np.arange(20) % 10 + 1
    savemat(tmp_path / "svhn.mat", {"X": np.moveaxis(images, 0, -1), "y": labels[:, None].astype(np.uint8)})
    train = load(tmp_path / "svhn.mat", split=False).train
    assert train.image_shape == (32, 32, 3)
    assert train.inputs.dtype == np.uint8
    assert np.array_equal(train.image(7), images[7])
    assert [train.classes[k] for k in train.targets] == [str(label % 10) for label in labels]
    assert "samples lay along the last axis of (32, 32, 3, 20)" in train.reader_notes
    grey = np.moveaxis(images[..., 0], 0, -1)
    savemat(tmp_path / "grey.mat", {"X": grey, "y": np.arange(20) % 3})
    train = load(tmp_path / "grey.mat", split=False).train
    assert (train.image_shape, train.classes) == ((32, 32), ("0", "1", "2"))
    assert np.array_equal(train.image(7), images[7, ..., 0])


def test_other_versions_say_how_to_convert(tmp_path: Path) -> None:
    for userblock in (b"", b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512)):
        assert_refused(write_file(tmp_path / "x.mat", userblock + mat.HDF5 + bytes(100)), r"7\.3 \(HDF5\).*'-v7'")
    savemat(tmp_path / "x.mat", {"X": COLUMNS, "y": DIGITS}, format="4")
    assert_refused(tmp_path / "x.mat", r"no header of a .mat file of version 5.*'-v7'")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"X": COLUMNS}, "holds X; X .m, features. and y"),
        ({"images": COLUMNS, "y": DIGITS}, "holds images, y; X"),
        ({"X": COLUMNS, "y": np.array([{}, "a"], object)}, "y is a cell array; a plain array"),
        ({"X": {"a": COLUMNS}, "y": DIGITS}, "X is a struct"),
        ({"X": MatlabObject(np.array([(1.0,)], [("a", float)]), "thing"), "y": DIGITS}, "X is an object"),
        ({"X": csc_array(COLUMNS), "y": DIGITS}, "X is a sparse matrix"),
        ({"X": COLUMNS + 1j, "y": DIGITS}, "X is complex"),
        ({"X": COLUMNS, "y": "words"}, "y is text"),
        ({"X": COLUMNS, "y": DIGITS[:7]}, r"40 images but labels of shape \(1, 7\)"),
        ({"X": np.where(COLUMNS > 0.9, np.nan, COLUMNS), "y": DIGITS}, r"not finite, the first \(nan\)"),
        ({"X": COLUMNS, "y": DIGITS + 0.5}, "label 0.5 of sample 0 is not a whole number"),
    ],
)
def test_other_contents_are_refused_by_name(tmp_path: Path, variables: dict, words: str) -> None:
    for compressed in (False, True):
        savemat(tmp_path / "x.mat", variables, do_compression=compressed)
        assert_refused(tmp_path / "x.mat", words)


def test_files_of_matlab_5_3_to_8_are_read_as_scipy_reads_them() -> None:
    """SciPy's tests bring files of MATLAB 5.3 to 8, little and big-endian, compressed and not."""
    folder = Path(scipy.io.matlab.__file__).parent / "tests" / "data"
    files = [
        path
        for kind in ("double", "matrix", "minus", "multi", "3dmatrix")
        for path in folder.glob(f"test{kind}_[6-8]*")
    ]
    if len(files) < 18:
        pytest.skip("this SciPy was installed without its test data")
    for path in files:
        expected = loadmat(path)
        variables = mat.read_variables(path)
        assert variables
        for name, array in variables.items():
            assert np.array_equal(array, expected[name])
            assert array.dtype == np.float64


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_class_of_numbers_is_read(tmp_path: Path, dtype: str, compressed: bool) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    savemat(tmp_path / "x.mat", {"other": "text", "a": values}, do_compression=compressed)
    array = mat.read_variables(tmp_path / "x.mat")["a"]
    assert array.dtype == dtype
    assert np.array_equal(array, values)


def test_damage_is_refused(tmp_path: Path) -> None:
    whole = ex4(tmp_path / "x.mat").read_bytes()
    for content in (b"", whole[:60], whole[:200], whole[: len(whole) // 2], whole[:128] + bytes(range(256)) * 4):
        assert_refused(write_file(tmp_path / "x.mat", content))
    large = whole[:132] + (2**31).to_bytes(4, "little") + whole[136:]  # the size of the first variable
    assert_refused(write_file(tmp_path / "x.mat", large), "claims 2147483648 bytes, more than there are")


@pytest.mark.parametrize("shape", [(40,), (40, 1), (1, 40), (40, 2)])
def test_amounts_are_read_by_the_task_that_the_error_names(tmp_path: Path, shape: tuple[int, ...]) -> None:
    amounts = RNG.random(shape)
    path = ex4(tmp_path / "x.mat", y=amounts)
    if shape != (40, 2):
        assert_refused(path, "is not a whole number.*task='regression'")
    train = load(path, task="regression", split=False).train
    assert np.array_equal(train.inputs, COLUMNS)
    assert np.array_equal(train.targets, amounts.reshape(40, -1))
