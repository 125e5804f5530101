"""The rooms of docs/architecture.md: imports point down, without a circle; the mathematics sees only its xp."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from nnbackprop.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
ROOMS = (
    "cli",
    "lab",
    "loggers",
    "sklearn",
    "report",
    "diagnostics",
    "export",
    "runs",
    "distributed",
    "training",
    "optim",
    "nn",
    "data",
)
"""From the top down; below them are the modules with an underscore, errors, and backends."""

LIBRARIES = {"cupy", "torch", "jax", "mlx", "scipy", "sklearn", "numba", "array_api_compat"}
FILES = sorted([*(ROOT / "nnbackprop").rglob("*.py"), *(ROOT / "backends").rglob("*.py")])


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def imports(path: Path, everywhere: bool) -> Iterator[str]:
    """Modules that a file imports: when it is loaded, or also within functions and for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            yield base  # also of `from . import csv`, which loads the package first
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(module: str) -> int:
    """Its floor: the higher the number, the lower."""
    parts = module.split(".")
    if parts[0] == "backends":
        return len(ROOMS) + 1
    return ROOMS.index(parts[1]) if len(parts) > 1 and parts[1] in ROOMS else len(ROOMS)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "nnbackprop"], ids=module_of)
def test_a_module_imports_only_from_its_own_room_and_those_below(path: Path) -> None:
    ours = (name for name in imports(path, everywhere=True) if name.split(".")[0] in ("nnbackprop", "backends"))
    above = [name for name in ours if room_of(name) < room_of(module_of(path))]
    assert not above


def test_no_imports_run_in_a_circle() -> None:
    graph = {module_of(path): {n for n in imports(path, everywhere=False) if n in MODULES} for path in FILES}
    TopologicalSorter(graph).prepare()  # CycleError names the circle


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.relative_to(ROOT).parts[1] in ("nn", "optim")], ids=module_of
)
def test_the_mathematics_imports_no_array_library(path: Path) -> None:
    """NumPy is allowed where numbers are drawn or read on the host: initializers and metrics."""
    names = {name.split(".")[0] for name in imports(path, everywhere=True)}
    hosted = path.name in ("initializers.py", "metrics.py")
    assert not names & (LIBRARIES if hosted else LIBRARIES | {"numpy"})


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "sklearn"], ids=module_of)
def test_only_the_estimators_import_scikit_learn(path: Path) -> None:
    names = set(imports(path, everywhere=True))
    assert not [name for name in names if name.split(".")[0] == "sklearn" or name.startswith("nnbackprop.sklearn")]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_searches_import_optuna_and_only_when_they_run(path: Path) -> None:
    assert "optuna" not in set(imports(path, everywhere=False))
    if "optuna" in set(imports(path, everywhere=True)):
        assert path.name in ("search.py", "search_result.py")


def test_only_the_lab_imports_a_web_server() -> None:
    for path in FILES:
        if {"starlette", "uvicorn"} & {name.partition(".")[0] for name in imports(path, everywhere=True)}:
            assert path.parent.name == "lab"


def test_a_trainer_has_at_most_fifteen_options() -> None:
    assert len(fields(Trainer)) <= 15


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_trainer_assigns_its_attributes(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    stored = [
        node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    ]
    owners = [ast.unparse(node.value).rpartition(".")[2].lstrip("_") for node in stored]
    assert "trainer" not in owners


def test_only_layers_and_what_translates_them_know_the_name_of_a_weight() -> None:
    layers = "nn/layers", "nn/layer_fusion.py"
    translators = "export", "sklearn", "lab", "diagnostics/gradcheck"  # the last of functions that users write
    known = [ROOT / "nnbackprop" / name for name in (*layers, *translators)]
    others = [path for path in FILES if not any(map(path.is_relative_to, known))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in others}
    assert [
        p for p, t in trees.items() for n in ast.walk(t) if isinstance(n, ast.Constant) and n.value == "W"
    ] == []


@pytest.mark.parametrize("folder", ["nnbackprop", "backends", "benchmarks", "scripts"])
def test_nothing_reaches_into_the_tests(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert [path.name for path in files if any(n.split(".")[0] == "tests" for n in imports(path, True))] == []
