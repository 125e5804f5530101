"""A folder of images, a folder a class: cat/1.jpg, dog/2.png; or train/ and test/ with such folders in each.

Decoded once into uint8. A large set is kept in the cache folder as `.npy`, named by a digest of its files, and is
opened from there by memory map.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nnbackprop.data.limits import format_names
from nnbackprop.data.raw import RawDataset, RawSplits
from nnbackprop.errors import DataError

from .image import FORMATS, SUFFIXES, Channels, parse_size
from .image_pixels import read_pixels

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")
JUNCTION = 0xA0000003  # stat.IO_REPARSE_TAG_MOUNT_POINT, which Python has on Windows alone


@dataclass(frozen=True)
class _Files:
    """The images of one part, in the order of their paths: each with its class, and what was left out."""

    folder: Path
    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def is_image_folder(path: Path) -> bool:
    """Whether there is an image somewhere below a folder."""
    return any(kind == "image" for _, kind in _walk(path))


def has_classes(folder: Path) -> bool:
    """Whether images lie in folders of two classes or more; those below a single folder may be anything."""
    return sum(map(is_image_folder, _subfolders(_parts(folder)[0][0]))) > 1


def read_folder(
    folder: Path,
    size: str | tuple[int, int] | None = None,
    channels: Channels = "auto",
    cache: Path | None = None,
) -> RawSplits:
    """The images below `folder`, labelled by the names of their folders: sorted, numbers by value.

    Images of several sizes need a `size`, (rows, columns); auto is grey if all of them are, else rgb. No link is
    followed, and files that are no images are left out; both are noted. Raises DataError that names the files that
    cannot be read, or two that differ in size.
    """
    folders, left_out = _parts(folder)
    parts = [_list(part) for part in folders]
    names = sorted({label for part in parts for label in part.classes}, key=_by_number)
    common = None if size is None else parse_size(size)
    arrays, notes = read_pixels([part.paths for part in parts], common, channels, cache)
    return RawSplits(
        *(
            RawDataset(
                pixels.reshape(len(pixels), -1),
                np.array([names.index(label) for label in part.classes]),
                str(part.folder),
                pixels.shape[1:],
                dict(enumerate(names)),
                (*part.notes, *left_out, *notes),
            )
            for part, pixels in zip(parts, arrays, strict=True)
        )
    )


def _parts(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The folders of the training and the test part, or `folder` alone if it is not divided so; notes.

    Of several folders with the name of a test part the first is one.
    """
    subfolders = {sub.name.lower(): sub for sub in _subfolders(folder)}
    train = next((subfolders[name] for name in TRAIN_NAMES if name in subfolders), None)
    tests = [subfolders[name] for name in TEST_NAMES if name in subfolders]
    if train is None or not _subfolders(train):
        return [folder], ()
    notes = tuple(f"{other} was left out: the parts are {train.name} and {tests[0].name}" for other in tests[1:])
    return [train, *tests[:1]], notes


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_link(path) and _shown(path))


def _is_link(folder: Path) -> bool:
    """Whether a folder is a symbolic link or, on Windows, a junction (`os.path.isjunction` of Python 3.12)."""
    return folder.is_symlink() or getattr(folder.lstat(), "st_reparse_tag", 0) == JUNCTION


def _shown(path: Path) -> bool:
    return not path.name.startswith((".", "__"))


def _by_number(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() and len(name) < 19 else 0, name)


def _walk(folder: Path) -> Iterator[tuple[Path, Literal["image", "link", "other"]]]:
    """What lies anywhere below a folder, sorted, but for hidden files; no link is followed."""
    for parent, folders, files in os.walk(folder):
        links = {name for name in folders if _is_link(Path(parent, name))}
        yield from ((Path(parent, name), "link") for name in links)
        folders[:] = sorted(name for name in folders if name not in links and _shown(Path(name)))
        for path in (Path(parent, name) for name in sorted(files) if _shown(Path(name))):
            is_image = path.suffix.lower() in SUFFIXES
            yield path, "link" if path.is_symlink() else "image" if is_image else "other"


def _list(folder: Path) -> _Files:
    """The images of a part, checked to be of one class or more."""
    paths, classes, others, empty = [], [], Counter[str](), []
    links = sum(path.is_dir() and _is_link(path) for path in folder.iterdir())
    for sub in _subfolders(folder):
        found = list(_walk(sub))
        images = [path for path, kind in found if kind == "image"]
        paths += images
        classes += [sub.name] * len(images)
        others.update(path.suffix.lower() or path.name for path, kind in found if kind == "other")
        links += sum(kind == "link" for _, kind in found)
        empty += [] if images else [sub.name]
    notes = [f"{links} links were not followed"] if links else []
    if others:
        notes.append(f"{others.total()} files that are not {FORMATS} were left out ({format_names(others)})")
    if empty:
        notes.append(f"folders without images were left out: {format_names(empty)}")
    if not paths:
        raise DataError(
            f"{folder}: has no images in folders of their classes{''.join(f'; {note}' for note in notes)}. Put "
            f"{FORMATS} files into a folder a class, such as {folder / 'cat'} and {folder / 'dog'}."
        )
    return _Files(folder, tuple(paths), tuple(classes), tuple(notes))
