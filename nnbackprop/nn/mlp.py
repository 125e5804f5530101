"""Multilayer perceptrons: what a configuration and an estimator both build."""

from __future__ import annotations

from collections.abc import Sequence

from .layers import BatchNorm, Dense, Dropout, Layer, LayerNorm

NORMALIZATIONS: dict[str, type[Layer]] = {"batch": BatchNorm, "layer": LayerNorm}


def mlp_layers(
    dense: Sequence[Dense], activation: Layer, normalization: type[Layer] | None, dropout: Sequence[float]
) -> list[Layer]:
    """Dense, normalization, activation and Dropout of each hidden layer, then the last of `dense`.

    `dropout` has the rate of the input, then of each hidden layer; where it is 0 there is no Dropout.
    """
    *hidden, last = dense
    input_rate, *hidden_rates = dropout
    layers: list[Layer] = [Dropout(input_rate)] if input_rate else []
    for layer, rate in zip(hidden, hidden_rates, strict=True):
        layers.append(layer)
        if normalization is not None:
            layers.append(normalization())
        layers.append(activation)
        if rate:
            layers.append(Dropout(rate))
    return [*layers, last]
