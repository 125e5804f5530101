"""Faults planted in the layers of images, normalization, dropout and augmentation: each is found under its id.

Right networks of the same kind have no finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Backend, NumpyBackend, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling, fit_scaling
from nnbackprop.diagnostics.doctor import LAYER_CHECKS, TRAINED_CHECKS, ModelProbe
from nnbackprop.diagnostics.doctor.probes import MAX_SAMPLES
from nnbackprop.diagnostics.doctor.run import diagnose
from nnbackprop.diagnostics.findings import Diagnosis, run_checks
from nnbackprop.nn.augmentation import Augmentation
from nnbackprop.nn.initializers import Zeros
from nnbackprop.nn.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Softmax,
    SpatialDropout2D,
    Tanh,
)
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import Adam
from nnbackprop.runs import build
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_data import RunData
from nnbackprop.training.step import Objective
from nnbackprop.training.trainer import Trainer
from tests.support.clouds import cloud_dataset
from tests.support.wrong_layers import (
    AlwaysTraining,
    BatchNormalization,
    InstanceNorm,
    Masked,
    OwnBatchNorm,
    OwnDropout,
    OwnSoftmax,
    UndeclaredStatistics,
    image_data,
    smooth_images,
)

NUMPY = NumpyBackend()
CLOUDS = cloud_dataset(60)
COLOURS = image_data(smooth_images(60, 12, 12, 3))
GREY = image_data(smooth_images(60, 28, 28))
NOISE = image_data(np.random.default_rng(0).standard_normal((60, 12, 12, 3)))
MNIST = RunData.load(resolve("mnist", {})).train


def probe(
    *layers: Layer, data: Dataset = CLOUDS, network: Any = Sequential, backend: Backend = NUMPY, **more: Any
) -> ModelProbe:
    return ModelProbe(
        backend, Objective(network(*layers), SoftmaxCrossEntropy()), data, Scaling.identity(), "float32", **more
    )


BEHAVIOUR = ("batch-leak", "evaluation-not-deterministic")
CHECKS = {**LAYER_CHECKS, **{id: TRAINED_CHECKS[id] for id in BEHAVIOUR}}


def check(of: ModelProbe) -> Diagnosis:
    return run_checks(CHECKS, of.subset(MAX_SAMPLES))


def levels(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.id: finding.level for finding in diagnosis.findings}


def dense(*between: Layer) -> tuple[Layer, ...]:
    return (Dense(16), *between, ReLU(), Dense(4))


def conv(*between: Layer) -> tuple[Layer, ...]:
    return (Conv2D(6, 3), *between, ReLU(), GlobalAveragePool2D(), Dense(4))


def augmented(*entries: str, data: Dataset = MNIST) -> ModelProbe:
    scaled = probe(Flatten(), Dense(len(data.classes)), data=data, augment=Augmentation(*entries))
    return replace(scaled, scaling=fit_scaling("unit" if data is MNIST else "none", data))


def trained(*layers: Layer, epochs: int = 20, data: Dataset = CLOUDS, **changed: float) -> ModelProbe:
    """After training; with some running statistics put back to a value."""
    network = Sequential(*layers)
    trainer = Trainer(network, SoftmaxCrossEntropy(), Adam(), 0.01, backend=NUMPY, epochs=epochs, batch_size=10)
    trainer.fit(data)
    params = tuple(
        {name: np.full_like(a, changed[name]) if name in changed else a for name, a in p.items()}
        for p in tree_map(np.copy, trainer.params)
    )
    return probe(*layers, data=data, trained=params)


CHANNELS_FIRST = Dataset(np.ascontiguousarray(np.moveaxis(COLOURS.inputs, 3, 1)), COLOURS.targets, COLOURS.classes)
PLANAR = Dataset(CHANNELS_FIRST.inputs.reshape(60, 12, 12, 3), COLOURS.targets, COLOURS.classes)
FIRST_OF_NOISE = Dataset(np.moveaxis(NOISE.inputs, 3, 1), NOISE.targets, NOISE.classes)
ONE_CHANNEL_FIRST = Dataset(np.moveaxis(GREY.inputs, 3, 1), GREY.targets, GREY.classes)

FAULTS: dict[str, tuple[Callable[[], ModelProbe], str, str]] = {
    # id and level, and what the text of the finding says
    "batch norm of vectors over axis 1": (
        lambda: probe(*dense(OwnBatchNorm((1,)))),
        "batchnorm-axis fault",
        "ownbatchnorm1 normalizes over axis 1",
    ),
    "batch norm over the axes of channels first": (
        lambda: probe(*conv(OwnBatchNorm((0, 2, 3))), data=COLOURS),
        "batchnorm-axis fault",
        "over axes 0, 2, 3",
    ),
    "batch norm over all axes at once": (
        lambda: probe(*conv(OwnBatchNorm((0, 1, 2, 3))), data=COLOURS),
        "batchnorm-axis fault",
        "over axes 0, 1, 2, 3",
    ),
    "batch norm of images over the batch alone": (
        lambda: probe(*conv(OwnBatchNorm((0,))), data=COLOURS),
        "batchnorm-axis warning",
        "likely",
    ),
    "batch norm by its name, without running statistics": (
        lambda: probe(*dense(BatchNormalization((1,)))),
        "batchnorm-axis fault",
        "Likely",
    ),
    "running statistics handed back as they are": (
        lambda: probe(*dense(OwnBatchNorm(updates=()))),
        "running-statistics fault",
        "ownbatchnorm1 leaves mean and var as they were",
    ),
    "a running mean without the variance": (
        lambda: probe(*dense(OwnBatchNorm(updates=("mean",)))),
        "running-statistics fault",
        "ownbatchnorm1 leaves var as",
    ),
    "running statistics that are not declared": (
        lambda: probe(*dense(UndeclaredStatistics())),
        "running-statistics fault",
        'buffers = ("mean", "var")',
    ),
    "a trained network with the running statistics of its start": (
        lambda: trained(*dense(BatchNorm()), mean=0.0, var=1.0),
        "running-statistics fault",
        "batchnorm1 has the mean and var that it began with",
    ),
    "a momentum too small for so few steps": (
        lambda: trained(*dense(BatchNorm(momentum=0.001)), data=far(CLOUDS)),
        "running-statistics warning",
        "with the batch's own statistics",
    ),
    "Keras's momentum": (
        lambda: probe(*dense(BatchNorm(momentum=0.99))),
        "running-statistics warning",
        "momentum=0.01",
    ),
    "batch statistics in evaluation": (
        lambda: probe(*dense(OwnBatchNorm(evaluates=False))),
        "evaluation-in-training-mode fault",
        "ownbatchnorm1 normalizes by the batch in evaluation too",
    ),
    "dropout in evaluation, the same in every call": (
        lambda: probe(*dense(OwnDropout())),
        "evaluation-in-training-mode fault",
        "owndropout1 sets",
    ),
    "dropout in evaluation, drawn anew": (
        lambda: probe(*dense(OwnDropout(seed=None, inverted=False))),
        "evaluation-in-training-mode fault",
        "owndropout1 sets",
    ),
    "a network that is always in training": (
        lambda: probe(*dense(BatchNorm()), network=AlwaysTraining),
        "evaluation-in-training-mode fault",
        "batchnorm1 normalizes by the batch",
    ),
    "a network that always drops": (
        lambda: probe(*dense(Dropout(0.3)), network=AlwaysTraining),
        "evaluation-in-training-mode fault",
        "dropout1 sets",
    ),
    "softmax over rows, axis 1 as with channels first": (
        lambda: probe(Conv2D(4, 3), OwnSoftmax((1,)), GlobalAveragePool2D(), Dense(4), data=COLOURS),
        "softmax-over-space fault",
        "sum to 1 over axis 1",
    ),
    "softmax over all places": (
        lambda: probe(Conv2D(4, 3), OwnSoftmax((1, 2)), Flatten(), Dense(4), data=COLOURS),
        "softmax-over-space warning",
        "Likely",
    ),
    "softmax over places and channels at once": (
        lambda: probe(Conv2D(4, 3), OwnSoftmax((1, 2, 3)), Flatten(), Dense(4), data=COLOURS),
        "softmax-over-space warning",
        "axes 1, 2, 3",
    ),
    "softmax of a flattened image": (
        lambda: probe(Conv2D(4, 3), Flatten(), Softmax(), Dense(4), data=COLOURS),
        "softmax-over-space warning",
        "10 x 10 places",
    ),
    "channels first": (
        lambda: probe(*conv(), data=CHANNELS_FIRST),
        "images-channels-first fault",
        "np.moveaxis(inputs, 1, -1)",
    ),
    "channels first of noise": (
        lambda: probe(*conv(), data=FIRST_OF_NOISE),
        "images-channels-first warning",
        "likely",
    ),
    "one channel first": (
        lambda: probe(Conv2D(6, 3, padding="same"), ReLU(), Flatten(), Dense(4), data=ONE_CHANNEL_FIRST),
        "images-channels-first fault",
        "(1, 28, 28)",
    ),
    "planes of colours reshaped to channels last": (
        lambda: probe(*conv(), data=PLANAR),
        "images-channels-first fault",
        "reshape(-1, 3, 12, 12)",
    ),
    "a stride larger than the kernel": (
        lambda: probe(Conv2D(8, 3, stride=5), ReLU(), Flatten(), Dense(4), data=GREY),
        "image-vanishes warning",
        "conv2d1",
    ),
    "a pooling that leaves most of the image over": (
        lambda: probe(Conv2D(8, 3), MaxPool2D(2), ReLU(), MaxPool2D(7), Flatten(), Dense(4), data=GREY),
        "image-vanishes warning",
        "maxpool2d2 reads 7 of 13 rows",
    ),
    "twelve convolutions without padding": (
        lambda: probe(
            *(layer for _ in range(12) for layer in (Conv2D(6, 3), ReLU())), Flatten(), Dense(4), data=GREY
        ),
        "image-vanishes warning",
        "padding",
    ),
    "windows of padding alone, but for one pixel": (
        lambda: probe(
            Conv2D(6, 3), MaxPool2D(10), Conv2D(6, 3, padding="same"), ReLU(), Flatten(), Dense(4), data=COLOURS
        ),
        "image-vanishes warning",
        "89%",
    ),
    "a kernel of 5 on 2 x 2": (
        lambda: probe(
            Conv2D(6, 3), MaxPool2D(5), Conv2D(6, 5, padding="same"), ReLU(), Flatten(), Dense(4), data=COLOURS
        ),
        "image-vanishes warning",
        "84%",
    ),
    "a shift by the whole image": (
        lambda: augmented("rotate 10", "shift 28"),
        "augmentation-loses-image fault",
        "shift 28",
    ),
    "a shift by half of the image": (
        lambda: augmented("shift 14"),
        "augmentation-loses-image warning",
        "shift 14",
    ),
    "a shear that throws the rows out": (lambda: augmented("shear 79"), "augmentation-loses-image", "shear 79"),
    "a hole as large as the image": (lambda: augmented("cutout 28"), "augmentation-loses-image", "cutout 28"),
    "rubber torn to pieces": (lambda: augmented("elastic 6 2000"), "augmentation-loses-image", "elastic 6 2000"),
    "noise in the unit of bytes": (lambda: augmented("noise 25"), "augmentation-loses-image fault", "noise 25"),
    "batch normalization before dropout": (
        lambda: probe(*dense(BatchNorm(), Dropout(0.3))),
        "normalization-dropout-order note",
        "dropout1 follows batchnorm1",
    ),
    "batch normalization of channels before dropout of channels": (
        lambda: probe(*conv(BatchNorm(), SpatialDropout2D(0.3)), data=COLOURS),
        "normalization-dropout-order note",
        "spatialdropout2d1 follows batchnorm1",
    ),
    "dropout before batch normalization": (
        lambda: probe(Dense(16), ReLU(), Dropout(0.7), BatchNorm(), Dense(4)),
        "normalization-dropout-order warning",
        "batchnorm1",
    ),
    "much dropout two layers before batch normalization": (
        lambda: probe(Dense(64), ReLU(), Dropout(0.8), Dense(16), BatchNorm(), ReLU(), Dense(4)),
        "normalization-dropout-order warning",
        "times",
    ),
}


def far(data: Dataset) -> Dataset:
    """The same samples around 3 in a larger unit: running statistics of the start do not fit them."""
    return Dataset(5 * data.inputs + 3, data.targets, data.classes)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    plant, expected, text = FAULTS[name]
    diagnosis = check(plant())
    id, _, level = expected.partition(" ")
    found = {finding.id: finding for finding in diagnosis.findings}
    assert id in found, levels(diagnosis)
    assert level in ("", found[id].level)
    assert text in " ".join(str(found[id]).split())
    assert {other for other, level in levels(diagnosis).items() if level != "note"} <= {id}
    if id == "evaluation-in-training-mode":  # the cause of both
        assert set(BEHAVIOUR) <= set(diagnosis.not_applicable)


VGG = (
    layer
    for filters in (4, 8, 8, 8)
    for layer in (Conv2D(filters, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D())
)

HEALTHY: dict[str, Callable[[], ModelProbe]] = {
    "batch norm, ReLU, dropout": lambda: probe(Dense(16), BatchNorm(), ReLU(), Dropout(0.5), Dense(4)),
    "batch norm after ReLU": lambda: probe(Dense(16), ReLU(), BatchNorm(), Dense(4)),
    "two layers of batch norm and dropout": lambda: probe(
        *(layer for _ in range(2) for layer in (Dense(32), BatchNorm(), ReLU(), Dropout(0.3))), Dense(4)
    ),
    "a batch norm of one's own": lambda: probe(*dense(OwnBatchNorm())),
    "a batch norm of one's own, of channels": lambda: probe(*conv(OwnBatchNorm((0, 1, 2))), data=COLOURS),
    "layer norm before dropout": lambda: probe(Dense(16), LayerNorm(), Dropout(0.1), ReLU(), Dense(4)),
    "instance norm of one's own": lambda: probe(*conv(InstanceNorm((1, 2))), data=COLOURS),
    "batch norm of zeros": lambda: probe(Dense(16, weight_init=Zeros()), BatchNorm(), ReLU(), Dense(4)),
    "hard shrinkage": lambda: probe(*dense(Masked("size"))),
    "every other unit": lambda: probe(*dense(Masked("places"))),
    "softmax over channels": lambda: probe(
        Conv2D(4, 3), OwnSoftmax((3,)), GlobalAveragePool2D(), Dense(4), data=COLOURS
    ),
    "softmax of classes": lambda: probe(Dense(16), ReLU(), Dense(4), Softmax()),
    "colours, channels last": lambda: probe(*conv(BatchNorm()), data=COLOURS),
    "noise, channels last": lambda: probe(*conv(BatchNorm()), data=NOISE),
    "three rows of forty places and sixteen features": lambda: probe(
        Conv2D(6, (3, 3)), ReLU(), Flatten(), Dense(4), data=wide_rows()
    ),
    "LeNet-5, down to one place": lambda: probe(
        *(Conv2D(6, 5, padding="same"), Tanh(), AveragePool2D(), Conv2D(16, 5), Tanh(), AveragePool2D()),
        *(Conv2D(60, 5), Tanh(), Flatten(), Dense(4)),
        data=GREY,
    ),
    "convolutions without padding, as Keras begins": lambda: probe(
        *(Conv2D(8, 3), ReLU(), MaxPool2D(), Conv2D(8, 3), ReLU(), MaxPool2D(), Conv2D(8, 3), ReLU()),
        *(Flatten(), Dense(4)),
        data=GREY,
    ),
    "down to one place by pooling": lambda: probe(*VGG, Flatten(), Dense(4), data=GREY),
    "a residual block": lambda: probe(
        *(Conv2D(6, 3, padding="same"), Residual(Conv2D(6, 3, padding="same"), BatchNorm(), ReLU())),
        *(GlobalAveragePool2D(), Dense(4)),
        data=COLOURS,
    ),
    "a stem with a stride": lambda: probe(
        Conv2D(6, 7, stride=2, padding=3), BatchNorm(), ReLU(), MaxPool2D(3, 2), Flatten(), Dense(4), data=GREY
    ),
    "Ciresan's deformations": lambda: augmented("elastic 5.5 37", "rotate 15 or shear 15", "scale 17.5"),
    "small shifts": lambda: augmented("shift 3"),
    "a turn by any angle": lambda: augmented("rotate 180"),
    "some noise and a small hole": lambda: augmented("noise 0.2", "cutout 8"),
    "flips and shifts of colours": lambda: augmented("flip", "shift 2", data=COLOURS),
    "trained batch norm": lambda: trained(*dense(BatchNorm())),
    "trained batch norm of channels": lambda: trained(*conv(BatchNorm()), data=COLOURS),
    "sigmoids": lambda: probe(Dense(16), Sigmoid(), Dense(4)),
}


def wide_rows() -> Dataset:
    x = np.random.default_rng(0).standard_normal((60, 3, 40, 16))
    return Dataset(x, (np.arange(60) % 4).astype(np.int32), tuple("abcd"))


@pytest.mark.parametrize("name", HEALTHY)
def test_a_right_network_of_the_same_kind_is_not_accused(name: str) -> None:
    found = {f.id: f for f in check(HEALTHY[name]()).findings}
    found.pop("batch-leak", None)  # a note on what batch normalization does by design
    assert not found


@pytest.mark.parametrize("recipe", ["mnist", "cnn", "deformed", "ex4", "weight-height"])
def test_no_recipe_is_accused(recipe: str) -> None:
    config = resolve(recipe, {})
    train = RunData.load(config).train
    objective = build.objective(config, build.n_outputs(config, train), train.image_shape)
    scaling = fit_scaling(config.scale, train)
    of = ModelProbe(
        NUMPY, objective, train, scaling, config.params_dtype, augment=build.augmentation(config)
    ).subset(MAX_SAMPLES)
    assert run_checks(LAYER_CHECKS, of).healthy


def test_checks_of_layers_do_not_apply_where_there_are_none() -> None:
    found = run_checks(LAYER_CHECKS, probe(Dense(4)))
    assert found == Diagnosis(
        passed=("evaluation-in-training-mode",),
        not_applicable=tuple(id for id in LAYER_CHECKS if id != "evaluation-in-training-mode"),
    )


def test_layers_are_judged_alike_on_every_backend(backend: Backend) -> None:
    layers = conv(OwnBatchNorm((0, 2, 3), updates=("mean",)))
    found = run_checks(LAYER_CHECKS, probe(*layers, data=COLOURS, backend=backend))
    assert levels(found) == {"batchnorm-axis": "fault", "running-statistics": "fault"}


# The command.


@pytest.fixture
def squares(in_a_folder_of_its_own: None) -> str:
    np.savez("squares.npz", x=MNIST.inputs[:200].reshape(-1, 28, 28), y=MNIST.targets[:200] % 3)
    return "squares.npz"


@pytest.mark.parametrize("layers", [["conv 8 5x5"] * 7, ["conv 8 3x3", "maxpool 4", "conv 8 7x7"]])
def test_layers_that_leave_nothing_of_the_image_are_a_finding(layers: list[str], squares: str) -> None:
    found = diagnose("mnist", {"data": squares, "layers": [*layers, "flatten", "dense"]})
    assert levels(found) == {"image-vanishes": "fault"}
    assert "window of Conv2D is larger" in found.findings[0].evidence


def test_the_augmentation_and_the_order_of_layers_of_a_recipe_are_checked(squares: str) -> None:
    layers = ["conv 4 3x3", "batchnorm", "dropout 0.2", "relu", "flatten", "dense"]
    found = diagnose("mnist", {"data": squares, "layers": layers, "augment": ["shift 30"], "max_time": 0.2})
    assert levels(found)["augmentation-loses-image"] == "fault"
    assert levels(found)["normalization-dropout-order"] == "note"


def test_planes_of_colours_in_a_file_are_found(in_a_folder_of_its_own: None) -> None:
    for name, x in (("right", COLOURS.inputs), ("planar", PLANAR.inputs)):
        x = np.clip(60 * (x - x.min()), 0, 255).astype(np.uint8)
        Path(name).mkdir()
        np.savez(f"{name}/set.npz", x=x, y=COLOURS.targets)
        found = diagnose(None, {"data": f"{name}/set.npz"})
        assert ("images-channels-first" in levels(found)) == (name == "planar")
