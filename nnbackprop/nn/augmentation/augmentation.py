"""Random transformations of the images of a training step, on the device, the same on every library.

Every random number is a function of (seed, what for, step, row in the whole batch), from the generator of the
dropout masks, so microbatches, resuming and replaying are exact. All moves of pixels are one map: the affine ones
multiplied in their order, elastic displacements added (Ciresan, Meier, Gambardella and Schmidhuber, "Deep, big,
simple neural nets for handwritten digit recognition", Neural Computation 2010, section 3), and the image sampled
once. What changes values, noise and cutout, comes after, in its order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any

from backends import Array, device_of
from nnbackprop.errors import UsageError
from nnbackprop.nn.rng import RngKey

from .sampling import bilinear
from .transforms import Affine, Cutout, Elastic, Geometric, Noise, Transform, parse_transform


@dataclass(frozen=True, init=False)
class Augmentation:
    """Random transformations for a `Trainer`, written as in a configuration; applied in training only.

    >>> entries = "elastic 5.5 37", "rotate 15 or shear 15", "scale 17.5"
    >>> augment = nb.Augmentation(*entries, half_angle_classes=("1", "7"))
    >>> len(augment.transforms)
    3

    `half_angle_classes` names classes that are turned and slanted by half as much at most: a turned 1 is a 7.

    Raises:
        UsageError: an entry that is no transformation, names of classes that are one text.
    """

    transforms: tuple[Transform, ...]
    half_angle_classes: tuple[str, ...] = ()

    def __init__(self, *entries: str, half_angle_classes: Sequence[str] = ()) -> None:
        if not all(isinstance(entry, str) for entry in entries):
            raise UsageError(
                f'Augmentation takes each entry as an argument, as in nb.Augmentation("flip", "shift 2"); got '
                f"{', '.join(map(repr, entries))}."
            )
        if isinstance(half_angle_classes, str):
            raise UsageError(
                f'half_angle_classes is a list of names, such as ("1", "7"); got {half_angle_classes!r}.'
            )
        object.__setattr__(self, "transforms", tuple(map(parse_transform, entries)))
        object.__setattr__(self, "half_angle_classes", tuple(half_angle_classes))

    def for_images(
        self, image_shape: tuple[int, ...] | None, classes: Sequence[str] = (), scales_each: bool = False
    ) -> ImageAugmenter:
        """The function of a step for images of this shape and these classes.

        Raises:
            UsageError: samples that are no images, a class that there is not, or `scales_each`: each pixel has a
                scale of its own.
        """
        if image_shape is None or min(image_shape[:2]) < 2:
            raise UsageError(
                f"Augmentation moves pixels, and these samples are no images (shape {image_shape}): leave it out, "
                "or give the inputs the shape (samples, rows, columns) or (samples, rows, columns, channels)."
            )
        if scales_each:
            raise UsageError(
                "Augmentation moves pixels from place to place, and the scaling per-feature gives each place a "
                "scale of its own: take scale='standard' or 'unit'."
            )
        if unknown := [name for name in self.half_angle_classes if name not in classes]:
            raise UsageError(
                f"half_angle_classes names {', '.join(unknown)}, and the classes are "
                f"{', '.join(classes) or 'none'}: name some of these, or leave it out."
            )
        labels = tuple(classes.index(name) for name in self.half_angle_classes)
        rows, columns, channels = (*image_shape, 1)[:3]
        return ImageAugmenter(self.transforms, (rows, columns, channels), labels)


@dataclass(frozen=True)
class ImageAugmenter:
    """`augment(xp, x, labels, key) -> x` for images of one shape; labels with half the angle in `half_labels`."""

    transforms: tuple[Transform, ...]
    image_shape: tuple[int, int, int]
    half_labels: tuple[int, ...] = ()

    def __call__(self, xp: Any, x: Array, labels: Array | None, key: RngKey) -> Array:
        """x (n, *sample_shape), transformed sample by sample; labels (n,) matter to `half_labels` alone."""
        n, u = x.shape[0], self._uniform(xp, x, key)
        y = xp.reshape(x, (n, *self.image_shape))
        if any(isinstance(t, Geometric | Elastic) for t in self.transforms):
            y = bilinear(xp, y, *self.places(xp, x, labels, key, u))
        for i, t in enumerate(self.transforms):
            if isinstance(t, Noise):
                normal = random_normal(xp, key, n, math.prod(self.image_shape), f"noise {i}", x.dtype)
                y = y + t.std * xp.reshape(normal, y.shape)
            elif isinstance(t, Cutout):
                y = y * self._hole(xp, t, u[i])
        return xp.reshape(y, x.shape)

    def places(
        self, xp: Any, x: Array, labels: Array | None, key: RngKey, u: Sequence[Sequence[Array]]
    ) -> tuple[Array, Array]:
        """Rows and columns (n, height width) of the image that the pixels of the new one come from.

        u has the random numbers of each transformation, vectors (n,) uniform in -1 .. 1.
        """
        n, (height, width, _), amount = x.shape[0], self.image_shape, self._amount(xp, x, labels)
        zeros = xp.zeros((n,), dtype=x.dtype, device=device_of(x))
        sources = (
            t.source(xp, numbers, amount)
            for t, numbers in zip(self.transforms, u, strict=True)
            if isinstance(t, Geometric)
        )
        s = reduce(Affine.after, sources, Affine())
        centre = ((height - 1) / 2, (width - 1) / 2)
        lines = (s.yy, s.yx, s.ty + centre[0]), (s.xy, s.xx, s.tx + centre[1])
        maps = xp.concat([xp.stack([zeros + a for a in line], axis=1) for line in lines], axis=0)
        places = xp.matmul(maps, pixel_places(xp, x, height, width))
        for i, t in enumerate(self.transforms):
            if isinstance(t, Elastic):
                u_field = uniform(xp, key.uniform_int16(xp, n, 2 * height * width, f"elastic {i}"), x.dtype)
                places = places + elastic_field(xp, u_field, t, height, width)
        return places[:n, :], places[n:, :]

    def _uniform(self, xp: Any, x: Array, key: RngKey) -> list[list[Array]]:
        """For each transformation its vectors (n,) of uniform numbers, all of one call of the generator."""
        ends = list(accumulate((t.n_random for t in self.transforms), initial=0))
        if not ends[-1]:
            return [[] for _ in self.transforms]
        u = uniform(xp, key.uniform_int16(xp, x.shape[0], ends[-1], "augmentation"), x.dtype)
        return [[u[:, k] for k in range(begin, end)] for begin, end in pairwise(ends)]

    def _amount(self, xp: Any, x: Array, labels: Array | None) -> Array | float:
        """What share of an angle each sample gets: 1, or 1/2."""
        if not self.half_labels or labels is None:
            return 1.0
        halved = reduce(xp.logical_or, [labels == label for label in self.half_labels])
        return 1 - 0.5 * xp.astype(halved, x.dtype)

    def _hole(self, xp: Any, cutout: Cutout, u: Sequence[Array]) -> Array:
        """0 in a square of each image, 1 elsewhere: (n, height, width, 1)."""
        inside = []
        for size, number in zip(self.image_shape[:2], u, strict=True):
            first = xp.floor((number + 1) * (size / 2)) - cutout.pixels // 2
            begin = xp.reshape(first, (-1, 1))
            place = xp.reshape(xp.arange(size, dtype=number.dtype, device=device_of(number)), (1, -1))
            inside.append(xp.astype((place >= begin) & (place < begin + cutout.pixels), number.dtype))
        rows, columns = inside
        return 1 - xp.reshape(rows, (*rows.shape, 1, 1)) * xp.reshape(columns, (-1, 1, columns.shape[1], 1))


def uniform(xp: Any, numbers: Array, dtype: Any) -> Array:
    """(k + 1/2) / 2^15, in -1 .. 1, of `RngKey.uniform_int16`."""
    return (xp.astype(numbers, dtype) + 0.5) * 2.0**-15


def random_normal(xp: Any, key: RngKey, rows: int, width: int, purpose: str, dtype: Any) -> Array:
    """Standard normal numbers (rows, width), two of two uniform ones (Box and Muller, 1958)."""
    half = -(-width // 2)
    u = uniform(xp, key.uniform_int16(xp, rows, 2 * half, purpose), dtype)
    radius, angle = xp.sqrt(-2 * xp.log((u[:, :half] + 1) * 0.5)), math.pi * u[:, half:]
    return xp.concat([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)[:, :width]


def pixel_places(xp: Any, like: Array, height: int, width: int) -> Array:
    """Row and column of each pixel from the image's centre, and 1: (3, height width)."""
    shape, device = (height, width), device_of(like)
    rows = xp.reshape(xp.arange(height, dtype=like.dtype, device=device), (-1, 1)) - (height - 1) / 2
    columns = xp.reshape(xp.arange(width, dtype=like.dtype, device=device), (1, -1)) - (width - 1) / 2
    lines = xp.broadcast_to(rows, shape), xp.broadcast_to(columns, shape), xp.ones_like(rows + columns)
    return xp.reshape(xp.stack(lines), (3, -1))


def gaussian_matrix(xp: Any, like: Array, size: int, sigma: float) -> Array:
    """G_ij = e^(-(i - j)^2 / 2 sigma^2) / sum_k e^(-k^2 / 2 sigma^2): a filter of a line of `size` numbers.

    The sum is over all whole k; beyond the line's ends there are zeros.
    """
    reach = math.ceil(40 * sigma)
    total = math.fsum(math.exp(-(k * k) / (2 * sigma * sigma)) for k in range(-reach, reach + 1))
    i = xp.arange(size, dtype=like.dtype, device=device_of(like))
    distance = xp.reshape(i, (-1, 1)) - xp.reshape(i, (1, -1))
    return xp.exp(distance * distance * (-1 / (2 * sigma * sigma))) * (1 / total)


def elastic_field(xp: Any, u: Array, elastic: Elastic, height: int, width: int) -> Array:
    """alpha G U G^T: displacements (2 n, height width) in pixels, of n images the rows, then the columns.

    u (n, 2 height width), uniform in -1 .. 1.
    """
    n = u.shape[0]
    down, across = (gaussian_matrix(xp, u, size, elastic.sigma) for size in (height, width))
    lines = xp.matmul(xp.reshape(u, (-1, width)), across)  # a Gaussian matrix is its own transpose
    columns = xp.permute_dims(xp.reshape(lines, (n, 2, height, width)), (1, 0, 3, 2))
    fields = xp.matmul(xp.reshape(columns, (-1, height)), elastic.alpha * down)  # of one matrix: a product of many
    fields = xp.permute_dims(xp.reshape(fields, (2 * n, width, height)), (0, 2, 1))  # cannot be captured on CUDA
    return xp.reshape(fields, (2 * n, height * width))
