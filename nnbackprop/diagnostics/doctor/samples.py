"""What the checks of data look at: tables as they were read, and how training would take them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnbackprop.data.dataset import Splits
from nnbackprop.data.labels import to_splits
from nnbackprop.data.split import quotas, split
from nnbackprop.data.table import Table, Tables, integer_labels


@dataclass(frozen=True, eq=False)
class Samples:
    """Tables with any fault in them, and what a run would do with them.

    outputs   how many outputs the network is to have, where that is known
    mapped    whether a reader numbers the classes 0 .. K-1; False for labels that index outputs as they are
    full      whether every step sees all samples, so that their order means nothing
    """

    tables: Tables
    scale: str = "standard"
    shuffle: bool = True
    full: bool = False
    test_fraction: float = 0.2
    seed: int = 0
    outputs: int | None = None
    mapped: bool = True

    @property
    def train(self) -> Table:
        """The table that is trained on, before a test part is taken from it."""
        return self.tables.train

    @property
    def parts(self) -> tuple[Table, ...]:
        """All tables there are."""
        return tuple(table for table in self.tables if table is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the readers knew and handled."""
        return tuple(dict.fromkeys(note for table in self.parts for note in table.notes))

    @cached_property
    def numbers(self) -> tuple[np.ndarray, ...] | None:
        """The label values (n,) int64 of each part; None if one is no whole number."""
        columns = [integer_labels(table.labels) for table in self.parts]
        return None if any(column is None for column in columns) else tuple(c for c in columns if c is not None)

    @cached_property
    def finite(self) -> bool:
        """Whether all input values are finite numbers."""
        return all(table.inputs.dtype == np.uint8 or np.isfinite(table.inputs).all() for table in self.parts)

    @cached_property
    def splits(self) -> Splits:
        """The parts with one class map, a test part drawn as a run draws it where there is none."""
        whole_set = to_splits(self.tables)
        if whole_set.test is not None or not self.test_fraction:
            return whole_set
        if not quotas(whole_set.train.counts(), self.test_fraction).any():
            return whole_set
        return Splits(*split(whole_set.train, self.test_fraction, self.seed))

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """The names (K,) and numbers (K,) of the label values of the training table, as text and int64."""
        names, counts = np.unique(self.train.labels.astype(str), return_counts=True)
        return names, counts
