"""Array libraries behind one interface: `select("auto")` gives a `Backend`, `available()` lists what works."""

from .base import Backend, BackendError, Memory, device_of, dtype_name
from .namespace import ElementwiseKernel, Formula, Namespace
from .numpy_backend import NumpyBackend
from .selection import BackendStatus, available, select, with_float64
from .tree import Array, Tree, leaves, tree_map, tree_unflatten, zip_leaves

__all__ = [
    "Array",
    "Backend",
    "BackendError",
    "BackendStatus",
    "ElementwiseKernel",
    "Formula",
    "Memory",
    "Namespace",
    "NumpyBackend",
    "Tree",
    "available",
    "device_of",
    "dtype_name",
    "leaves",
    "select",
    "tree_map",
    "tree_unflatten",
    "with_float64",
    "zip_leaves",
]
