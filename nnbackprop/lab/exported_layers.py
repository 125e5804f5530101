"""A trained network's layers as an exported page computes them: nnbackprop/lab/static/js/draw/layers.js."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import (
    ACTIVATIONS,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Reshape,
    SpatialDropout2D,
)
from nnbackprop.nn.layers.base import LayerParams, Shape
from nnbackprop.nn.layers.windows import AxisWindow
from nnbackprop.nn.trace import LayerTrace
from nnbackprop.runs.trained_model import TrainedModel

from .small_networks import STEP_ACTIVATIONS

WITHOUT_EFFECT = Dropout, SpatialDropout2D, Flatten, Reshape
"""Layers that hand the same numbers on when a network is used."""


def exported_layers(trained: TrainedModel) -> list[dict[str, Any]]:
    """The layers, their arrays as little-endian float32; UsageError for one that the page does not compute."""
    evaluator = trained.evaluator
    x = evaluator.backend.asarray(np.zeros((1, *trained.sample_shape), evaluator.dtype))
    layers = []
    for traced in evaluator.objective.network.trace(evaluator.backend.xp, trained.params, x).layers:
        if isinstance(traced.layer, WITHOUT_EFFECT):
            continue
        params = {key: evaluator.backend.to_numpy(a) for key, a in traced.params.items()}
        if (found := _layer(traced, params)) is None:
            raise UsageError(
                f"{trained.run_dir.path} has the layer {traced.name}, and the page computes Dense and Conv2D "
                f"layers, pooling, batch normalization, and the activations {', '.join(STEP_ACTIVATIONS)} alone: "
                "export another run, such as one of the recipes mnist and cnn."
            )
        layers.append({"name": traced.name, **found})
    return layers


def _layer(traced: LayerTrace, params: LayerParams) -> dict[str, Any] | None:
    layer, in_shape, out_shape = traced.layer, traced.x.shape[1:], traced.y.shape[1:]
    if isinstance(layer, Dense):
        return {"kind": "dense", "in": in_shape[0], "out": out_shape[0], **_weights(params)}
    if isinstance(layer, Conv2D):
        windows = _windows(in_shape, out_shape, *layer.axis_windows(in_shape))
        return {"kind": "conv", **windows, **_weights(params)}
    if isinstance(layer, MaxPool2D | AveragePool2D):
        kind = "maxpool" if isinstance(layer, MaxPool2D) else "averagepool"
        return {"kind": kind, **_windows(in_shape, out_shape, *layer.axis_windows(in_shape))}
    if isinstance(layer, GlobalAveragePool2D):
        rows, columns, channels = in_shape
        windows = _windows(in_shape, (1, 1, channels), AxisWindow(rows, 1), AxisWindow(columns, 1))
        return {"kind": "averagepool", **windows}
    if isinstance(layer, BatchNorm):
        scale = params["gamma"] / np.sqrt(params["var"] + layer.eps)
        shift = params["beta"] - params["mean"] * scale
        return {"kind": "scale", "scale": _bytes(scale), "shift": _bytes(shift)}
    function = next((name for name in STEP_ACTIVATIONS if layer == ACTIVATIONS[name]()), None)
    return None if function is None else {"kind": "activation", "function": function, "shape": out_shape}


def _windows(in_shape: Shape, out_shape: Shape, down: AxisWindow, across: AxisWindow) -> dict[str, Any]:
    return {
        "in": in_shape,
        "out": out_shape,
        "size": (down.size, across.size),
        "stride": (down.stride, across.stride),
        "before": (down.before, across.before),
    }


def _weights(params: LayerParams) -> dict[str, bytes]:
    W = params["W"]
    return {"W": _bytes(W), "b": _bytes(params.get("b", np.zeros(W.shape[1])))}


def _bytes(array: Any) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()
