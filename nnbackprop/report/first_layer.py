"""The weights of the first layer as images of what its units look for."""

from __future__ import annotations

import numpy as np

from backends import Backend, leaves
from nnbackprop.nn.layers import Conv2D
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.layers.windows import pair
from nnbackprop.nn.sequential import Sequential


def first_layer_images(
    network: Sequential, params: Params, backend: Backend, image_shape: tuple[int, ...] | None
) -> np.ndarray | None:
    """(units, rows, columns), or (units, rows, columns, 3) of colours, on the host, for samples of `image_shape`.

    Of a convolution the images are its kernels. None where samples are no images, or the first weights have
    another shape.
    """
    for _, layer, branch in network.named_layers(params):
        weights = next((a for a in leaves(branch) if a.ndim == 2), None)  # (inputs, units)
        if weights is None:
            continue
        if image_shape is None:
            return None
        if isinstance(layer, Conv2D):
            image_shape = (*pair(layer.kernel_size, "kernel_size"), *image_shape[2:])
        if weights.shape[0] != np.prod(image_shape):
            return None
        return backend.to_numpy(weights).T.reshape(-1, *image_shape)
    return None
