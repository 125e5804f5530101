"""The first layer's weights as images: of dense layers, of convolutions, of colours."""

from __future__ import annotations

import numpy as np
import pytest

from backends import Backend
from nnbackprop.data.dataset import Dataset
from nnbackprop.nn.layers import BatchNorm, Conv2D, Dense, Flatten
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD
from nnbackprop.report.first_layer import first_layer_images
from nnbackprop.training.trainer import Trainer


def trainer_of(backend: Backend, sample_shape: tuple[int, ...], *layers: object) -> Trainer:
    trainer = Trainer(Sequential(*layers, Dense(2)), SoftmaxCrossEntropy(), SGD(), lr=0.1, backend=backend)
    trainer.initialize(Dataset(np.zeros((4, *sample_shape)), np.arange(4) % 2, ("a", "b")))
    return trainer


def images_of(trainer: Trainer, image_shape: tuple[int, ...] | None) -> np.ndarray | None:
    return first_layer_images(trainer.network, trainer.params, trainer.backend, image_shape)


@pytest.mark.parametrize("image_shape", [(3, 2), (3, 2, 3)], ids=["grey", "colours"])
def test_a_dense_unit_looks_at_the_whole_image(backend: Backend, image_shape: tuple[int, ...]) -> None:
    trainer = trainer_of(backend, (int(np.prod(image_shape)),), BatchNorm(), Dense(5))
    images = images_of(trainer, image_shape)
    assert images is not None
    W = trainer.host_params()[1]["W"]
    assert images.shape == (5, *image_shape)
    assert images[4, 2, 1, ...].ravel().tolist() == W.reshape(*image_shape, 5)[2, 1, ..., 4].ravel().tolist()


@pytest.mark.parametrize(("channels", "shape"), [(1, (3, 4)), (3, (3, 4, 3))], ids=["grey", "colours"])
def test_a_filter_looks_at_its_window(backend: Backend, channels: int, shape: tuple[int, ...]) -> None:
    trainer = trainer_of(backend, (6, 7, channels), Conv2D(5, (3, 4)), Flatten())
    images = images_of(trainer, (6, 7) if channels == 1 else (6, 7, 3))
    assert images is not None
    W = trainer.host_params()[0]["W"]
    assert images.shape == (5, *shape)
    assert images[2, 0, 3, ...].ravel().tolist() == W.reshape(3, 4, channels, 5)[0, 3, :, 2].tolist()


def test_samples_that_are_no_images_have_none(backend: Backend) -> None:
    assert images_of(trainer_of(backend, (6,), Dense(5)), None) is None
