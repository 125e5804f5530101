"""Array libraries behind one interface: `select("auto")` gives a `Backend`, `available()` lists what works."""

from .base import (
    Array,
    Backend,
    BackendError,
    ElementwiseKernel,
    Memory,
    Namespace,
    Tree,
    device_of,
    leaves,
    tree_map,
    tree_unflatten,
    zip_leaves,
)
from .numpy_backend import NumpyBackend
from .selection import BackendStatus, available, select, with_float64

__all__ = [
    "Array",
    "Backend",
    "BackendError",
    "BackendStatus",
    "ElementwiseKernel",
    "Memory",
    "Namespace",
    "NumpyBackend",
    "Tree",
    "available",
    "device_of",
    "leaves",
    "select",
    "tree_map",
    "tree_unflatten",
    "with_float64",
    "zip_leaves",
]
