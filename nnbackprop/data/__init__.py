"""Data sets: readers for the usual formats, one class map, splits, scaling, order and batches."""

from .check import check
from .dataset import Dataset, Splits
from .order import permutation
from .scaling import Scaling, fit_scaling
from .source import NAMES, load, read
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
