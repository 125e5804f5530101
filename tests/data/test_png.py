"""PNG images: every kind of pixel is grey in the end; what is cut off, moves or is no PNG is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnbackprop.data import limits
from nnbackprop.data.readers import png
from tests.support import data_files
from tests.support.data_files import assert_refused, write_file
from tests.support.memory import peak_of

RNG = np.random.default_rng(8)


def unfiltered(path: Path, bits: int, colours: int, rows: list[bytes], columns: int) -> Path:
    return write_file(
        path, data_files.png(bits, colours, len(rows), columns, b"".join(b"\0" + row for row in rows))
    )


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
def test_grey_of_any_bit_depth_is_read(tmp_path: Path, bits: int, row: bytes, expected: list[float]) -> None:
    image = png.read(unfiltered(tmp_path / "x.png", bits, 0, [row, row], 4))
    assert image.dtype == np.float64
    assert np.allclose(image, [expected, expected], rtol=0, atol=1e-15)


def test_colours_become_luminance_and_transparency_is_ignored(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (5, 4, 3), np.uint8)
    grey = colours @ [0.299, 0.587, 0.114] / 255
    alpha = RNG.integers(0, 256, (5, 4, 1), np.uint8)
    for pixels in (colours, np.concatenate([colours, alpha], axis=2)):
        Image.fromarray(pixels).save(tmp_path / "x.png")
        assert np.allclose(png.read(tmp_path / "x.png"), grey, rtol=0, atol=1e-6)


def test_palette_images_are_read(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "x.png")
    assert np.allclose(png.read(tmp_path / "x.png"), [[1, 0], [0.299, 0]], rtol=0, atol=1e-6)


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (6, 6), np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    assert_refused(tmp_path / "x.png", "an animation of 3 images", png.read)


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "BMP", "TIFF", "PPM"])
def test_another_format_of_the_name_is_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(RNG.integers(0, 256, (6, 6), np.uint8)).save(tmp_path / "x.png", kind)
    assert_refused(tmp_path / "x.png", r"x\.png cannot be read as PNG", png.read)


def test_a_truncated_image_and_a_wrong_checksum_are_refused(tmp_path: Path) -> None:
    whole = unfiltered(tmp_path / "x.png", 8, 0, [RNG.bytes(30)] * 30, 30).read_bytes()
    for length in range(0, len(whole) - 12 - 8, 7):  # up to the checksum of the pixels: what follows holds nothing
        assert_refused(write_file(tmp_path / "x.png", whole[:length]), None, png.read)
    wrong_checksum = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    assert_refused(write_file(tmp_path / "x.png", wrong_checksum), None, png.read)


def test_a_large_image_is_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(2**20))
    path = write_file(tmp_path / "x.png", data_files.png(1, 0, 40_000, 40_000, bytes(5001) * 10_000))

    def refuse() -> None:
        assert_refused(path, r"would take [\d,]+ bytes of memory", png.read)
        words = "40000 x 40000 and this network takes images of 28 x 28"
        assert_refused(path, words, lambda path: png.read(path, (28, 28)))

    assert peak_of(refuse) < 2**22
