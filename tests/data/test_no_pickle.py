"""What the sources may not hold: a file is data here, never code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for folder in ("nnbackprop", "backends", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))
]
PICKLES = {"pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "joblib"}
RUN_CODE = PICKLES | {"marshal", "shelve", "yaml"}
LOADERS = {"np.load", "numpy.load", "torch.load", "pd.read_pickle", "pandas.read_pickle"}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]


def refused(tree: ast.AST) -> Iterator[str]:
    """What runs code out of a file: modules that do, `allow_pickle` not False, loaders that pickle unasked."""
    yield from RUN_CODE & set(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield "allow_pickle"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in LOADERS:
            yield ast.unparse(node)
        if isinstance(node, ast.ImportFrom):
            yield from LOADERS & {f"{node.module}.{name.name}" for name in node.names}


def test_no_source_unpickles() -> None:
    assert len(SOURCES) > 100
    found = {path: list(refused(ast.parse(path.read_text(encoding="utf-8")))) for path in SOURCES}
    assert {path: faults for path, faults in found.items() if faults} == {}


LINES = (
    *("import pickle", "from joblib import load", "from numpy import load", "from torch import load as read"),
    *("np.load(x)", "f(x, allow_pickle=True)", "torch.load(x)", "pd.read_pickle(x)"),
)


@pytest.mark.parametrize("line", LINES)
def test_each_way_to_unpickle_is_detected(line: str) -> None:
    assert list(refused(ast.parse(f"def late():\n    {line}")))
