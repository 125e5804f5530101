"""Data sets: readers for the usual formats, one class map, splits, scaling, shuffling and batches."""

from .catalog import NAMES, load, read
from .dataset import Dataset, Splits
from .sampler import permutation
from .scaling import Scaling, fit_scaling
from .split import split
from .table import Table, Tables, check

__all__ = [
    "NAMES",
    "Dataset",
    "Scaling",
    "Splits",
    "Table",
    "Tables",
    "check",
    "fit_scaling",
    "load",
    "permutation",
    "read",
    "split",
]
