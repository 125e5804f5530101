"""The data of a run, split into training, validation and test parts."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

from nnbackprop.data.catalog import DATASETS, data_options, load_splits
from nnbackprop.data.mapped import blocks
from nnbackprop.data.split import Splits
from nnbackprop.data.table import DataOptions
from nnbackprop.data.weights import balance_classes
from nnbackprop.errors import DataError

from .config import DATA_OPTIONS, Config


def absolute(spec: str) -> str:
    """The data `spec` means from whatever working folder: the name of a data set, or an absolute path."""
    return spec if spec in DATASETS else str(Path(spec).expanduser().absolute())


def data_options_of(config: Config) -> DataOptions:
    """The options of a configuration that say how its data is read."""
    return data_options(**{name: getattr(config, name) for name in DATA_OPTIONS})


class RunData(Splits):
    """The data of a run: to train on, to choose the best weights by, and to test at the end."""

    @classmethod
    def load(cls, config: Config) -> RunData:
        """Read and split the data of `config`."""
        fractions = config.test_fraction, config.validation
        splits = load_splits(config.data, data_options_of(config), *fractions, config.seed)
        train = balance_classes(splits.train) if config.class_weight == "balanced" else splits.train
        return cls(train, splits.test, splits.validation, splits.description)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the samples of every part in their order, to know the data again by."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self.parts.values():
            arrays = (part.inputs, part.targets, part.weights) if part else ()
            for array in (a for a in arrays if a is not None):
                digest.update(f"{array.dtype}{array.shape}".encode())
                for block in blocks(array):
                    digest.update(np.ascontiguousarray(block).data)
            digest.update(b"end of part")
        return digest.hexdigest()

    def check(self, fingerprint: str | None, checkpoint: Path) -> None:
        """DataError unless the samples are those whose fingerprint a checkpoint has kept."""
        if self.fingerprint != fingerprint:
            raise DataError(
                f"The data {self.train.source} is not what {checkpoint} was trained and evaluated on (fingerprint "
                f"{self.fingerprint}, then {fingerprint}): put the old data back, or begin a new run."
            )
