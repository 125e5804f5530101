"""A folder of images from inspection to prediction, and `predict` on image files of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnbackprop import TrainedModel, load
from tests.support.commands import draw_no_plots, run, said

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
TEST = load("mnist").test


def save_colours(folder: Path, name: str, channel: int, n: int, rng: np.random.Generator) -> None:
    """Images of noise, 12 x 16, in which one channel is bright."""
    (folder / name).mkdir(parents=True)
    for i in range(n):
        pixels = rng.integers(0, 120, (12, 16, 3), np.uint8)
        pixels[..., channel] += 110
        Image.fromarray(pixels).save(folder / name / f"{i}.{('png', 'jpg', 'webp', 'bmp')[i % 4]}")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    save_colours(folder, "red", 0, 20, rng)
    save_colours(folder, "blue", 2, 20, rng)
    return folder


@pytest.fixture(scope="module")
def of_colours(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the colours, all of its plots drawn."""
    runs = tmp_path_factory.mktemp("runs")
    words = ("--hidden", "8", "--dropout", "0", "--epochs", "30", "--batch-size", "8", "--progress", "off")
    assert run("train", "--data", str(colours), *words, "--runs-dir", str(runs), "--name", "colours") == 0
    return runs / "colours"


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = ("--hidden", "16", "--dropout", "0", "--epochs", "1", "--progress", "off")
    with pytest.MonkeyPatch.context() as patch:
        draw_no_plots(patch)
        assert run("train", "mnist", *words, "--runs-dir", str(runs), "--name", "digits") == 0
    return runs / "digits"


def predicted(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The classes in the tables that `predict` printed."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return [line[1] for line in lines if line and line[0] == "1"]


def test_a_folder_of_two_colours_trains_to_all_right_and_predicts(
    colours: Path, of_colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = TrainedModel.open(str(of_colours))
    assert model.evaluate(model.data()).accuracy == 1.0
    assert {path.stem for path in (of_colours / "plots").iterdir()} >= {"first-layer-weights", "wrongest-samples"}
    capsys.readouterr()
    assert run("predict", str(of_colours), str(colours / "red" / "0.png"), str(colours / "blue" / "1.jpg")) == 0
    assert predicted(capsys) == ["red", "blue"]
    assert run("attack", str(of_colours), "--epsilon", "0.5") == 0
    assert run("evaluate", str(of_colours), "--data", str(colours)) == 0
    assert "accuracy 1.0000 of 40 samples" in said(capsys)


def test_other_sizes_and_kinds_are_brought_to_the_networks_and_it_is_said(
    of_colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    red = rng.integers(0, 120, (60, 160, 3), np.uint8)
    red[..., 0] += 110
    Image.fromarray(red).save("wide.webp", lossless=True)
    Image.fromarray(red[..., 0]).save("grey.png")
    Image.fromarray(np.full((12, 16, 3), 70, np.uint8)).save("blank.png")
    assert run("predict", str(of_colours), "wide.webp", "grey.png", "blank.png") == 0
    words = said(capsys)
    assert "wide.webp: 60 x 160, resized to 12 x 16, which stretches it." in words
    assert "grey.png: is grey, read as three equal channels" in words
    assert "blank.png: is blank: all of its pixels are nearly the same" in words
    assert "wide.webp: has" not in words


def test_inspect_shows_sizes_channels_and_counts(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "inspect", str(colours)) == 0
    words = " ".join(said(capsys).replace("│", " ").split())
    for part in ("samples 32 8", "576 (12 x 16 x 3)", "type uint8 uint8", "red 16 4", "blue 16 4"):
        assert part in words
    assert run("data", "inspect", str(colours), "--size", "5x4", "--channels", "grey") == 0
    words = said(capsys)
    assert "20 (5 x 4)" in words
    assert "40 of 40 images, 12 x 16 to 12 x 16, were resized to 5 x 4" in words


def test_inspect_shows_a_folder_of_several_sizes_and_train_says_what_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for k, side in enumerate((10, 20, 30)):
        Path(f"set/{k % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((side, side), 40 * side % 256, np.uint8)).save(f"set/{k % 2}/{k}.png")
    assert run("data", "inspect", "set", "--test-fraction", "0") == 0
    words = said(capsys)
    assert "10 x 10 and" in words
    assert "3 of 3 images, 10 x 10 to 30 x 30, were resized to 28 x 28" in words
    assert run("train", "--data", "set", "--epochs", "1") == 3
    assert "--size 28x28" in said(capsys)
    assert run("train", "--data", "set", "--size", "28") == 2
    assert "rows x columns" in said(capsys)
    assert run("train", "--data", "mnist", "--size", "8x8", "--epochs", "1") == 2
    assert "mnist is none: leave it out" in said(capsys)
    assert not Path("runs").exists()


def test_a_drawn_digit_is_prepared_as_mnist_was_and_it_is_said(
    of_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = TrainedModel.open(str(of_digits))
    classes = model.predict(TEST.inputs[:20])
    names = []
    for i in range(20):
        large = 255 - np.asarray(Image.fromarray(TEST.image(i)).resize((200, 200), Image.Resampling.BICUBIC))
        names.append(f"{i}.{('jpg', 'png', 'bmp', 'webp')[i % 4]}")
        Image.fromarray(large).convert("RGB").save(names[-1])
    assert run("predict", str(of_digits), *names) == 0
    both = capsys.readouterr()
    found = [line.split()[1] for line in both.out.splitlines() if line.split()[:1] == ["1"]]
    assert np.mean([int(a) == b for a, b in zip(found, classes, strict=True)]) >= 0.9
    notes = " ".join(both.err.split())
    assert "0.jpg: prepared as MNIST's digits were: inverted, as its ink is dark on paper" in notes
    assert "fitted into 20 x 20, centred by mass in 28 x 28. --as-is leaves it as it is." in notes


def test_as_is_resizes_alone_and_says_that_the_ground_is_inverted(
    of_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(255 - TEST.image(0)).resize((56, 56)).save("paper.png")
    assert run("predict", str(of_digits), "--as-is", "paper.png") == 0
    words = said(capsys)
    assert "paper.png: 56 x 56, resized to 28 x 28." in words
    assert "has a background as bright as that of the training images is dark" in words
    assert "prepared as" not in words


def test_a_transparent_digit_is_that_on_paper_and_a_blank_image_is_refused(
    of_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ink = np.asarray(Image.fromarray(TEST.image(0)).resize((100, 100)))
    Image.fromarray(np.stack([np.zeros_like(ink), ink], axis=2)).save("transparent.png")
    Image.fromarray(255 - ink).save("paper.png")
    assert run("predict", str(of_digits), "transparent.png", "paper.png") == 0
    rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["1"]]
    assert rows[0] == rows[1]
    assert rows[0][0] == "7"
    Image.fromarray(np.zeros((40, 40, 4), np.uint8)).save("blank.png")
    assert run("predict", str(of_digits), "paper.png", "blank.png") == 3
    words = said(capsys)
    assert "blank.png is blank" in words
    assert "--as-is predicts it as it is" in words


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_composed_over_the_background_of_the_training_images(
    mode: str, of_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.fromarray(TEST.image(0))
    image.save("opaque.png")
    white = Image.new("L", image.size, 255)
    Image.merge(mode, (*[white] * (len(mode) - 1), image)).save("transparent.png")
    assert run("predict", str(of_digits), "--as-is", "opaque.png", "transparent.png") == 0
    both = capsys.readouterr()
    rows = [line.split()[1:] for line in both.out.splitlines() if line.split()[:1] == ["1"]]
    assert rows[0] == rows[1]
    assert rows[0][0] == "7"
    words = " ".join(both.err.split())
    assert "transparent.png: has transparency, composed over the background of the training images" in words
    assert "opaque.png: has" not in words


def test_options_stand_before_between_and_after_the_files(
    of_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(TEST.image(0)).save(name)
    files = [str(of_digits), "a.png", "b.png"]
    for place in range(4):
        assert run("predict", *files[:place], "--backend", "numpy", "--as-is", *files[place:]) == 0
        assert predicted(capsys) == ["7", "7"]
    assert run("predict", str(of_digits), "--as-is") == 2
    assert "IMAGES" in said(capsys)


@pytest.mark.parametrize("kind", ["gif", "tiff"])
def test_other_formats_are_named(kind: str, of_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(TEST.image(0)).save(f"x.{kind}")
    assert run("predict", str(of_digits), f"x.{kind}") == 3
    assert f"x.{kind}: is not PNG, JPEG, BMP or WebP: save it as one of these." in said(capsys)


def test_an_image_for_a_network_of_rows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "weight-height", "--epochs", "2", "--progress", "off") == 0
    Image.fromarray(TEST.image(0)).save("x.png")
    assert run("predict", "last", "x.png") == 3
    assert "x.png is an image, and this network takes rows of 2 numbers" in said(capsys)
