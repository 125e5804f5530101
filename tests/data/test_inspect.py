"""What `data inspect` draws: upright, within the terminal's width, with and without colour or blocks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nnbackprop.data import Dataset, Splits, load
from nnbackprop.data.inspect import SampleImages, describe
from nnbackprop.report.augmentation_plot import augmentation_plot
from tests.support.commands import run
from tests.support.plot_rows import drawn_images

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


def cells(text: str) -> list[list[str]]:
    """The lines of a table, split at its columns and spaces."""
    return [line.replace("│", " ").split() for line in text.splitlines()]


def test_counts_ranges_classes_and_notes_are_shown() -> None:
    data = load("mnist-20x20")
    text = render(describe(data), width=100)
    lines = [line[:3] for line in cells(text)]
    means = [f"{part.inputs.mean():.4g}" for part in (data.train, data.test)]
    for line in (
        ["samples", "4,000", "1,000"],
        ["type", "float64", "float64"],
        ["mean", *means],
        ["7", "400", "100"],
    ):
        assert line in lines
    assert text.count("400 (20 x 20)") == text.count("0 .. 1") == 2
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


def test_images_stand_beside_what_augmentation_makes_of_them() -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 20, 20), np.uint8)
    data = dataset(images, [0, 1] * 8, ("a", "b"))
    (grid,) = drawn_images(augmentation_plot(data, ["flip"], seed=0))
    rows = grid.reshape(8, 22, 8, 22).swapaxes(1, 2)[:, :, 1:-1, 1:-1]  # 8 x 8 images with a line around each
    shown = images[::2].astype(np.float32) / images[::2].max()
    np.testing.assert_array_equal(rows[:, 0], shown)
    flipped, kept = (
        (np.abs(rows[:, 1:] - image[:, None]) < 1e-5).all(axis=(2, 3)) for image in (shown[..., ::-1], shown)
    )
    assert (flipped ^ kept).all()
    assert 10 < flipped.sum() < 46  # of 56, half of which are


def test_targets_that_are_numbers_are_shown_with_their_range_and_mean() -> None:
    targets = np.array([[1.0, -2.0], [3.0, 0.0], [8.0, 5.0]])
    data = Dataset(np.zeros((3, 2)), targets)
    text = render(describe(Splits(data, data.take(np.array([0])))), width=100)
    lines = cells(text)
    assert ["target", "0", "1", "..", "8,", "mean", "4", "1", "..", "1,", "mean", "1"] in lines
    assert ["target", "1", "-2", "..", "5,", "mean", "1", "-2", "..", "-2,", "mean", "-2"] in lines


@pytest.mark.parametrize("targets", [np.arange(3.0)[:, None], np.eye(3)[:, :2]], ids=["numbers", "labels"])
def test_images_without_classes_are_the_first_ones_without_names(targets: np.ndarray) -> None:
    data = Dataset(np.repeat(FLAG[None], 3, axis=0), targets)
    text = render(SampleImages(data), encoding="ascii")
    assert text.count("@@@@@@@@") == 3
    assert "target" in render(describe(Splits(data)))
