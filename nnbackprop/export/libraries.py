"""The optional libraries of this room, imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nnbackprop.errors import UsageError

PIP_INSTALL = 'pip install ndonnx==0.23.0 "onnx>=1.17" "onnxruntime>=1.20"'
"""What the extra `onnx` of pyproject.toml installs. ndonnx is pinned, as `onnx_graph` replaces functions of it."""


def import_library(module: str) -> Any:
    """A module of ndonnx, spox, onnx or onnxruntime; UsageError says how to install them."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            f"ONNX files need the libraries ndonnx, onnx and onnxruntime, and {module} cannot be imported "
            f"({error}). Install them: {PIP_INSTALL}"
        ) from error
