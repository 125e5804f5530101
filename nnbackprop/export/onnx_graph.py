"""An ONNX graph made by running Array API code: each call on a traced array adds operators to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from backends import Array, Namespace
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Shape

from .libraries import import_library

BATCH_AXIS = "n"
"""The name of the batch axis, whose length is free."""
MAX_BYTES = 2**31 - 1
"""Of a protobuf message, which an ONNX file is."""


class OnnxGraph:
    """A graph under construction. Arrays from `input` and `constant` are traced: use them with `xp` as any others.

    >>> from nnbackprop.export.onnx_graph import OnnxGraph
    >>> graph = OnnxGraph()
    >>> x, w = graph.input("x", "float32", (3,)), graph.constant("w", np.ones(3, np.float32))
    >>> content = graph.to_bytes({"y": graph.xp.tanh(x * w)}, {})
    """

    def __init__(self) -> None:
        self.ndonnx = import_library("ndonnx")
        self.xp = namespace()
        self._inputs: dict[str, Array] = {}
        self._constants: dict[str, np.ndarray] = {}

    def input(self, name: str, dtype: str, sample_shape: Shape) -> Array:
        """An input (n, *sample_shape), with n free."""
        self._inputs[name] = self.ndonnx.argument(
            shape=(BATCH_AXIS, *sample_shape), dtype=getattr(self.ndonnx, dtype)
        )
        return self._inputs[name]

    def constant(self, name: str, array: np.ndarray) -> Array:
        """A host array, kept in the file as the initializer `name`, or `name_` where an input is called so."""
        while name in self._inputs:
            name += "_"
        self._constants[name] = array
        dtype = getattr(self.ndonnx, str(array.dtype))
        self._inputs[name] = self.ndonnx.argument(shape=array.shape, dtype=dtype)
        return self._inputs[name]

    def one_hot(self, text: Array, categories: Sequence[str], dtype: str) -> Array:
        """(n, k) of `dtype`: 1 where text (n,) is the category of that column. The Array API has no strings."""
        op = import_library("spox.opset.ai.onnx.v21")
        column = op.reshape(text.unwrap_spox(), op.const(np.array([-1, 1], np.int64)))
        equal = op.equal(column, op.constant(value_strings=list(categories)))
        return self.xp.astype(self.ndonnx.asarray(equal), getattr(self.xp, dtype))

    def to_bytes(self, outputs: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
        """The file of the graph, as `onnx.checker` accepts it; UsageError for one that is too large."""
        onnx, spox = import_library("onnx"), import_library("spox")
        if (size := sum(array.nbytes for array in self._constants.values())) > MAX_BYTES:
            raise UsageError(
                f"The network has {size:,} bytes of parameters and an ONNX file holds {MAX_BYTES:,} at most: use "
                "export_safetensors, which has no such limit."
            )
        if taken := sorted(self._inputs.keys() & outputs.keys()):
            raise UsageError(
                f"The table has a column {taken[0]!r}, and an output of the ONNX file is called so: give "
                "the column another name and train anew."
            )
        inputs, results = ({k: a.unwrap_spox() for k, a in arrays.items()} for arrays in (self._inputs, outputs))
        model = spox.build(inputs, results)
        # parameters are traced as inputs, so that they have names; their values turn them into initializers
        raw = [value for value in model.graph.input if value.name not in self._constants]
        del model.graph.input[:]
        model.graph.input.extend(raw)
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(a, name) for name, a in self._constants.items()
        )
        model.graph.name = model.producer_name = "nnbackprop"
        model.producer_version = version("nnbackprop")
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def namespace() -> Namespace:
    """ndonnx's Array API namespace, with one operator where it writes many.

    ndonnx wraps matmul and max in an `If` for empty arrays, which is most of a small network's file; it counts
    the elements of a mean while the graph runs; and its zeros_like makes an array of x's shape where a number will
    do.
    """
    ndonnx, op = import_library("ndonnx"), import_library("spox.opset.ai.onnx.v21")

    def traced(operator: Callable[..., Any], *arrays: Array, **options: Any) -> Array:
        return ndonnx.asarray(operator(*(a.unwrap_spox() for a in arrays), **options))

    def reduction(operator: Callable[..., Any]) -> Callable[..., Array]:
        def reduce(x: Array, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
            axes = None if axis is None else ndonnx.asarray(np.atleast_1d(np.array(axis, np.int64))).unwrap_spox()
            return ndonnx.asarray(operator(x.unwrap_spox(), axes, keepdims=int(keepdims)))

        return reduce

    def reshape(x: Array, /, shape: tuple[int | None, ...]) -> Array:
        """With -1 for the batch axis, whose length is None."""
        return ndonnx.reshape(x, tuple(-1 if length is None else length for length in shape))

    return Namespace(
        ndonnx,
        matmul=lambda a, b: traced(op.matmul, a, b),
        max=reduction(op.reduce_max),
        mean=reduction(op.reduce_mean),
        reshape=reshape,
        zeros_like=lambda x: ndonnx.asarray(0, dtype=x.dtype),
    )
