"""`import nnbackprop` offers its public names, documented and typed, and imports nothing until they are used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import backends
import nnbackprop


def test_names_for_type_checkers_are_those_imported_lazily() -> None:
    tree = ast.parse(inspect.getsource(nnbackprop))
    (block,) = (node.body for node in tree.body if isinstance(node, ast.If))
    typed = {name.name: node.module for node in block if isinstance(node, ast.ImportFrom) for name in node.names}
    assert typed == nnbackprop._MODULES
    assert nnbackprop.__all__ == sorted(typed)


@pytest.mark.parametrize("name", nnbackprop.__all__)
def test_public_name_is_documented(name: str) -> None:
    assert getattr(nnbackprop, name).__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Transformer'"):
        _ = nnbackprop.Transformer


def test_public_names_of_backends_exist() -> None:
    for name in backends.__all__:
        assert hasattr(backends, name)


HEAVY = (
    "array_api_strict cupy jax matplotlib mlx ndonnx numba onnx onnxruntime polars pooch requests rich scipy "
    "sklearn torch"
)


@pytest.mark.parametrize("code", ["import nnbackprop.data", "import backends; backends.select('numpy')"])
def test_importing_the_package_imports_no_heavy_library(code: str) -> None:
    code = f"{code}; import sys, nnbackprop; print([name for name in '{HEAVY}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
