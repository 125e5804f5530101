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
    "IPython array_api_strict cupy jax marimo matplotlib mlx ndonnx numba onnx onnxruntime optuna pandas polars "
    "pooch requests rich scipy sklearn starlette tensorboard torch trackio uvicorn wandb"
)


def modules_after(code: str) -> set[str]:
    """The modules that a Python of its own has imported after `code`, beyond those of its start."""
    program = f"import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_two_modules_of_its_own_and_no_library() -> None:
    found = modules_after("import nnbackprop")
    assert {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "nnbackprop",
        "nnbackprop._guard",
    }


@pytest.mark.parametrize(
    "code",
    [
        "import nnbackprop.data",
        "import backends; backends.select('numpy')",
        "import nnbackprop as nb; nb.Trainer(nb.Sequential(nb.Dense(2)), nb.MeanSquaredError(), nb.SGD(), 0.1)",
    ],
)
def test_what_trains_imports_no_heavy_library(code: str) -> None:
    assert modules_after(code).isdisjoint(HEAVY.split())
