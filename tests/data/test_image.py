"""Image files: each kind of pixel becomes grey or colour; what is cut off, moves or is no such file is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnbackprop.data import limits
from nnbackprop.data.readers import image
from nnbackprop.errors import UsageError
from tests.support import data_files
from tests.support.data_files import assert_refused, write_file
from tests.support.memory import peak_of

RNG = np.random.default_rng(8)
COLOURS = RNG.integers(0, 256, (5, 4, 3), np.uint8)
GREY = np.rint(COLOURS @ [0.299, 0.587, 0.114])  # ITU-R BT.601


def unfiltered(path: Path, bits: int, colours: int, rows: list[bytes], columns: int) -> Path:
    return write_file(
        path, data_files.png(bits, colours, len(rows), columns, b"".join(b"\0" + row for row in rows))
    )


def save(path: Path, pixels: np.ndarray, kind: str | None = None, **options: object) -> Path:
    Image.fromarray(pixels).save(path, kind, **options)
    return path


@pytest.mark.parametrize(
    ("bits", "row", "expected"),
    [
        (1, b"\xa0", [255, 0, 255, 0]),
        (2, b"\x1b", [0, 85, 170, 255]),
        (4, b"\x05\xaf", [0, 85, 170, 255]),
        (8, b"\x00\x33\x80\xff", [0, 51, 128, 255]),
        (16, b"\0\0\0\x7f\x80\0\xff\xff", [0, 0, 128, 255]),  # the nearest of 256 levels
    ],
)
def test_grey_of_any_bit_depth_is_read(tmp_path: Path, bits: int, row: bytes, expected: list[int]) -> None:
    pixels = image.read(unfiltered(tmp_path / "x.png", bits, 0, [row, row], 4))
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [expected, expected]


@pytest.mark.parametrize(
    ("suffix", "options"), [("png", {}), ("bmp", {}), ("webp", {"lossless": True}), ("jpg", {"quality": 100})]
)
def test_each_format_gives_the_pixels_that_pillow_saved(tmp_path: Path, suffix: str, options: dict) -> None:
    gradient = np.stack([np.add.outer(np.arange(16), np.arange(24)) * k for k in (2, 4, 6)], axis=2)
    path = save(tmp_path / f"x.{suffix}", gradient.astype(np.uint8), **options)
    assert image.is_image(path)
    assert image.read_header(path) == image.Header(16, 24, colour=True, transparent=False)
    error = np.abs(image.read(path).astype(int) - gradient).max()
    assert error <= (4 if suffix == "jpg" else 0)


def test_colours_become_their_luminance_and_grey_three_equal_channels(tmp_path: Path) -> None:
    assert np.abs(image.read(save(tmp_path / "x.png", COLOURS), "grey") - GREY).max() <= 1
    path = save(tmp_path / "x.png", GREY.astype(np.uint8))
    assert not image.read_header(path).colour
    assert np.array_equal(image.read(path, "rgb"), np.stack([GREY] * 3, axis=2))


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("background", [(255,), (0,), (10, 200, 30)])
def test_transparent_pixels_are_composed_over_the_ground(
    tmp_path: Path, channels: int, background: tuple[int, ...]
) -> None:
    ink, alpha = COLOURS[..., :channels], RNG.integers(0, 256, (5, 4, 1), np.uint8)
    path = save(tmp_path / "x.png", np.concatenate([ink, alpha], axis=2))
    assert image.read_header(path).transparent
    opacity = alpha / 255
    expected = ink * opacity + np.array(background) * (1 - opacity)
    assert np.abs(image.read(path, "rgb", background=background) - expected).max() <= 1


def test_palette_images_are_read_and_their_transparent_entry_is_composed(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    indexed.putpalette([255, 255, 255, 0, 0, 0, 255, 0, 0])
    indexed.save(tmp_path / "x.png")
    assert image.read(tmp_path / "x.png", "grey").tolist() == [[255, 0], [76, 0]]
    indexed.save(tmp_path / "x.png", transparency=1)
    assert image.read(tmp_path / "x.png", "grey").tolist() == [[255, 255], [76, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright_as_their_exif_data_say(tmp_path: Path, orientation: int) -> None:
    """As Pillow's own ImageOps.exif_transpose does."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[image.ORIENTATION] = orientation
    path = save(tmp_path / "x.jpg", np.arange(96, dtype=np.uint8).reshape(8, 12), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(image.read(path), expected)
    header = image.read_header(path)
    assert (header.rows, header.columns) == expected.shape


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.tile([0, 255], (64, 32)).astype(np.uint8)
    small = image.read(save(tmp_path / "x.png", stripes), size=(8, 8))
    assert small.shape == (8, 8)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 8  # picking every eighth pixel would give 0 or 255


@pytest.mark.parametrize(("size", "expected"), [("28x20", (28, 20)), ("3X4", (3, 4)), ((5, 6), (5, 6))])
def test_a_size_is_rows_and_columns(size: str | tuple[int, int], expected: tuple[int, int]) -> None:
    assert image.parse_size(size) == expected


@pytest.mark.parametrize(
    "size", ["28", "28x", "0x3", "-1x2", "axb", "1x2x3", "99999x1", "123456x1", "²x3", (1, 0)]
)
def test_anything_else_is_no_size(size: str) -> None:
    with pytest.raises(UsageError, match="is no size of an image"):
        image.parse_size(size)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (6, 6), np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "x", kind, save_all=True, append_images=frames[1:])
    assert_refused(tmp_path / "x", "an animation of 3 images", image.read)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM"])
def test_another_format_of_the_name_is_refused(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "x.png", RNG.integers(0, 256, (6, 6), np.uint8), kind)
    assert_refused(path, r"x\.png: is not PNG, JPEG, BMP or WebP", image.read)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_truncated_image_is_refused(tmp_path: Path, kind: str) -> None:
    whole = save(tmp_path / "x", RNG.integers(0, 256, (30, 30, 3), np.uint8), kind).read_bytes()
    for length in range(0, len(whole) - 20, 97):
        assert_refused(write_file(tmp_path / "x", whole[:length]), None, image.read)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    whole = unfiltered(tmp_path / "x.png", 8, 0, [RNG.bytes(30)] * 30, 30).read_bytes()
    assert_refused(
        write_file(tmp_path / "x.png", whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]), None, image.read
    )


def test_a_large_image_is_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(2**20))
    path = write_file(tmp_path / "x.png", data_files.png(1, 0, 40_000, 40_000, bytes(5001) * 10_000))

    def refuse() -> None:
        for read in (image.read, image.read_header, partial(image.read_layers, max_side=100)):
            assert_refused(path, r"would take [\d,]+ bytes of memory", read)

    assert peak_of(refuse) < 2**22
