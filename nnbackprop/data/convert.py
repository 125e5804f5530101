"""A table as a pair of .npy files, which training maps: written a block of rows at a time, whole or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnbackprop.errors import DataError, ImageSizesError, LabelError, UsageError

from .column_roles import ColumnRoles, check_targets, choose_roles, require_targets
from .limits import SAMPLE_BYTES, MemoryBudget, format_names
from .preprocessing import Preprocessing
from .raw import choose_task, integer_labels
from .readers import npz
from .readers.blocks import read_blocks
from .readers.image import Content, parse_size, quiet, read, read_header
from .table import DataOptions, Table
from .tabular import class_names, targets_of

Reader = Callable[[Table], np.ndarray]


@dataclass
class Converted:
    """What was written to `folder`: inputs (n, *sample_shape), with what the target was and why.

    `names_task` says whether training must be told the task, as the values in the folder do not show it.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    roles: ColumnRoles
    names_task: bool


def convert(path: Path, folder: Path, options: DataOptions) -> Converted:
    """Write features of a table to X.npy and its targets to y.npy; of images, to images.npy and labels.npy.

    Targets are class labels (n,), numbers (n,) float64, or (n, k) float64 or, of several labels, uint8. Target,
    features and task are chosen by the first rows. The table is read twice: to check it, and to write it.
    Features must be numbers without missing ones, uint8 in the end if all are, else float32 (float64 where that
    would lose digits); or one column of PNG, JPEG, BMP or WebP files. Raises DataError for any other.
    """
    if options.missing != "error" or options.sample_weight is not None:
        raise UsageError(
            "data convert writes numbers and targets as they are: missing and sample_weight are fitted or "
            "used in training. Leave them out, and rows with missing values too."
        )
    if (absolute := Path(os.path.abspath(folder))) == Path.cwd():
        raise UsageError(
            f"{folder} is the current folder, and the one that is written is new: name one within it."
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: name a folder that is not, or is empty.")
    rows = _check(path, options)
    temporary = absolute.with_name(f".{absolute.name}.{os.getpid()}.tmp")
    names = ("images.npy", "labels.npy") if rows.images else ("X.npy", "y.npy")
    shape = (len(rows.targets), *rows.sample_shape)
    try:
        temporary.mkdir(parents=True)
        with (temporary / names[1]).open("wb") as stream:
            npz.write_array(stream, rows.targets.shape, rows.targets.dtype, [rows.targets])
        with (temporary / names[0]).open("wb") as stream:
            blocks = map(rows.read, read_blocks(path, options))
            npz.write_array(stream, shape, rows.dtype, _unchanged(blocks, shape, rows.dtype))
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()  # Windows renames to no folder that is there, an empty one included
        temporary.rename(folder)
    except OSError as error:
        size = math.prod(shape) * rows.dtype.itemsize
        raise DataError(
            f"{folder} could not be written ({error.strerror or error}): it takes {size:,} bytes; see that "
            "there is space and that you may write there. Nothing was left behind."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    names_task = choose_task(rows.targets, np.empty((shape[0], 0), rows.dtype))[0] != rows.roles.task
    return Converted(folder, shape, rows.dtype, rows.roles, names_task)


@dataclass
class _Rows:
    """What the first reading found: the form of the samples, and all targets."""

    roles: ColumnRoles
    images: bool
    read: Reader
    sample_shape: tuple[int, ...]
    dtype: np.dtype
    targets: np.ndarray


def _check(path: Path, options: DataOptions) -> _Rows:
    """Read all blocks; DataError at the first row that cannot be written."""
    roles: ColumnRoles | None = None
    targets: list[np.ndarray] = []
    images: _Images | None = None
    names: dict[str, None] = {}  # of the classes, in the order in which they occur
    wide, whole_bytes, budget = False, True, MemoryBudget(str(path))
    for table in read_blocks(path, options):
        if roles is None:
            roles = _roles(table, options)
            images = _Images.of(table, roles, options)
        require_targets(table, roles.targets)
        targets.append(_targets(table, roles, names))
        budget.reserve(targets[-1].nbytes + len(table) * SAMPLE_BYTES)
        if images is not None:
            images.check(table)
            continue
        fitted = Preprocessing.fit(table, roles)
        if fitted.categories:
            raise DataError(
                f"{path}: column {next(iter(fitted.categories))!r} is text, and .npy files hold numbers: leave it "
                "out with drop, or train on the table itself, where text becomes categories."
            )
        wide |= bool(fitted.offsets) or _beyond_float32(table, roles)
        whole_bytes &= table.is_bytes(roles.features)
    assert roles is not None
    every = np.concatenate(targets)
    if names:
        labels = np.array(list(names))
        numbers = integer_labels(labels)
        labels = labels if numbers is None else numbers
        budget.reserve(len(every) * labels.itemsize)
        every = labels[every]
    if images is not None:
        return _Rows(roles, True, images.read, images.shape, np.dtype(np.uint8), every)
    dtype = np.dtype(np.uint8 if whole_bytes else np.float64 if wide else np.float32)
    features = roles.features

    def read_numbers(table: Table) -> np.ndarray:
        return np.ascontiguousarray(table.select(features).to_numpy(), dtype)

    return _Rows(roles, False, read_numbers, (len(features),), dtype, every)


def _beyond_float32(table: Table, roles: ColumnRoles) -> bool:
    numbers = table.select(roles.features).to_numpy()
    return bool(numbers.dtype == np.float64 and np.abs(numbers).max() > np.finfo(np.float32).max)


def _roles(table: Table, options: DataOptions) -> ColumnRoles:
    roles = choose_roles(table, options)
    if roles.task == "multilabel" and len(roles.targets) == 1:
        raise LabelError(
            f"{table.source}: one target of 0 and 1, {roles.targets[0]!r}, is two classes, and multilabel is for "
            "several at once. Leave task out, or name the others by target."
        )
    return roles


def _targets(table: Table, roles: ColumnRoles, names: dict[str, None]) -> np.ndarray:
    """Indices of classes, whose `names` are added; numbers of a regression; 0 and 1 in k columns."""
    check_targets(table, roles.targets, roles.task)
    if roles.task == "classification":
        names |= dict.fromkeys(class_names(table, roles.targets[0]).unique(maintain_order=True))
    values = targets_of(table, roles.targets, roles.task, tuple(names))
    if roles.task == "classification":
        return values
    if roles.task == "multilabel":
        return values.astype(np.uint8)
    finite = np.isfinite(values)
    if not finite.all():
        row, k = divmod(int(np.argmin(finite)), values.shape[1])
        raise LabelError(f"{table.at(roles.targets[k], row)}: the target is infinite. Fix it, or remove the row.")
    return values[:, 0] if len(roles.targets) == 1 else values


@dataclass
class _Images:
    """A column of image files: all of one size, grey or colour."""

    column: str
    size: tuple[int, int] | None
    channels: str
    resized: bool
    colour: bool = False

    @classmethod
    def of(cls, table: Table, roles: ColumnRoles, options: DataOptions) -> _Images | None:
        """Of a table whose features are one column of files; DataError where there are others beside it."""
        import polars

        binary = [name for name in roles.features if table.column(name).dtype == polars.Binary]
        if not binary:
            return None
        if len(roles.features) > 1:
            raise DataError(
                f"{table.source}: column {binary[0]!r} holds files, and {format_names(roles.features)} are "
                f"features too: images stand alone. Give features=[{binary[0]!r}]."
            )
        size = None if options.size is None else parse_size(options.size)
        return cls(binary[0], size, options.channels, resized=size is not None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image's pixels."""
        colour = self.channels == "rgb" or (self.channels == "auto" and self.colour)
        return (*(self.size or ()), 3) if colour else (self.size or ())

    def check(self, table: Table) -> None:
        """Look at the headers of the files."""
        for file in self._files(table):
            header = read_header(file)
            size = (header.rows, header.columns)
            self.colour |= header.colour
            self.size = self.size or size
            if size != self.size and not self.resized:
                raise ImageSizesError(
                    f"{file} is an image of {size[0]}x{size[1]}, and those before it are of "
                    f"{self.size[0]}x{self.size[1]}: give the size that all are brought to, as in size='28x28'."
                )

    def read(self, table: Table) -> np.ndarray:
        """Pixels (n, rows, columns), or (n, rows, columns, 3)."""
        channels = "rgb" if len(self.shape) == 3 else "grey"
        return np.stack([read(file, channels, self.size) for file in self._files(table)])  # type: ignore[arg-type]

    def _files(self, table: Table) -> Iterator[Content]:
        with quiet():
            for i, data in enumerate(table.column(self.column)):
                if data is None:
                    raise DataError(f"{table.at(self.column, i)}: the image is missing: remove the row.")
                yield Content(data, table.at(self.column, i))


def _unchanged(parts: Iterable[np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The parts of an array; DataError if the file has changed since it was checked."""
    left = shape[0]
    for part in parts:
        if part.shape[1:] != shape[1:] or part.dtype != dtype or len(part) > left:
            break
        left -= len(part)
        yield part
    else:
        if not left:
            return
    raise DataError(
        "The table has changed while it was converted, to other rows than were checked. Convert it again."
    )
