"""One image file, PNG, JPEG, BMP or WebP, as uint8 pixels; its size is checked before a pixel is decoded.

Pillow decodes it, by one of four decoders, which the first bytes choose: a name does not choose among its forty.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import MemoryBudget
from nnbackprop.errors import DataError, NnbackpropError, UsageError

Channels = Literal["auto", "grey", "rgb"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp")
OTHER_SUFFIXES = (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif")  # of images that are not read
FORMATS = "PNG, JPEG, BMP or WebP"
GREY_MODES = ("1", "L", "LA", "La")
WHITE = (255, 255, 255)
BYTES_PER_PIXEL = 16  # at most, while an image is decoded
MAX_SIDE = 2**15
ORIENTATION = 0x0112  # EXIF's tag, and how an image is turned upright by its value
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # values of PIL.Image.Transpose


@dataclass(frozen=True)
class Header:
    """What an image file says of itself: its size when upright, whether it has colours, and transparency."""

    rows: int
    columns: int
    colour: bool
    transparent: bool


@dataclass(frozen=True)
class Content:
    """An image file in memory, and the words for where it is."""

    data: bytes
    source: str

    def __str__(self) -> str:
        return self.source

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A stream of it; whatever its decoder raises is a DataError."""
        try:
            yield io.BytesIO(self.data)
        except NnbackpropError:
            raise
        except Exception as error:  # decoders raise many kinds at damaged files
            raise DataError(
                f"{self.source}: cannot be read as {FORMATS}: {error}. Replace or remove it."
            ) from error


def parse_size(size: str | tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of "28x28", or of a pair; UsageError for anything else."""
    sides = size.lower().split("x") if isinstance(size, str) else [str(side) for side in size]
    if len(sides) == 2 and all(side.isdecimal() and len(side) < 6 and 0 < int(side) <= MAX_SIDE for side in sides):
        return int(sides[0]), int(sides[1])
    raise UsageError(
        f"size {size!r} is no size of an image: rows x columns of up to {MAX_SIDE} are needed, such as 28x28."
    )


def is_image(path: Path) -> bool:
    """Whether a file begins as one of the formats read here, or is named as an image."""
    with open_data(path, "data") as stream:
        return _decoder(stream.read(16)) is not None or path.suffix.lower() in SUFFIXES + OTHER_SUFFIXES


def read_header(path: Path | Content) -> Header:
    """The size and kind of an image, undecoded; DataError as of `read`."""
    with _open(path) as image:
        rows, columns = _upright_size(image)
        colour = image.mode not in GREY_MODES and not image.mode.startswith("I")
        return Header(rows, columns, colour, image.has_transparency_data)


def read(
    path: Path | Content,
    channels: Channels = "auto",
    size: tuple[int, int] | None = None,
    background: tuple[int, ...] = WHITE,
) -> np.ndarray:
    """Pixels of an image, uint8 (rows, columns), or (rows, columns, 3) of colours; upright as its EXIF data say.

    auto keeps grey images grey. Colours become grey by their luminance, transparent pixels are composed over
    `background`, 16 bits become 8. `size` is (rows, columns), to which the image is resized by antialiased
    bilinear interpolation, as torchvision does. Raises DataError, naming the file, if it is none of the four
    formats, is animated or truncated, or is larger than `limits` allow.
    """
    with _open(path) as image:
        if size:
            image.draft(None, (2 * max(size),) * 2)  # a JPEG is decoded at a half, a quarter or an eighth
        return to_array(compose(_upright(image), background), channels, size)


def read_layers(path: Path, max_side: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Luminance (rows, columns) uint8 and opacity, None if there is no transparency, at most `max_side` long.

    DataError as of `read`.
    """
    with _open(path) as image:
        image.draft(None, (2 * max_side,) * 2)
        upright = _upright(image)
    shrink = max_side / max(upright.size)
    if shrink < 1:
        width, height = (max(1, round(side * shrink)) for side in upright.size)
        upright = upright.resize((width, height), reducing_gap=3.0)
    grey = np.asarray(upright.convert("LA").getchannel("L"))
    return grey, np.asarray(upright.getchannel("A")) if upright.mode.endswith("A") else None


def compose(image: Any, background: tuple[int, ...]) -> Any:
    """A grey or coloured image without transparency: over `background`, one value or three."""
    from PIL import Image

    if not image.mode.endswith("A"):
        return image
    grey = image.mode == "LA" and len(set(background)) == 1
    opaque = Image.new(
        "L" if grey else "RGB", image.size, background[0] if grey else (*background, *background[:1] * 2)[:3]
    )
    opaque.paste(image.convert(opaque.mode), mask=image.getchannel("A"))
    return opaque


def to_array(image: Any, channels: Channels, size: tuple[int, int] | None) -> np.ndarray:
    """Pixels of a grey or coloured image, as `read` gives them."""
    from PIL.Image import Resampling

    mode = {"auto": image.mode, "grey": "L", "rgb": "RGB"}[channels]
    image = image.convert(mode)
    if size and image.size != size[::-1]:
        image = image.resize(size[::-1], Resampling.BILINEAR)
    return np.asarray(image)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow's, about palettes and damaged EXIF data; for one thread, around those that read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextlib.contextmanager
def _open(file: Path | Content) -> Iterator[Any]:
    """An image that is not decoded yet, of a size within the limits."""
    with file.open() if isinstance(file, Content) else open_data(file, FORMATS) as stream:
        budget = MemoryBudget(str(file))
        budget.reserve(len(file.data) if isinstance(file, Content) else size_of(stream))  # WebP takes it whole
        decoder = _decoder(stream.read(16))
        if decoder is None:
            raise DataError(f"{file}: is not {FORMATS}: save it as one of these.")
        stream.seek(0)
        with decoder(stream) as image:
            columns, rows = image.size
            if getattr(image, "is_animated", False):
                raise DataError(f"{file} is an animation of {image.n_frames} images: save one of them as a file.")
            budget.reserve(rows * columns * BYTES_PER_PIXEL)
            yield image


def _decoder(head: bytes) -> Any:
    """The decoder of the format that begins with `head`; Image.open would judge sizes by a limit of its own."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    return BmpImagePlugin.BmpImageFile if head.startswith(b"BM") else None


def _orientation(image: Any) -> int:
    """EXIF's value, 1 if there is none. In a PNG it may follow the pixels, and no camera writes one."""
    value = 1 if image.format == "PNG" else image.getexif().get(ORIENTATION, 1)
    return value if value in UPRIGHT else 1


def _upright_size(image: Any) -> tuple[int, int]:
    columns, rows = image.size
    return (columns, rows) if _orientation(image) >= 5 else (rows, columns)


def _upright(image: Any) -> Any:
    """A decoded image in 8 bits: L, LA, RGB or RGBA, turned upright."""
    from PIL import Image

    orientation = _orientation(image)
    if image.mode.startswith("I"):  # 16 bits
        eight = Image.fromarray(np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8))
    else:
        mode = "L" if image.mode in GREY_MODES else "RGB"
        alpha = {"L": "LA", "RGB": "RGBA"}
        eight = image.convert(alpha[mode] if image.has_transparency_data else mode)
    return eight if orientation == 1 else eight.transpose(Image.Transpose(UPRIGHT[orientation]))
