"""PNG images: every kind of pixel is grey in the end; what is cut off, moves or is no PNG is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnbackprop.data.readers import png
from nnbackprop.errors import DataError

RNG = np.random.default_rng(8)


def written(path: Path, bits: int, colours: int, rows: list[bytes], columns: int) -> Path:
    """A PNG made by hand from its specification (ISO/IEC 15948), without a filter."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", columns, len(rows), bits, colours, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(
    ("bits", "row", "expected"),
    [
        (1, b"\xa0", [1, 0, 1, 0]),
        (2, b"\x1b", [0, 1 / 3, 2 / 3, 1]),
        (4, b"\x05\xaf", [0, 1 / 3, 2 / 3, 1]),
        (8, b"\x00\x33\x80\xff", [0, 0.2, 128 / 255, 1]),
        (16, b"\0\0\0\1\x80\0\xff\xff", [0, 1 / 65535, 32768 / 65535, 1]),
    ],
)
def test_grey_of_any_depth(tmp_path: Path, bits: int, row: bytes, expected: list[float]) -> None:
    image = png.read(written(tmp_path / "x.png", bits, 0, [row, row], 4))
    assert image.dtype == np.float64
    assert np.allclose(image, [expected, expected], rtol=0, atol=1e-15)


def test_colours_are_weighed_and_transparency_is_left_aside(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (5, 4, 3), np.uint8)
    grey = colours @ [0.299, 0.587, 0.114] / 255
    alpha = RNG.integers(0, 256, (5, 4, 1), np.uint8)
    for pixels in (colours, np.concatenate([colours, alpha], axis=2)):
        Image.fromarray(pixels).save(tmp_path / "x.png")
        assert np.allclose(png.read(tmp_path / "x.png"), grey, rtol=0, atol=1e-6)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "x.png")
    assert np.allclose(png.read(tmp_path / "x.png"), [[1, 0], [0.299, 0]], rtol=0, atol=1e-6)


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (6, 6), np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="an animation of 3 images"):
        png.read(tmp_path / "x.png")


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "BMP", "TIFF", "PPM"])
def test_another_format_of_the_name_is_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(RNG.integers(0, 256, (6, 6), np.uint8)).save(tmp_path / "x.png", kind)
    with pytest.raises(DataError, match=r"x\.png cannot be read as PNG"):
        png.read(tmp_path / "x.png")


def test_an_image_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "x.png", 8, 0, [RNG.bytes(30)] * 30, 30).read_bytes()
    for length in range(0, len(whole) - 12 - 8, 7):  # up to the checksum of the pixels: what follows holds nothing
        (tmp_path / "x.png").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.png"):
            png.read(tmp_path / "x.png")


def test_pixels_whose_checksum_is_wrong_are_refused(tmp_path: Path) -> None:
    whole = bytearray(written(tmp_path / "x.png", 8, 0, [RNG.bytes(30)] * 30, 30).read_bytes())
    whole[60] ^= 1
    (tmp_path / "x.png").write_bytes(whole)
    with pytest.raises(DataError, match=r"x\.png"):
        png.read(tmp_path / "x.png")
