"""A picture of what augmentation does to images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from backends import select
from nnbackprop.data.dataset import Dataset
from nnbackprop.nn.augmentation import Augmentation
from nnbackprop.nn.rng import RngKey

from .plots import image_grid
from .style import new_plot

IMAGES, COPIES = 8, 7


def augmentation_plot(dataset: Dataset, entries: Sequence[str], seed: int) -> Figure:
    """A row an image: the first column as it is, the others transformed; UsageError for samples that are none."""
    backend = select("numpy")
    augment = Augmentation(*entries).for_images(dataset.image_shape)
    images = dataset.inputs[:: max(1, len(dataset) // IMAGES)][:IMAGES].astype(np.float32)
    images /= float(images.max()) or 1.0
    copies = [images] + [
        augment(backend.xp, images, None, RngKey(seed, np.array(k, np.int32))) for k in range(COPIES)
    ]
    shown = np.stack(copies, axis=1).reshape(-1, *augment.image_shape)
    figure, axes = new_plot(f"As they are, and {', '.join(entries)}", 6.5, 6.8)
    axes.imshow(np.clip(image_grid(shown, 1 + COPIES), 0, 1).squeeze(), cmap="gray_r", interpolation="nearest")
    axes.set_axis_off()
    return figure
