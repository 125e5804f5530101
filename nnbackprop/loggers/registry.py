"""Loggers by the names that `--log` takes: those of the package, and those of others, by an entry point.

An entry point of the group `nnbackprop.loggers` names a function that takes the Run and returns a Callback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from nnbackprop.errors import UsageError
from nnbackprop.runs.train import Run
from nnbackprop.training.callbacks import Callback

ENTRY_POINT_GROUP = "nnbackprop.loggers"
BUILT_IN = ("csv", "tensorboard", "wandb", "trackio")
"""The modules of this package that have `for_run`."""

LoggerFactory = Callable[[Run], Callback]


def load_loggers(names: Sequence[str]) -> list[LoggerFactory]:
    """What makes the loggers called so for a run.

    UsageError if one is not known, or if what it needs is not installed: found before data is read.
    """
    others = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    return [_built_in(name) if name in BUILT_IN else _from_entry_point(name, others) for name in names]


def _built_in(name: str) -> LoggerFactory:
    module = import_module(f"{__package__}.{name}")
    if library := getattr(module, "LIBRARY", None):
        import_library(library)
    return module.for_run  # type: ignore[no-any-return]


def _from_entry_point(name: str, points: dict[str, Any]) -> LoggerFactory:
    if name not in points:
        raise UsageError(
            f"--log {name!r} is not known. Choose one of {', '.join([*BUILT_IN, *points])}; a package adds others "
            f"by the entry point group {ENTRY_POINT_GROUP}."
        )
    try:
        factory: LoggerFactory = points[name].load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"--log {name}: its entry point {points[name].value} cannot be loaded ({error}). Install or repair "
            "its package, or leave it out."
        ) from error
    return factory


def import_library(name: str) -> Any:
    """A logging library, imported; UsageError says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"A log of this kind needs the package {name.partition('.')[0]}, which cannot be imported ({error}). "
            f"Install it: pip install {name.partition('.')[0]}"
        ) from error
