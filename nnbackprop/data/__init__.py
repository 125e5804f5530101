"""Data sets: readers for the usual formats, one class map, splits, scaling, order and batches."""

from .catalog import NAMES, load, read
from .check import check
from .dataset import Dataset, Splits
from .sampler import permutation
from .scaling import Scaling, fit_scaling
from .split import split
from .table import Table, Tables

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
