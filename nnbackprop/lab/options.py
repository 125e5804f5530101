"""What there is to choose from: recipes, parts of a network, array libraries, and the limits of requests."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib.metadata import version
from typing import Any

from nnbackprop._processes import python
from nnbackprop.nn.layers import ACTIVATIONS
from nnbackprop.optim import OPTIMIZERS
from nnbackprop.runs.config_files import load_recipe, recipes

from . import messages
from .security import MAX_BODY

LANGUAGES = ("en", "zh")
RECIPE_SETTINGS = (
    *("data", "hidden", "layers", "activation", "dropout", "optimizer", "lr", "batch_size", "epochs", "seed"),
    *("backend", "validation", "schedule"),
)
NEEDS_DATA = ("table", "images")
"""Recipes for files that a command names, and a page cannot."""


LIST_BACKENDS = """
import json
from backends import available
print(json.dumps([(b.name, b.usable, b.device or "", b.reason, b.fix) for b in available()]))
"""
"""In a process of its own: the libraries take seconds to import, and memory that the server has no use for."""


@cache
def options() -> dict[str, Any]:
    """All that the page offers, but for the array libraries."""
    return {
        "version": version("nnbackprop"),
        "languages": LANGUAGES,
        "recipes": [recipe(name) for name in recipes() if name not in NEEDS_DATA],
        "activations": list(ACTIVATIONS),
        "optimizers": list(OPTIMIZERS),
        "limits": {
            "hidden_layers": messages.MAX_HIDDEN_LAYERS,
            "units": messages.MAX_UNITS,
            "epochs": messages.MAX_EPOCHS,
            "batch_size": messages.MAX_BATCH_SIZE,
            "drawing_side": messages.MAX_SIDE,
            "drawing_min_side": messages.MIN_SIDE,
            "body": MAX_BODY,
            "step_samples": messages.MAX_STEP_SAMPLES,
        },
    }


def recipe(name: str) -> dict[str, Any]:
    """A recipe's name, title and the settings that the page may change."""
    config = load_recipe(name)
    settings = {setting: getattr(config, setting) for setting in RECIPE_SETTINGS}
    return {"name": name, "title": config.title, "plain": not config.layers, **settings}


@cache
def backends() -> dict[str, Any]:
    """The array libraries, and why one does not work; looking takes some seconds, and is done once."""
    done = subprocess.run(
        **python(LIST_BACKENDS),
        stdin=subprocess.DEVNULL,
        capture_output=True,  # where the server ends meanwhile, nothing is said
        encoding="utf-8",
    )
    if done.returncode:
        raise RuntimeError(f"The array libraries cannot be listed: {done.stderr.strip()}")
    names = ("name", "available", "device", "reason", "fix")
    automatic = ("auto", True, "", "", "")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"backends": [dict(zip(names, row, strict=True)) for row in (automatic, *found)]}
