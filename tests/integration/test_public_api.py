"""The public names and their signatures are those listed in public_api.txt: a change shows in its diff.

`python -m tests.integration.test_public_api` writes the list anew.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

MODULES = {"nnbackprop": None, "nnbackprop.sklearn": "sklearn"}
"""And what each needs."""

LIST = Path(__file__).with_name("public_api.txt")


def described(value: Any) -> str:
    """Its parameters, as they are called; without annotations, which a type checker guards."""
    parameters = inspect.signature(value).parameters.values()
    kept = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name not in ("self", "cls")]
    text = str(inspect.Signature(kept))
    return re.sub(r"=<.*?>", "=...", text)  # a function, or what makes the default


def lines(module: str) -> Iterator[str]:
    """A line for each name, and for each public method and attribute of a class of its own."""
    package = import_module(module)
    for name in package.__all__:
        value = getattr(package, name)
        if not callable(value):
            yield f"{module}.{name}"
            continue
        is_error = isinstance(value, type) and issubclass(value, BaseException)
        yield f"{module}.{name}{'' if is_error else described(value)}"
        if isinstance(value, type) and not is_error:
            yield from (f"{module}.{name}.{member}" for member in members(value))


def members(cls: type) -> Iterator[str]:
    """Methods with their parameters, and properties, of the class and of those of this package it is made from."""
    ours = [base for base in cls.__mro__ if base.__module__.split(".")[0] in ("nnbackprop", "backends")]
    found = {
        name: value for base in reversed(ours) for name, value in vars(base).items() if not name.startswith("_")
    }
    for name, value in sorted(found.items()):
        function = getattr(value, "__func__", value)
        if inspect.isfunction(function):
            yield f"{name}{described(function)}"
        elif isinstance(value, property):
            yield name


@pytest.mark.parametrize("module", MODULES)
def test_the_public_api_is_the_one_listed(module: str) -> None:
    if needed := MODULES[module]:
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    now = list(lines(module))
    listed = [
        line
        for line in LIST.read_text(encoding="utf-8").splitlines()
        if re.match(rf"{re.escape(module)}\.\w+(\W|$)", line)
    ]
    if module == "nnbackprop":
        listed = [line for line in listed if not line.startswith("nnbackprop.sklearn.")]
    gone, new = sorted(set(listed) - set(now)), sorted(set(now) - set(listed))
    assert (gone, new) == ([], []), (
        "The public API has changed. If it should have: note it in CHANGELOG.md, keep what was for one release as "
        "CONTRIBUTING.md says, and run `python -m tests.integration.test_public_api`."
    )
    assert now == listed


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for module in MODULES for line in lines(module)), encoding="utf-8")
