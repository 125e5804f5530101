"""Loading data by the name of a set or by a path: checked parts with one class map."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from nnbackprop.errors import DataError

from . import bundled, download
from .dataset import Splits
from .labels import to_splits
from .readers.paths import read_file, read_folder
from .split import split as stratified
from .table import Tables, check

NAMES: dict[str, Callable[[], Tables]] = {
    "mnist": bundled.mnist,
    "mnist-20x20": lambda: Tables(bundled.mnist_20x20()),
    "weight-height": lambda: Tables(bundled.weight_height()),
    "fashion-mnist": lambda: download.read(download.FASHION_MNIST),
    "kmnist": lambda: download.read(download.KMNIST),
}


def load(
    spec: str | Path, *, test_fraction: float = 0.2, seed: int = 0, split: bool = True, strict: bool = True
) -> Splits:
    """The train and test parts of a data set given by name (see NAMES) or by the path of a file or folder.

    A source of one table is split by `test_fraction`, class by class, drawn by `seed`; with split=False it
    is kept whole, without a test part. strict=False leaves out `check`, to open data that training refuses:
    inputs may then hold NaN, and labels that are not whole numbers are classes named after themselves.
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
    """The tables of a source as they are found, unchecked and unsplit."""
    if isinstance(spec, str) and spec in NAMES:
        return NAMES[spec]()
    try:
        path = Path(spec).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:  # longer than the system allows, or in the home of nobody
        raise DataError(f"{str(spec)[:80]!r} cannot be the name of a file: {error}.") from error
    if not exists:
        near = difflib.get_close_matches(str(spec), NAMES, 1)
        raise DataError(
            f"{str(spec)!r} is not the name of a data set ({', '.join(NAMES)}), and no such file or folder "
            f"exists: {path.absolute()}.{f' Did you mean {near[0]}?' if near else ''}"
        )
    return read_folder(path) if is_folder else read_file(path)
