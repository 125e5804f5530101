"""Random transformations of images, and how one is written: `rotate 15`, `elastic 5.5 37`.

A geometric one says where each pixel of the new image comes from: `source(xp, u, amount)` is the affine map from a
place in the new image to the place in the old one, both in pixels from the image's centre, rows down. u holds
`n_random` vectors (n,) of uniform numbers in -1 .. 1, and `amount` (n,) what share of an angle a sample gets.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

from backends import Array
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import use_python_numbers


class Affine(NamedTuple):
    """(row, column) -> (yy row + yx column + ty, xy row + xx column + tx); numbers, or vectors (n,)."""

    yy: Array | float = 1.0
    yx: Array | float = 0.0
    ty: Array | float = 0.0
    xy: Array | float = 0.0
    xx: Array | float = 1.0
    tx: Array | float = 0.0

    def after(self, first: Affine) -> Affine:
        """The map p -> self(first(p))."""
        a, b = self, first
        return Affine(
            a.yy * b.yy + a.yx * b.xy,
            a.yy * b.yx + a.yx * b.xx,
            a.yy * b.ty + a.yx * b.tx + a.ty,
            a.xy * b.yy + a.xx * b.xy,
            a.xy * b.yx + a.xx * b.xx,
            a.xy * b.ty + a.xx * b.tx + a.tx,
        )


def _strength(low: float, high: float = math.inf) -> Any:
    """A field for a number of at least `low` and below `high`."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Transform:
    """A transformation with its strength in `fields`; `name` and `usage` are how it is written."""

    name: ClassVar[str]
    usage: ClassVar[str]
    n_random: ClassVar[int] = 0

    def __post_init__(self) -> None:
        use_python_numbers(self)
        for strength in fields(self):
            value, (low, high) = getattr(self, strength.name), strength.metadata["range"]
            if not low <= value < high:
                bounds = f"at least {low:g}" if high == math.inf else f"at least {low:g} and below {high:g}"
                raise UsageError(f"{strength.name} is {value:g} and must be {bounds}: write it as {self.usage}.")


class Geometric(Transform):
    """A transformation that moves pixels by an affine map."""

    def source(self, xp: Any, u: Sequence[Array], amount: Array | float) -> Affine:
        """Where the pixels of the new image come from, in the old one."""
        raise NotImplementedError


@dataclass(frozen=True)
class Shift(Geometric):
    """Moves an image by up to so many pixels down or up, and across."""

    name: ClassVar[str] = "shift"
    usage: ClassVar[str] = "shift PIXELS, such as shift 2"
    n_random: ClassVar[int] = 2
    pixels: float = _strength(0)

    def source(self, xp: Any, u: Sequence[Array], amount: Array | float) -> Affine:
        return Affine(ty=self.pixels * u[0], tx=self.pixels * u[1])


@dataclass(frozen=True)
class Rotate(Geometric):
    """Turns an image about its centre by up to so many degrees, either way."""

    name: ClassVar[str] = "rotate"
    usage: ClassVar[str] = "rotate DEGREES, such as rotate 15"
    n_random: ClassVar[int] = 1
    degrees: float = _strength(0, 180.5)

    def source(self, xp: Any, u: Sequence[Array], amount: Array | float) -> Affine:
        angle = math.radians(self.degrees) * amount * u[0]
        cos, sin = xp.cos(angle), xp.sin(angle)
        return Affine(yy=cos, yx=-sin, xy=sin, xx=cos)


@dataclass(frozen=True)
class Shear(Geometric):
    """Slants an image by up to so many degrees: its rows move across in proportion to their height."""

    name: ClassVar[str] = "shear"
    usage: ClassVar[str] = "shear DEGREES, such as shear 15"
    n_random: ClassVar[int] = 1
    degrees: float = _strength(0, 80)

    def source(self, xp: Any, u: Sequence[Array], amount: Array | float) -> Affine:
        return Affine(xy=xp.tan(math.radians(self.degrees) * amount * u[0]))


@dataclass(frozen=True)
class Scale(Geometric):
    """Stretches or shrinks an image by up to so many per cent, its height and its width each by its own number."""

    name: ClassVar[str] = "scale"
    usage: ClassVar[str] = "scale PER_CENT, such as scale 17.5"
    n_random: ClassVar[int] = 2
    percent: float = _strength(0, 100)

    def source(self, xp: Any, u: Sequence[Array], amount: Array | float) -> Affine:
        height, width = (1 + self.percent / 100 * number for number in u)
        return Affine(yy=1 / height, xx=1 / width)


@dataclass(frozen=True)
class Flip(Geometric):
    """Mirrors an image left to right, with probability 1/2."""

    name: ClassVar[str] = "flip"
    usage: ClassVar[str] = "flip"
    n_random: ClassVar[int] = 1

    def source(self, xp: Any, u: Sequence[Array], amount: Array | float) -> Affine:
        return Affine(xx=1 - 2 * xp.astype(u[0] < 0, u[0].dtype))


@dataclass(frozen=True)
class OneOf(Geometric):
    """One of several geometric transformations for each image, all as likely."""

    choices: tuple[Geometric, ...]

    def __post_init__(self) -> None:
        pass

    @property
    def n_random(self) -> int:  # type: ignore[override]
        """One to choose by, and those of all choices."""
        return 1 + sum(choice.n_random for choice in self.choices)

    def source(self, xp: Any, u: Sequence[Array], amount: Array | float) -> Affine:
        place, begin, total = (u[0] + 1) * (len(self.choices) / 2), 1, Affine(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        for i, choice in enumerate(self.choices):
            end = begin + choice.n_random
            chosen = xp.astype((place >= i) & (place < i + 1), place.dtype)
            source = choice.source(xp, u[begin:end], amount)
            total = Affine(*(a + chosen * b for a, b in zip(total, source, strict=True)))
            begin = end
        return total


@dataclass(frozen=True)
class Elastic(Transform):
    """Displaces every pixel by a smooth random field, as if the image were drawn on rubber.

    The field is alpha G U G^T in pixels, for rows and for columns, with U uniform in -1 .. 1 and G the matrix of a
    Gaussian filter of standard deviation sigma pixels (Simard, Steinkraus and Platt, "Best practices for
    convolutional neural networks", ICDAR 2003, section 2).
    """

    name: ClassVar[str] = "elastic"
    usage: ClassVar[str] = "elastic SIGMA ALPHA, such as elastic 5.5 37"
    sigma: float = _strength(0.1)
    alpha: float = _strength(0)


@dataclass(frozen=True)
class Noise(Transform):
    """Adds Gaussian noise of this standard deviation, in the unit of the scaled inputs."""

    name: ClassVar[str] = "noise"
    usage: ClassVar[str] = "noise STD, such as noise 0.1"
    std: float = _strength(0)


@dataclass(frozen=True)
class Cutout(Transform):
    """Sets a square of so many pixels a side to 0 in each image; its centre is anywhere in the image.

    So part of it may lie outside (DeVries and Taylor, "Improved regularization of convolutional neural networks
    with Cutout", arXiv:1708.04552, 2017).
    """

    name: ClassVar[str] = "cutout"
    usage: ClassVar[str] = "cutout PIXELS, such as cutout 8"
    n_random: ClassVar[int] = 2
    pixels: float = _strength(1)


TRANSFORMS: dict[str, type[Transform]] = {
    kind.name: kind for kind in (Shift, Rotate, Shear, Scale, Flip, Elastic, Noise, Cutout)
}
"""Transformations by the word that begins an entry of `augment`."""


def parse_transform(entry: str) -> Transform:
    """`rotate 15`, or `rotate 15 or shear 15` for one of the two; UsageError names the entry and what it takes."""
    words = entry.split()
    if "or" in words:
        parts = f" {' '.join(words)} ".split(" or ")
        if not all(part.strip() for part in parts):
            raise UsageError(
                f"augment has {entry!r}: `or` stands between two transformations, as in rotate 15 or shear 15."
            )
        choices = [parse_transform(part) for part in parts]
        if not all(isinstance(choice, Geometric) for choice in choices):
            raise UsageError(
                f"augment has {entry!r}: `or` chooses among shift, rotate, shear, scale and flip. Give the others "
                "an entry of their own."
            )
        return OneOf(tuple(choices))  # type: ignore[arg-type]
    name, numbers = (words[0], words[1:]) if words else ("", [])
    if (kind := TRANSFORMS.get(name)) is None:
        near = difflib.get_close_matches(name, TRANSFORMS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(TRANSFORMS)}."
        raise UsageError(f"augment has {entry!r}, and there is no transformation {name!r}. {hint}")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if len(values) != len(numbers) or len(values) != len(fields(kind)):
        raise UsageError(f"augment has {entry!r}: write it as {kind.usage}.")
    try:
        return kind(*values)
    except UsageError as error:
        raise UsageError(f"augment has {entry!r}: {error}") from None
