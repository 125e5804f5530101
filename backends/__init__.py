"""Array libraries behind one seam: `select("auto")` gives a `Backend`, `available()` tells what works."""

from .base import Array, Backend, BackendError, Memory, Namespace, Rule, Tree, leaves, tree_map
from .numpy_backend import NumpyBackend

__all__ = [
    "Array",
    "Backend",
    "BackendError",
    "Memory",
    "Namespace",
    "NumpyBackend",
    "Rule",
    "Tree",
    "leaves",
    "select",
    "tree_map",
]


def select(name: str = "auto", device: str | None = None) -> Backend:
    """Return the backend called `name` on `device`."""
    return NumpyBackend(device)
