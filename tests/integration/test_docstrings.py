"""The examples in docstrings run as they stand, after `import numpy as np` and `import nnbackprop as nb`."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import nnbackprop as nb

ROOT = Path(nb.__file__).parents[1]
NEEDS = {"nnbackprop.sklearn.estimators": "sklearn", "nnbackprop.export.onnx_graph": "ndonnx"}
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("nnbackprop", "backends")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_do_what_they_say(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    failed, attempted = doctest.testmod(import_module(name), extraglobs={"nb": nb, "np": np})
    assert failed == 0
    assert attempted > 0


WITH_EXAMPLES = ["Sequential", "Dense", "Conv2D", "Trainer", "History", "Optimizer", "Augmentation", "plot"]
WITH_EXAMPLES += ["progress", "gradcheck", "gradcheck_function"]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_a_reader_of_the_reference_finds_an_example_of(name: str) -> None:
    assert ">>> " in (getattr(nb, name).__doc__ or "")
