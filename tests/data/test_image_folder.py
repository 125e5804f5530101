"""Folders of images by class: parts, names, sizes, channels, what is left out, and the cache of large ones."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nnbackprop.data import load
from nnbackprop.data.readers import image, image_folder, image_pixels
from nnbackprop.data.readers.paths import is_table
from nnbackprop.errors import DataError, ImageSizesError
from tests.support.data_files import assert_refused, write_file

RNG = np.random.default_rng(11)
KINDS = ("png", "jpg", "bmp", "webp")


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def grey(rows: int = 9, columns: int = 8) -> np.ndarray:
    return RNG.integers(0, 256, (rows, columns), np.uint8)


def colour(rows: int = 9, columns: int = 8) -> np.ndarray:
    return RNG.integers(0, 256, (rows, columns, 3), np.uint8)


def test_classes_are_the_names_of_folders_and_samples_the_pixels(tmp_path: Path) -> None:
    images = {path: grey() for path in ("dog/b.png", "cat/a.png", "dog/deeper/c.png")}
    for path, pixels in images.items():
        save(tmp_path / path, pixels)
    train = load(tmp_path, split=False).train
    assert train.classes == ("cat", "dog")
    assert train.targets.tolist() == [0, 1, 1]
    assert train.image_shape == (9, 8)
    assert train.inputs.dtype == np.uint8
    assert np.array_equal(
        train.inputs.reshape(3, 9, 8), [images[p] for p in ("cat/a.png", "dog/b.png", "dog/deeper/c.png")]
    )


@pytest.mark.parametrize("suffix", ["jpeg", "jpe", "jfif", "JFIF"])
def test_jpeg_has_several_suffixes(tmp_path: Path, suffix: str) -> None:
    for name in ("cat", "dog"):
        save(tmp_path / name / "1.jpg", grey()).rename(tmp_path / name / f"1.{suffix}")
    assert load(tmp_path, split=False).train.inputs.shape == (2, 72)


def test_colour_images_have_their_channels_last(tmp_path: Path) -> None:
    red = np.zeros((9, 8, 3), np.uint8)
    red[..., 0] = 250
    save(tmp_path / "a" / "1.png", red)
    save(tmp_path / "b" / "1.png", grey())
    train = load(tmp_path, split=False).train
    assert train.image_shape == (9, 8, 3)
    assert train.inputs.shape == (2, 9 * 8 * 3)
    assert np.array_equal(train.image(0), red)
    assert "1 of 2 images are grey, read as three equal channels" in train.reader_notes
    greys = load(tmp_path, split=False, channels="grey").train
    assert greys.image_shape == (9, 8)
    assert np.array_equal(greys.image(0), np.full((9, 8), round(0.299 * 250)))


def test_numbers_are_sorted_by_value(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        save(tmp_path / name / "x.png", grey())
    assert load(tmp_path, split=False).train.classes == ("1", "2", "10")


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "valid")])
def test_train_and_test_are_parts_with_the_same_classes(tmp_path: Path, train: str, test: str) -> None:
    for path in (f"{train}/b/1.png", f"{train}/c/1.png", f"{test}/a/1.png", f"{test}/c/1.jpg"):
        save(tmp_path / path, grey())
    splits = load(tmp_path)
    assert splits.train.classes == splits.test.classes == ("a", "b", "c")
    assert splits.train.targets.tolist() == [1, 2]
    assert splits.test.targets.tolist() == [0, 2]


def test_without_a_test_part_it_is_split_class_by_class(tmp_path: Path) -> None:
    for i in range(10):
        save(tmp_path / "ab"[i % 2] / f"{i}.{KINDS[i % 4]}", colour())
    splits = load(tmp_path, test_fraction=0.4)
    assert splits.train.counts().tolist() == [3, 3]
    assert splits.test.counts().tolist() == [2, 2]


def test_sizes_that_differ_are_named_and_resized_by_size_alone(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a" / "1.png", grey(20, 10)), save(tmp_path / "b" / "2.png", grey(9, 8))
    with pytest.raises(ImageSizesError) as error:
        load(tmp_path)
    for words in (f"{a} is 20 x 10", f"{b} is 9 x 8", "size="):
        assert words in str(error.value)
    for size in ("10x5", (10, 5)):
        train = load(tmp_path, split=False, size=size).train
        assert train.image_shape == (10, 5)
        expected = Image.open(a).resize((5, 10), Image.Resampling.BILINEAR)
        assert np.array_equal(train.image(0), np.asarray(expected))
    assert any(
        "2 of 2 images, 9 x 8 to 20 x 10, were resized to 10 x 5, 1 of them from another ratio" in note
        for note in train.reader_notes
    )


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", np.dstack([colour(), np.full((9, 8), 9, np.uint8)]))
    save(tmp_path / "b" / "1.png", colour())
    save(tmp_path / "a" / ".hidden.png", colour())
    (tmp_path / "empty").mkdir()
    write_file(tmp_path / "b" / "notes.txt", "words")
    notes = load(tmp_path, split=False).train.reader_notes
    for words in (
        "1 files that are not PNG, JPEG, BMP or WebP were left out (.txt)",
        "folders without images were left out: empty",
        "1 of 2 images have transparency: composed over white",
    ):
        assert words in notes


@pytest.mark.parametrize("name", ["labels.csv", "README.txt"])
@pytest.mark.parametrize("part", ["", "train"])
def test_a_table_beside_images_of_classes_is_left_out(tmp_path: Path, name: str, part: str) -> None:
    for path in ("cat/1.png", "dog/1.png"):
        save(tmp_path / part / path, grey())
    write_file(tmp_path / name, "file,label\ncat/1.png,cat\ndog/1.png,dog\n")
    train = load(tmp_path, split=False).train
    assert (train.classes, train.image_shape) == (("cat", "dog"), (9, 8))
    assert f"{name} was left out" in train.reader_notes
    assert not is_table(tmp_path)


def test_a_table_beside_a_folder_of_plots_is_read(tmp_path: Path) -> None:
    save(tmp_path / "plots" / "loss.png", grey())
    write_file(tmp_path / "x.csv", "a,label\n1,x\n2,y\n")
    assert load(tmp_path, split=False).train.classes == ("x", "y")
    assert is_table(tmp_path)


def test_a_validation_folder_beside_the_parts_is_left_out_with_a_note(tmp_path: Path) -> None:
    for path in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "test/b/1.png"):
        save(tmp_path / path, grey())
    splits = load(tmp_path)
    assert splits.test.targets.tolist() == [1]
    assert f"{tmp_path / 'val'} was left out: the parts are train and test" in splits.train.reader_notes


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="this system has no links")
def test_no_link_is_followed_out_of_the_folder(tmp_path: Path) -> None:
    secret = save(tmp_path / "elsewhere" / "1.png", grey())
    save(tmp_path / "set" / "a" / "1.png", grey())
    save(tmp_path / "set" / "b" / "1.png", grey())
    (tmp_path / "set" / "a" / "2.png").symlink_to(secret)
    (tmp_path / "set" / "a" / "folder").symlink_to(secret.parent)
    (tmp_path / "set" / "c").symlink_to(secret.parent)
    train = load(tmp_path / "set", split=False).train
    assert (len(train), train.classes) == (2, ("a", "b"))
    assert "3 links were not followed" in train.reader_notes


def test_no_junction_of_windows_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one on Windows; elsewhere a folder that the system calls one."""
    secret = save(tmp_path / "elsewhere" / "1.png", grey())
    save(tmp_path / "set" / "a" / "1.png", grey())
    save(tmp_path / "set" / "b" / "1.png", grey())
    junctions = tmp_path / "set" / "a" / "folder", tmp_path / "set" / "c"
    if sys.platform == "win32":
        import _winapi

        for junction in junctions:
            _winapi.CreateJunction(str(secret.parent), str(junction))
    else:
        lstat, found = Path.lstat, SimpleNamespace(st_mode=stat.S_IFDIR, st_reparse_tag=0xA0000003)
        monkeypatch.setattr(Path, "lstat", lambda path: found if path in junctions else lstat(path))
        for junction in junctions:
            save(junction / "1.png", grey())
    train = load(tmp_path / "set", split=False).train
    assert (len(train), train.classes) == (2, ("a", "b"))
    assert "2 links were not followed" in train.reader_notes


def test_images_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", grey())
    bad = write_file(tmp_path / "a" / "2.png", b"\x89PNG\r\n\x1a\nrest")
    assert_refused(bad, "cannot be read", lambda _: load(tmp_path))
    write_file(tmp_path / "a" / "3.jpg", b"GIF89a")
    with pytest.raises(DataError, match="2 images cannot be read; repair or remove them") as error:
        load(tmp_path)
    assert "2.png" in str(error.value)
    assert "3.jpg: is not PNG" in str(error.value)
    whole = save(tmp_path / "b" / "4.png", grey(60, 60)).read_bytes()  # whose header is sound
    (tmp_path / "a" / "2.png").unlink()
    (tmp_path / "a" / "3.jpg").unlink()
    write_file(tmp_path / "b" / "4.png", whole[:2000])
    assert_refused(tmp_path / "b" / "4.png", "truncated", lambda _: load(tmp_path, size=(5, 5)))


def test_images_without_folders_of_classes_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "1.png", grey())
    assert_refused(tmp_path, "no images in folders of their classes.*a folder a class")
    (tmp_path / "1.png").unlink()
    save(tmp_path / ".thumbs" / "a.png", grey())
    assert_refused(tmp_path, "no data set is found")


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder that counts as large, and the cache."""
    monkeypatch.setattr(image_pixels, "CACHED_BYTES", 100)
    monkeypatch.setattr(image_pixels, "BLOCK_BYTES", 200)  # two images
    for path in ("train/a/1.png", "train/a/2.png", "train/b/3.png", "test/b/4.png"):
        save(tmp_path / "set" / path, grey())
    return tmp_path / "set", tmp_path / "cache"


def test_a_large_set_is_a_memory_map_with_the_same_pixels(
    large: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = large
    kept = image_folder.read_folder(folder, cache=cache)
    assert sorted(path.suffix for path in cache.rglob("*.*")) == [".json", ".npy", ".npy"]
    monkeypatch.setattr(image_pixels, "CACHED_BYTES", 10**9)
    direct = image_folder.read_folder(folder, cache=cache.with_name("other"))
    assert not cache.with_name("other").exists()
    for mapped, held in zip(kept, direct, strict=True):
        assert isinstance(mapped.inputs.base, np.memmap) or isinstance(mapped.inputs, np.memmap)
        assert np.array_equal(mapped.inputs, held.inputs)
        assert mapped.labels.tolist() == held.labels.tolist()


def test_the_cache_is_used_until_a_file_changes(large: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = large
    image_folder.read_folder(folder, cache=cache)
    decoded = []
    monkeypatch.setattr(image_pixels, "read", lambda path, *args: decoded.append(path) or image.read(path, *args))
    again = image_folder.read_folder(folder, cache=cache)
    assert decoded == []
    assert "come from the cache" in again.train.reader_notes[-1]
    resized = image_folder.read_folder(folder, (3, 4), cache=cache).train.reader_notes
    assert resized == (
        "4 of 4 images, 9 x 8 to 9 x 8, were resized to 3 x 4, 4 of them from another ratio of height to width",
    )
    kept = image_folder.read_folder(folder, (3, 4), cache=cache).train.reader_notes
    assert kept[:-1] == resized
    new = grey()
    save(folder / "train" / "a" / "1.png", new)
    os.utime(folder / "train" / "a" / "1.png", ns=(1, 1))  # a coarse clock may give it the former time
    changed = image_folder.read_folder(folder, cache=cache)
    assert np.array_equal(changed.train.inputs[0].reshape(9, 8), new)
    assert np.array_equal(image_folder.read_folder(folder, (3, 3), cache=cache).train.inputs.shape, (3, 9))


def test_a_damaged_file_of_the_cache_is_made_anew(large: tuple[Path, Path]) -> None:
    folder, cache = large
    first = image_folder.read_folder(folder, cache=cache)
    expected = [np.array(part.inputs) for part in first]
    del first
    for pattern in ("*.npy", "*.json"):
        for file in cache.rglob(pattern):
            file.write_bytes(file.read_bytes()[:100] if pattern == "*.npy" else b"[")
        again = image_folder.read_folder(folder, cache=cache)
        assert all(np.array_equal(part.inputs, kept) for part, kept in zip(again, expected, strict=True))
        assert not again.train.reader_notes


def test_a_cache_that_cannot_be_written_is_said_and_leaves_nothing(large: tuple[Path, Path]) -> None:
    folder, cache = large
    cache.write_bytes(b"a file in the cache folder's place")
    with pytest.raises(DataError, match=r"cannot be kept in the cache folder .*Make room for 216 bytes"):
        image_folder.read_folder(folder, cache=cache)
    cache.unlink()
    bad = write_file(folder / "train" / "b" / "5.png", save(folder / "x.png", grey()).read_bytes()[:-30])
    assert_refused(bad, None, lambda _: image_folder.read_folder(folder, cache=cache))
    assert [path for path in cache.rglob("*") if path.is_file()] == []
