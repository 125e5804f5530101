"""Array libraries behind one seam: `select("auto")` gives a `Backend`, `available()` tells what works."""

from .base import Array, Backend, BackendError, Memory, Namespace, Rule, Tree, leaves, tree_map
from .numpy_backend import NumpyBackend
from .selection import Status, available, select

__all__ = [
    "Array",
    "Backend",
    "BackendError",
    "Memory",
    "Namespace",
    "NumpyBackend",
    "Rule",
    "Status",
    "Tree",
    "available",
    "leaves",
    "select",
    "tree_map",
]
