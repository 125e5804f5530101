"""The one door to data: a name, a file or a folder comes in, checked parts with one class map go out."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from nnbackprop._safe_open import open_file
from nnbackprop.errors import DataError

from . import bundled, download, people
from .check import check
from .dataset import Splits
from .labels import to_splits
from .readers import csv, folder, idx, mat, npz
from .split import split as stratified
from .table import Tables

NAMES: dict[str, Callable[[], Tables]] = {
    "mnist": bundled.mnist,
    "mnist-20x20": lambda: Tables(bundled.mnist_20x20()),
    "weight-height": lambda: Tables(people.read()),
    "fashion-mnist": lambda: download.read(download.FASHION_MNIST),
    "kmnist": lambda: download.read(download.KMNIST),
}
FORMATS = "IDX or IDX.gz, .csv, .npz, images.npy beside labels.npy, .mat (version 5)"


def load(
    spec: str | Path, *, test_fraction: float = 0.2, seed: int = 0, split: bool = True, strict: bool = True
) -> Splits:
    """The train and test parts of a data set given by name (see NAMES) or by the path of a file or folder.

    A source of one table is split by `test_fraction`, class by class, drawn by `seed`; with split=False it
    is kept whole, without a test part. strict=False leaves out `check`, to open data that training refuses:
    inputs may then hold NaN, and labels that are no whole numbers are classes named after themselves.
    A name wins over a file of that name; write ./mnist for the latter.
    Raises DataError for anything that cannot be read, UsageError for a fraction outside 0..1.
    """
    tables = read(spec)
    if strict:
        check(tables)
    splits = to_splits(tables)
    if splits.test is not None or not split:
        return splits
    return Splits(*stratified(splits.train, test_fraction, seed))


def read(spec: str | Path) -> Tables:
    """The tables of a source as they are found, unjudged and unsplit."""
    if isinstance(spec, str) and spec in NAMES:
        return NAMES[spec]()
    try:
        path = Path(spec).expanduser()
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:  # longer than the system allows, or in the home of nobody
        raise DataError(f"{str(spec)[:80]!r} cannot be the name of a file: {error}.") from error
    if not is_there:
        raise DataError(_unknown(str(spec), path))
    return folder.read(path, read_file) if is_folder else read_file(path)


def read_file(path: Path) -> Tables:
    """The tables of a file, whose format is told from its first bytes; partners are found by their names."""
    head = _head(path)
    if head[:2] == idx.GZIP or (head[:2] == b"\0\0" and head[2:3] and head[2] in idx.TYPES):
        return Tables(idx.read_table(*_partners(path)))
    if head[:4] == b"PK\x03\x04":
        return npz.read_npz(path)
    if head[:6] == b"\x93NUMPY":
        return Tables(npz.read_pair(*_partners(path)))
    if head[:6] == b"MATLAB" or mat.is_hdf5(path) or path.suffix.lower() == ".mat":
        return Tables(mat.read(path))
    if b"\0" in head:
        raise DataError(f"{path}: is of no format known here: it begins with {head[:8]!r}. Known are {FORMATS}.")
    return Tables(csv.read(path))


def _head(path: Path) -> bytes:
    try:
        with open_file(path) as stream:
            return stream.read(512)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


def _partners(path: Path) -> tuple[Path, Path]:
    """The files of images and of labels, of which `path` is one and the other lies beside it."""
    kinds = {"images": "idx3", "labels": "idx1"}
    for mine, other in (("images", "labels"), ("labels", "images")):
        if mine in path.name:
            partner = path.with_name(path.name.replace(mine, other).replace(kinds[mine], kinds[other]))
            if not partner.is_file():
                raise DataError(f"{path}: holds {mine} alone; their {other} should lie in {partner}.")
            return (path, partner) if mine == "images" else (partner, path)
    raise DataError(
        f"{path}: is one array of a pair; its name must hold 'images' or 'labels', so that the other is found."
    )


def _unknown(spec: str, path: Path) -> str:
    near = difflib.get_close_matches(spec, NAMES, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return (
        f"{spec!r} is no data set's name ({', '.join(NAMES)}), and no such file or folder exists: "
        f"{path.absolute()}.{hint}"
    )
