"""The check of augmentation: what is seen in an image stays in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backends import NumpyBackend
from nnbackprop.data.background import background_of
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding, Level
from nnbackprop.nn.augmentation import ImageAugmenter
from nnbackprop.nn.augmentation.transforms import Elastic, Geometric, Noise, OneOf, Transform
from nnbackprop.nn.rng import RngKey

from .probes import ModelProbe

MAX_NUMBERS = 1 << 18  # of the images that are transformed: 200 of 28 x 28
LOST = 0.5  # of an image's ink that is left: a digit with less is hard to read
MAX_LOST, MAX_LOST_FAULT = 0.05, 0.33  # of the images: a label of an empty image is noise
MAX_NOISE = 2.0  # standard deviations of the images


def augmentation_loses_image(probe: ModelProbe) -> CheckResult:
    """Transformations that move the image out, cover it, or drown it in noise."""
    shape = probe.dataset.image_shape
    if probe.augment is None or shape is None:
        return NOT_APPLICABLE
    spread = float(probe.to_numpy(probe.x).std())
    for t in probe.augment.transforms:
        if isinstance(t, Noise) and t.std > MAX_NOISE * spread > 0:
            return _noise(t, spread)
    n = max(1, min(len(probe.dataset), MAX_NUMBERS // max(1, int(np.prod(shape)))))
    inputs = probe.dataset.inputs[:n]
    images = np.asarray(inputs, np.float64).reshape(n, *(*shape, 1)[:3])
    labels = probe.dataset.targets[:n] if probe.dataset.classes else None
    augmenter = probe.augment.for_images(shape, probe.dataset.classes)
    ink = np.abs(images - np.array(background_of(images))).sum(axis=3)
    kept = kept_ink(augmenter, ink, labels, probe.seed)
    lost = float(np.mean(kept < LOST))
    if lost < MAX_LOST:
        return None
    alone = [replace(augmenter, transforms=(t,)) for t in augmenter.transforms]
    worst = min(alone, key=lambda a: float(kept_ink(a, ink, labels, probe.seed).mean())).transforms[0]
    level: Level = "fault" if lost > MAX_LOST_FAULT else "warning"
    return Finding(
        "augmentation-loses-image",
        level,
        evidence=(
            f"After augmentation {lost:.0%} of {n} images show less than half of what they did "
            f"({kept.mean():.0%} on average); {written(worst)} takes the most away."
        ),
        cause="Images are moved or stretched out of view, or covered, and keep their labels: noise to learn.",
        fix=f"A smaller {written(worst)}; nnbackprop data inspect DATA --augment ... shows what it does.",
    )


def _noise(noise: Noise, spread: float) -> Finding:
    return Finding(
        "augmentation-loses-image",
        "fault",
        evidence=f"{written(noise)} is added to images whose own standard deviation is {spread:.3g}.",
        cause="Noise is in the unit of the scaled inputs, not of bytes: images drown in it.",
        fix=f"noise {spread / 5:.2g}, a fifth of the images' standard deviation",
    )


def kept_ink(augmenter: ImageAugmenter, ink: np.ndarray, labels: np.ndarray | None, seed: int) -> np.ndarray:
    """The share of its ink (n, height, width) that each image keeps, (n,).

    By substitution, the sum over the new image of ink(source) |d source / d place| is the ink of all the places
    that it shows. Cutout's holes show none.
    """
    xp, key = NumpyBackend().xp, RngKey(seed, np.array(0, np.int32))
    n, height, width = ink.shape
    still = tuple(replace(t, std=0.0) if isinstance(t, Noise) else t for t in augmenter.transforms)
    augmenter = replace(augmenter, transforms=still, image_shape=(height, width, 1))
    flat = np.ones((n, height * width))
    shown = ink
    if any(isinstance(t, Geometric | Elastic) for t in still):
        u = augmenter._uniform(xp, flat, key)
        rows, columns = (a.reshape(n, height, width) for a in augmenter.places(xp, flat, labels, key, u))
        (rr, rc), (cr, cc) = (np.gradient(a, axis=(1, 2)) for a in (rows, columns))
        r, c = (np.rint(a).astype(np.int64) for a in (rows, columns))
        inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
        source = ink[np.arange(n).reshape(-1, 1, 1), np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)]
        shown = source * inside * np.abs(rr * cc - rc * cr)
    holes = augmenter(xp, flat, labels, key).reshape(ink.shape)  # of an image of ones
    total = ink.sum(axis=(1, 2))
    return np.divide((shown * holes).sum(axis=(1, 2)), total, out=np.ones(n), where=total > 0)


def written(t: Transform) -> str:
    """A transformation as it is written in a configuration."""
    if isinstance(t, OneOf):
        return " or ".join(map(written, t.choices))
    return " ".join([t.name, *(f"{value:g}" for value in vars(t).values())])
