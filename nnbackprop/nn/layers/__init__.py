"""Layers: backward stands right under its forward."""

from .activations import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from .base import Activation, Layer
from .conv import Conv2D
from .dense import Dense
from .dropout import Dropout, SpatialDropout2D
from .flatten import Flatten, Reshape
from .maxout import Maxout
from .normalization import BatchNorm, LayerNorm
from .pooling import AveragePool2D, GlobalAveragePool2D, MaxPool2D
from .prelu import PReLU

ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "relu": ReLU,
    "leaky-relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
}
"""Activations by their names in a configuration."""

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "Activation",
    "AveragePool2D",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool2D",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "Maxout",
    "PReLU",
    "ReLU",
    "Reshape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SpatialDropout2D",
    "Tanh",
]
