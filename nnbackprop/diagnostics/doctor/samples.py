"""What the checks of data work on: tables as they were read, and how training would use them."""

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
    """Tables with any fault in them, and the settings of the run that would use them.

    outputs   how many outputs the network is to have, where that is known
    full      whether every step sees all samples, so that their order means nothing
    """

    tables: Tables
    scale: str = "standard"
    shuffle: bool = True
    full: bool = False
    test_fraction: float = 0.2
    seed: int = 0
    outputs: int | None = None

    @property
    def train(self) -> Table:
        """The table that is trained on, before a test part is split off."""
        return self.tables.train

    @property
    def parts(self) -> tuple[Table, ...]:
        """The training table and, where there is one, the test table."""
        return tuple(table for table in self.tables if table is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """The readers' notes."""
        return tuple(dict.fromkeys(note for table in self.parts for note in table.notes))

    @cached_property
    def numbers(self) -> tuple[np.ndarray, ...] | None:
        """The labels (n,) int64 of each part; None if one is no whole number."""
        columns = [integer_labels(table.labels) for table in self.parts]
        return None if any(column is None for column in columns) else tuple(c for c in columns if c is not None)

    @cached_property
    def finite(self) -> bool:
        """Whether all input values are finite numbers."""
        return all(table.inputs.dtype == np.uint8 or np.isfinite(table.inputs).all() for table in self.parts)

    @cached_property
    def splits(self) -> Splits:
        """The parts with one class map; the test part is split off as a run does it, where there is none."""
        everything = to_splits(self.tables)
        if everything.test is not None or not self.test_fraction:
            return everything
        if not quotas(everything.train.counts(), self.test_fraction).any():
            return everything
        return Splits(*split(everything.train, self.test_fraction, self.seed))
