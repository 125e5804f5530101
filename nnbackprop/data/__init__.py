"""Data sets: readers for the usual formats, one class map, splits, scaling, shuffling and batches."""

from .catalog import DATASETS, load, load_raw
from .dataset import Dataset
from .raw import RawDataset, RawSplits, validate
from .sampler import permutation
from .scaling import Scaling, fit_scaling
from .split import Splits, split

__all__ = [
    "DATASETS",
    "Dataset",
    "RawDataset",
    "RawSplits",
    "Scaling",
    "Splits",
    "fit_scaling",
    "load",
    "load_raw",
    "permutation",
    "split",
    "validate",
]
