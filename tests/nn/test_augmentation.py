"""Augmentation: judged by np.rot90, SciPy's interpolation, and moments known from mathematics."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import affine_transform, map_coordinates

import backends
from backends import Backend
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.nn.augmentation import Augmentation, parse_transform
from nnbackprop.nn.augmentation.augmentation import elastic_field, uniform
from nnbackprop.nn.augmentation.sampling import bilinear
from nnbackprop.nn.augmentation.transforms import Affine, Elastic, Flip, Rotate, Scale, Shear, Shift
from nnbackprop.nn.rng import RngKey
from tests.support.small_runs import assert_equal_state, make_trainer

ALL = ("elastic 2 8", "rotate 15 or shear 15", "scale 17.5", "shift 1", "flip", "noise 0.1", "cutout 3")
RNG = np.random.default_rng(0)


def key_of(backend: Backend, step: int = 3, first_row: int = 0) -> RngKey:
    return RngKey(1, backend.asarray(np.asarray(step, np.int32)), first_row)


def images_of(n: int) -> Dataset:
    rng = np.random.default_rng(2)
    return Dataset(rng.standard_normal((n, 36)), np.arange(n) % 3, ("a", "b", "c"), image_shape=(6, 6))


def moved(transform: object, images: np.ndarray, *u: float) -> np.ndarray:
    """Images (n, h, w) moved by one transformation, whose random numbers are u."""
    n, h, w = images.shape
    numbers = [np.full(n, number) for number in u]
    s = transform.source(np, numbers, 1.0)  # type: ignore[attr-defined]
    rows, columns = (a.reshape(1, -1) for a in np.indices((h, w)).astype(float))
    rows, columns = rows - (h - 1) / 2, columns - (w - 1) / 2
    line = [np.reshape(a + np.zeros(n), (-1, 1)) for a in s]
    at = line[0] * rows + line[1] * columns + line[2], line[3] * rows + line[4] * columns + line[5]
    xp = backends.select("numpy").xp
    return bilinear(xp, images[..., None], at[0] + (h - 1) / 2, at[1] + (w - 1) / 2)[..., 0]


def test_bilinear_sampling_equals_scipy(backend: Backend) -> None:
    images = RNG.standard_normal((3, 7, 5, 2))
    rows, columns = RNG.uniform(-2, 8, (3, 35)), RNG.uniform(-2, 6, (3, 35))
    found = backend.to_numpy(bilinear(backend.xp, *map(backend.asarray, (images, rows, columns))))
    for i, channel in np.ndindex(3, 2):
        expected = map_coordinates(images[i, ..., channel], [rows[i], columns[i]], order=1, mode="nearest")
        np.testing.assert_allclose(found[i, ..., channel].ravel(), expected, atol=1e-12)


@pytest.mark.parametrize("quarters", [1, -1, 2])
def test_right_angles_are_rotations_of_the_array(quarters: int) -> None:
    images = RNG.standard_normal((2, 6, 6))
    found = moved(Rotate(90.0 * abs(quarters)), images, math.copysign(1, quarters))
    np.testing.assert_allclose(found, np.rot90(images, -quarters, axes=(1, 2)), atol=1e-12)  # u > 0 is clockwise


def test_whole_shifts_flips_shears_and_scales_are_known_images() -> None:
    image = np.arange(12.0).reshape(1, 3, 4)
    down_left = moved(Shift(1.0), image, -1.0, 1.0)
    np.testing.assert_array_equal(down_left[0], [[1, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]])
    np.testing.assert_array_equal(moved(Flip(), image, -0.5), image[:, :, ::-1])
    np.testing.assert_array_equal(moved(Flip(), image, 0.5), image)
    slanted = moved(Shear(45.0), image, 1.0)  # the row above the centre comes from one pixel to the left
    np.testing.assert_allclose(slanted[0], [[0, 0, 1, 2], [4, 5, 6, 7], [9, 10, 11, 11]], atol=1e-12)
    doubled = moved(Scale(99.99999), np.arange(5.0).reshape(1, 1, 5).repeat(3, 1), 0.0, 1.0)
    np.testing.assert_allclose(doubled[0, 0], [1, 1.5, 2, 2.5, 3], atol=1e-6)


def test_affine_maps_compose_as_matrices() -> None:
    a, b, p = RNG.standard_normal(6), RNG.standard_normal(6), RNG.standard_normal(2)
    matrices = [np.vstack([m.reshape(2, 3), [0, 0, 1]]) for m in (a, b)]
    found = np.array(Affine(*a).after(Affine(*b))).reshape(2, 3)
    np.testing.assert_allclose(found @ [*p, 1], (matrices[0] @ matrices[1] @ [*p, 1])[:2], atol=1e-12)


def test_random_whole_numbers_are_bit_equal_on_every_library(backend: Backend) -> None:
    numpy = backends.select("numpy")
    found = backend.to_numpy(key_of(backend, first_row=5).uniform_int16(backend.xp, 9, 30, "elastic 0"))
    np.testing.assert_array_equal(found, key_of(numpy, first_row=5).uniform_int16(numpy.xp, 9, 30, "elastic 0"))
    assert found.dtype == np.int32
    assert -(2**15) <= found.min() < found.max() < 2**15


@pytest.mark.parametrize("shape", [(49,), (7, 7, 1)])
def test_augmented_images_are_the_same_on_every_library(backend: Backend, shape: tuple[int, ...]) -> None:
    x, t = RNG.standard_normal((6, *shape)).astype(np.float32), np.arange(6, dtype=np.int32) % 3
    augment = Augmentation(*ALL, half_angle_classes=("b",)).for_images((7, 7), ("a", "b", "c"))
    found, expected = (
        b.to_numpy(augment(b.xp, b.asarray(x), b.asarray(t), key_of(b)))
        for b in (backend, backends.select("numpy"))
    )
    assert found.shape == x.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)  # a rounded place may lie on a border of the hole
    assert np.abs(found - x).mean() > 0.1


def test_elastic_displacements_have_the_variance_of_the_formula() -> None:
    """Var(alpha G U G^T)_ij = alpha^2 / 3 (sum_k G_ik^2) (sum_l G_jl^2), U being uniform in -1 .. 1."""
    backend, n, sigma, alpha = backends.select("numpy"), 2000, 1.5, 6.0
    u = uniform(np, key_of(backend).uniform_int16(backend.xp, n, 2 * 8 * 9, "elastic 0"), np.float64)
    fields = elastic_field(backend.xp, u, Elastic(sigma, alpha), 8, 9).reshape(2, n, 8, 9)
    weights = np.exp(-(np.arange(-60, 61) ** 2) / (2 * sigma**2))
    down, across = (
        np.exp(-(np.subtract.outer(np.arange(m), np.arange(m)) ** 2) / (2 * sigma**2)) / weights.sum()
        for m in (8, 9)
    )
    expected = alpha**2 / 3 * np.outer((down**2).sum(1), (across**2).sum(1))
    for field in fields:  # rows, then columns
        np.testing.assert_allclose((field**2).mean(0), expected, rtol=0.15)  # 4.5 standard errors
        assert np.abs(field.mean(0) / np.sqrt(expected / n)).max() < 4.5
    assert abs(np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1]) < 0.02


def test_noise_is_standard_normal_and_cutout_has_its_area() -> None:
    backend = backends.select("numpy")
    x = np.ones((4000, 6, 6))
    noisy = Augmentation("noise 0.5").for_images((6, 6))(backend.xp, x, None, key_of(backend)) - 1
    assert abs(noisy.mean()) < 0.006  # four standard errors
    assert abs(noisy.std() - 0.5) < 0.004
    holes = Augmentation("cutout 3").for_images((6, 6))(backend.xp, x, None, key_of(backend))
    covered = (1 - holes).any(axis=2).sum(axis=1)  # rows of each hole: its centre is in each row as often
    np.testing.assert_allclose(np.bincount(covered, minlength=4)[2:] / 4000, [1 / 3, 2 / 3], atol=0.03)


def rotation(angle: float) -> np.ndarray:
    """The map of places (row, column) from the centre: clockwise, rows being down."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def slant(angle: float) -> np.ndarray:
    return np.array([[1, 0], [math.tan(angle), 1]])


@pytest.mark.parametrize(
    ("entry", "maps"),
    [("rotate 40", [rotation]), ("shear 40", [slant]), ("rotate 40 or shear 40", [rotation, slant])],
)
def test_half_angle_halves_the_angle_of_its_classes_alone(entry: str, maps: list) -> None:
    """Against SciPy's affine_transform at 40 u degrees, or 20 u in class b, u being the random numbers drawn."""
    backend, n, centre = backends.select("numpy"), 16, np.array([4, 4])
    images, labels = RNG.standard_normal((n, 9, 9)), np.arange(n, dtype=np.int32) % 2
    augment = Augmentation(entry, half_angle_classes=("b",)).for_images((9, 9), ("a", "b"))
    found = augment(backend.xp, images, labels, key_of(backend))
    width = 1 if len(maps) == 1 else 3  # the first of three chooses
    u = uniform(np, key_of(backend).uniform_int16(backend.xp, n, width, "augmentation"), np.float64)
    chosen = np.zeros(n, int) if len(maps) == 1 else (u[:, 0] >= 0).astype(int)
    assert len({*zip(chosen.tolist(), labels.tolist(), strict=True)}) == 2 * len(maps)
    for i, image in enumerate(images):
        angle = math.radians((40, 20)[labels[i]]) * u[i, width - len(maps) + chosen[i]]
        matrix = maps[chosen[i]](angle)
        expected = affine_transform(image, matrix, centre - matrix @ centre, order=1, mode="nearest")
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_one_of_two_is_either_and_about_as_often() -> None:
    either = parse_transform("rotate 90 or flip")
    u = [np.linspace(-0.999, 0.999, 1000), np.ones(1000), -np.ones(1000)]
    s = either.source(np, u, 1.0)  # type: ignore[attr-defined]
    turned = np.isclose(s.yy, 0)
    assert turned.sum() == 500
    np.testing.assert_array_equal(s.xx[~turned], -1)


@pytest.mark.parametrize("parts", [2, 3])
def test_microbatches_are_augmented_as_the_whole_batch(parts: int) -> None:
    trainer = make_trainer(augment=Augmentation(*ALL))
    data = images_of(12)
    trainer.initialize(data)
    device, host = trainer.backend.asarray, trainer.backend.to_numpy
    loaded = {"inputs": device(data.inputs), "targets": device(data.targets)}
    indices, step = np.array([3, 1, 4, 7, 5, 9, 2], np.int32), np.asarray(4, np.int32)
    batch = {"indices": device(indices), "step": device(step)}
    (whole,) = trainer.train_step.microbatches(loaded, batch)
    cut = replace(trainer.train_step, n_microbatches=parts)
    rows = [host(cut.step_inputs(part).x) for part in cut.microbatches(loaded, batch)]
    assert len(rows) == parts
    np.testing.assert_allclose(np.concatenate(rows), host(trainer.train_step.step_inputs(whole).x), atol=1e-12)


def test_resume_within_an_epoch_is_bit_identical_and_evaluation_is_not_augmented() -> None:
    data = images_of(40)
    whole, first, second = (make_trainer(augment=Augmentation(*ALL), batch_size=8, epochs=2) for _ in range(3))
    whole.fit(data)
    first.set_options(epochs=1)
    first.fit(data)
    second.initialize(data)
    second.load_state_dict(first.state_dict())
    second.fit(data)
    assert_equal_state(whole, second)
    plain = make_trainer(batch_size=8, epochs=2)
    plain.initialize(data)
    plain.load_params(whole.host_params())
    assert plain.evaluate(data).loss == whole.evaluate(data).loss


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("rotat 15", "Did you mean rotate"),
        ("rotate", "rotate DEGREES"),
        ("rotate x", "rotate DEGREES"),
        ("elastic 5.5", "elastic SIGMA ALPHA"),
        ("scale 100", "below 100"),
        ("shift -1", "at least 0"),
        ("rotate nan", "degrees is nan"),
        ("rotate 5 or elastic 1 2", "`or` chooses among"),
        ("", "no transformation"),
    ],
)
def test_an_entry_that_cannot_be_is_named(entry: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        Augmentation("flip", entry)
    assert said in str(error.value)
    assert repr(entry.split(" or ")[-1]) in str(error.value) or repr(entry) in str(error.value)


@pytest.mark.parametrize("entry", ["rotate 10 or", "or rotate 10", "or"])
def test_or_needs_a_transformation_on_either_side(entry: str) -> None:
    with pytest.raises(UsageError, match=f"augment has '{entry}': `or` stands between two transformations"):
        Augmentation(entry)


def test_a_list_of_entries_and_one_text_of_classes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"each entry as an argument.*got \['flip', 'shift 2'\]"):
        Augmentation(["flip", "shift 2"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"half_angle_classes is a list of names.*got '17'"):
        Augmentation("rotate 10", half_angle_classes="17")


def test_samples_that_are_no_images_are_refused() -> None:
    for arguments, said in [
        ((None,), "no images"),
        (((1, 9),), "no images"),
        (((4, 4), (), True), "per-feature"),
    ]:
        with pytest.raises(UsageError, match=said):
            Augmentation("flip").for_images(*arguments)
    with pytest.raises(UsageError, match="half_angle_classes names 7"):
        Augmentation("flip", half_angle_classes=("7",)).for_images((4, 4), ("0", "1"))
