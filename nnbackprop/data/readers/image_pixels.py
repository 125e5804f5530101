"""The pixels of many images of one size, in memory, or, of a large set, by memory map from the cache folder.

Files of the cache are `.npy`, and `.json` of what was converted, named by a digest of the images' paths, sizes and
times and of how they are decoded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from nnbackprop.data.download import cache_folder
from nnbackprop.errors import DataError, ImageSizesError, NnbackpropError

from . import npz
from .image import Channels, Header, quiet, read, read_header

T = TypeVar("T")

CACHED_BYTES = 2**26  # of files, or of pixels, from which a set is kept in the cache folder
BLOCK_BYTES = 2**24  # decoded between two writes to the cache
THREADS = 4  # decode at once, each within the memory limit
MAX_NAMED = 3  # files that cannot be read, named in an error
Paths = Sequence[Path]


def read_pixels(
    parts: Sequence[Paths], size: tuple[int, int] | None, channels: Channels, cache: Path | None = None
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Pixels of each part, uint8 (n, rows, columns) or (n, rows, columns, 3), and notes on what was converted.

    Raises DataError that names the files that cannot be read, or two whose sizes differ where there is no `size`.
    """
    folder = (cache or cache_folder()) / "images"
    key = _digest([path for paths in parts for path in paths], size, channels)
    files = [folder / f"{key}-{number}.npy" for number in range(len(parts))]
    kept = [_open_kept(file, len(paths)) for file, paths in zip(files, parts, strict=True)]
    kept_notes = _read_notes(notes_file := folder / f"{key}.json")
    if kept_notes is not None and all(array is not None for array in kept):
        notes = (*kept_notes, f"pixels come from the cache: {files[0]}")
        return [array for array in kept if array is not None], notes
    everything = [path for paths in parts for path in paths]
    with quiet():
        headers = dict(zip(everything, _for_each(read_header, everything), strict=True))
        shape, notes = _common_shape(headers, size, channels)
        large = max(sum(map(os.path.getsize, everything)), len(everything) * math.prod(shape)) > CACHED_BYTES
        if not large:
            return [_decode(paths, shape) for paths in parts], notes
        for file, paths in zip(files, parts, strict=True):
            with _kept_whole(file, len(paths) * math.prod(shape)) as stream:
                npz.write_array(stream, (len(paths), *shape), np.dtype(np.uint8), _decoded_blocks(paths, shape))
        text = json.dumps(notes).encode()
        with _kept_whole(notes_file, len(text)) as stream:
            stream.write(text)
    return [np.lib.format.open_memmap(file, "r") for file in files], notes


def _digest(paths: Paths, size: tuple[int, int] | None, channels: Channels) -> str:
    """Of the files as the system lists them, and of the decoder: another Pillow may round in another way."""
    import PIL

    digest = hashlib.blake2b(json.dumps([size, channels, PIL.__version__]).encode(), digest_size=16)
    for path in paths:
        status = path.stat()
        digest.update(json.dumps([str(path.absolute()), status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()


def _open_kept(file: Path, samples: int) -> np.ndarray | None:
    """The pixels that a file of the cache has; None if there is none, or a damaged one."""
    with contextlib.suppress(OSError, ValueError):
        array = np.lib.format.open_memmap(file, "r")
        if array.dtype == np.uint8 and array.shape[:1] == (samples,) and array.ndim in (3, 4):
            return array
    return None


def _read_notes(file: Path) -> tuple[str, ...] | None:
    """The notes on the pixels that are kept; None if there are none, or damaged ones."""
    with contextlib.suppress(OSError, ValueError):
        notes = json.loads(file.read_bytes())
        if isinstance(notes, list):
            return tuple(map(str, notes))
    return None


def _common_shape(
    headers: dict[Path, Header], size: tuple[int, int] | None, channels: Channels
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The shape of one sample, and notes."""
    first, *others = headers.items()
    notes = []
    if size is None:
        for path, header in others:
            if (header.rows, header.columns) != (first[1].rows, first[1].columns):
                raise ImageSizesError(
                    f"{first[0]} is {first[1].rows} x {first[1].columns} and {path} is {header.rows} x "
                    f"{header.columns}: the images of a set have one size. Give one to which all are resized, "
                    "rows x columns: size='28x28'."
                )
        size = first[1].rows, first[1].columns
    resized = [header for header in headers.values() if (header.rows, header.columns) != size]
    if resized:
        smallest, largest = (pick(resized, key=lambda h: h.rows * h.columns) for pick in (min, max))
        notes.append(
            f"{len(resized)} of {len(headers)} images, {smallest.rows} x {smallest.columns} to {largest.rows} x "
            f"{largest.columns}, were resized to {size[0]} x {size[1]}"
        )
    if stretched := sum(header.rows * size[1] != header.columns * size[0] for header in resized):
        notes[-1] += f", {stretched} of them from another ratio of height to width"
    if transparent := sum(header.transparent for header in headers.values()):
        notes.append(f"{transparent} of {len(headers)} images have transparency: composed over white")
    colours = sum(header.colour for header in headers.values())
    grey = channels == "grey" or (channels == "auto" and not colours)
    if grey and colours:
        notes.append(f"{colours} of {len(headers)} images have colours, read as their luminance")
    if colours < len(headers) and not grey:
        notes.append(f"{len(headers) - colours} of {len(headers)} images are grey, read as three equal channels")
    return (size if grey else (*size, 3)), tuple(notes)


@contextlib.contextmanager
def _kept_whole(file: Path, size: int) -> Iterator[BinaryIO]:
    """A file of the cache, which appears under its name once it is whole; DataError if it cannot be written."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:  # not by memory map: a full disk would end the process
            yield stream
        os.replace(temporary, file)
    except OSError as error:
        raise DataError(
            f"{file}: pixels cannot be kept in the cache folder ({error}). Make room for {size:,} bytes there, or "
            "give a smaller size."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _decoded_blocks(paths: Paths, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    rows = max(1, BLOCK_BYTES // math.prod(shape))
    for at in range(0, len(paths), rows):
        yield _decode(paths[at : at + rows], shape)


def _decode(paths: Paths, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels in memory, uint8 (n, *shape)."""
    pixels = np.empty((len(paths), *shape), np.uint8)
    channels: Channels = "rgb" if len(shape) == 3 else "grey"

    def decode(i: int) -> None:
        pixels[i] = read(paths[i], channels, shape[:2])  # type: ignore[arg-type]

    _for_each(decode, range(len(paths)))
    return pixels


def _for_each(call: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
    """Call on each item, on several threads; DataError names the files that cannot be read."""
    errors: list[NnbackpropError] = []

    def attempt(item: Any) -> T | None:
        try:
            return call(item)
        except NnbackpropError as error:
            errors.append(error)
        return None

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        results = list(pool.map(attempt, items))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        listed = "\n".join(f"  {error}" for error in sorted(errors, key=str)[:MAX_NAMED])
        raise DataError(f"{len(errors)} images cannot be read; repair or remove them:\n{listed}")
    return results  # type: ignore[return-value]
