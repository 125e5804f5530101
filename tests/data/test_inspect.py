"""What `data inspect` draws: upright, within the terminal's width, with and without colour or blocks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nnbackprop.data import Dataset, Splits, load
from nnbackprop.data.inspect import SampleImages, describe
from tests.support.commands import run

FLAG = np.zeros((8, 8))
FLAG[:, 0] = 1  # a pole on the left,
FLAG[:3, :] = 1  # a cloth at the top


def dataset(images: np.ndarray, labels: list[int], classes: tuple[str, ...]) -> Dataset:
    inputs = images.reshape(len(images), -1)
    return Dataset(inputs, np.array(labels, np.int32), classes, images.shape[1:])


FLAG_IMAGE = SampleImages(dataset(FLAG[None], [0], ("flag",)))


def render(what: object, **options: object) -> str:
    encoding = options.pop("encoding", "utf-8")
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=stream, **{"width": 60, "no_color": True, "legacy_windows": False} | options)
    console.print(what)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_a_picture_is_upright() -> None:
    lines = render(FLAG_IMAGE).splitlines()
    assert [line.rstrip() for line in lines] == ["████████", "█▀▀▀▀▀▀▀", "█", "█", "  flag"]


def test_ascii_terminals_get_shades() -> None:
    lines = render(FLAG_IMAGE, encoding="ascii").splitlines()
    grey = lines[1][1]  # half of the cell is lit
    assert grey in " .:-=+*#%@"[4:6]
    assert [line.rstrip() for line in lines] == ["@@@@@@@@", "@" + 7 * grey, "@", "@", "  flag"]


def test_colour_paints_both_pixels_of_a_cell() -> None:
    text = render(FLAG_IMAGE, no_color=False, color_system="truecolor", force_terminal=True)
    white, black = "255;255;255", "0;0;0"
    assert f"\x1b[38;2;{white};48;2;{black}m▀" in text  # the lower edge of the cloth
    assert f"\x1b[38;2;{black};48;2;{white}m" not in text


def test_colour_images_are_painted_in_their_colours_and_shaded_by_their_mean() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = 255, 0, 51
    data = SampleImages(Dataset(image.reshape(1, -1), np.zeros(1, np.int32), ("a",), (2, 2, 3)))
    text = render(data, no_color=False, color_system="truecolor", force_terminal=True)
    assert "\x1b[38;2;255;0;51;48;2;0;0;0m▀" in text
    assert render(data, encoding="ascii").splitlines()[0].rstrip() in (".", ":")


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = render(describe(load("weight-height", split=False)), no_color=None, force_terminal=True)
    assert "38;2" not in text
    picture = render(FLAG_IMAGE, no_color=None, force_terminal=True)
    assert "█▀▀▀▀▀▀▀" in picture


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int, encoding: str) -> None:
    text = render(describe(load("mnist-20x20")), width=width, encoding=encoding)
    assert max(map(len, text.splitlines())) <= width


def test_counts_ranges_classes_and_notes_are_shown() -> None:
    text = render(describe(load("mnist-20x20")), width=100)
    for words in ("4,000", "1,000", "400 (20 x 20)", "float64", "0 .. 1", "400", "100", "column by column"):
        assert words in text
    assert text.count("column by column") == 1


def test_one_picture_of_each_class_as_many_as_two_rows_hold() -> None:
    images = np.repeat(FLAG[None], 6, axis=0)
    data = dataset(images, [0, 0, 1, 2, 3, 4], ("a", "b", "c", "d", "e"))
    names = render(SampleImages(data), width=18).split()
    assert [name for name in names if name.isalpha() and name.isascii()] == ["a", "b", "c", "d"]


def test_odd_heights_wide_images_faults_and_names_with_markup_are_drawn() -> None:
    images = np.full((2, 3, 50), np.nan)
    data = dataset(images, [0, 1], ("[red]", "x" * 70))
    text = render(describe(Splits(data)), width=30)
    assert "[red]" in text
    assert max(map(len, text.splitlines())) <= 30


def test_many_classes_are_abridged() -> None:
    data = Dataset(np.zeros((30, 2)), np.arange(30, dtype=np.int32), tuple(map(str, range(30))))
    assert "10 more classes" in render(describe(Splits(data)))


def test_inspect_draws_what_augmentation_does(in_a_folder_of_its_own: None) -> None:
    np.savez("images.npz", X=np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8), y=np.arange(20) % 2)
    assert run("data", "inspect", "images.npz", "--augment", "rotate 15", "flip") == 0
    assert Path("augmentation.png").read_bytes().startswith(b"\x89PNG")


def test_targets_that_are_numbers_are_shown_with_their_range_and_mean() -> None:
    targets = np.array([[1.0, -2.0], [3.0, 0.0], [8.0, 5.0]])
    data = Dataset(np.zeros((3, 2)), targets)
    text = render(describe(Splits(data, data.take(np.array([0])))), width=100)
    lines = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["target", "0", "1", "..", "8,", "mean", "4", "1", "..", "1,", "mean", "1"] in lines
    assert ["target", "1", "-2", "..", "5,", "mean", "1", "-2", "..", "-2,", "mean", "-2"] in lines


@pytest.mark.parametrize("targets", [np.arange(3.0)[:, None], np.eye(3)[:, :2]], ids=["numbers", "labels"])
def test_images_without_classes_are_the_first_ones_without_names(targets: np.ndarray) -> None:
    data = Dataset(np.repeat(FLAG[None], 3, axis=0), targets)
    text = render(SampleImages(data), encoding="ascii")
    assert text.count("@@@@@@@@") == 3
    assert "target" in render(describe(Splits(data)))
