"""Another module called `backends` may be found before ours: said here, before anything imports it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "backends", "__init__.py")


def check_backends() -> None:
    """Raise ImportError unless `import backends` finds the package installed beside this one.

    A module of that name that is not loaded yet is looked at from outside and not run.
    """
    loaded = sys.modules.get("backends")
    spec = getattr(loaded, "__spec__", None) if loaded else find_spec("backends")
    place = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    if place is None or os.path.realpath(place) != OURS:
        raise ImportError(
            f"nnbackprop needs its own package `backends`, {OURS}, but Python finds "
            f"{'no file' if place is None else place} under that name. Rename the other module, start Python "
            "from another folder, or reinstall nnbackprop if its own is missing."
        )
