"""What a trainer needs of those that train with it: see `nnbackprop.distributed`, which provides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from backends import Array, Backend, Tree
from backends.collectives import Processes
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.nn.layers.base import Params

from .events import Score

if TYPE_CHECKING:
    from .batch_schedule import BatchSchedule, Chunk
    from .step import TrainStep
    from .trainer import Trainer


class Reducer(Processes, Protocol):
    """Processes that sum what each has computed of its shards; all methods are collective."""

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, which have one shape: (size, *shape)."""

    def shard_buffer(self, shards: int, k: int, dtype: Any) -> np.ndarray:
        """Zeros (shards, k) to be filled, which `sum_shards` sums fastest; k must be a multiple of `size`."""

    def reduces_on_device(self, backend: Backend) -> bool:
        """Whether `sum_shards` takes arrays on the device of `backend` from here on, as well as the host's."""

    def sum_shards(self, shards: Array) -> Array:
        """All-reduce: the sum of all processes' `shards` (m, k), in the order of ranks and rows.

        An array (k,), valid until the next call. k must be a multiple of `size`. `shards` may be overwritten.
        """


class Sharding(Protocol):
    """Each batch is cut into `shards`, on which one or more processes work, all of them making the same updates.

    All methods are collective: every process of the run calls them, in the same order.
    """

    shards: int
    sync_batchnorm: bool  # whether `BatchNorm` takes the statistics of the whole batch

    def own_schedule(self, schedule: BatchSchedule, step: TrainStep) -> BatchSchedule:
        """The batches of `schedule` cut to the rows of this process, in chunks as long as the first process's.

        `step` says at which rows its shards begin.
        """

    def scan(self, trainer: Trainer, chunk: Chunk) -> Tree:
        """The trainer's state after the steps of `chunk`, whose batches are this process's rows; it is donated."""

    def evaluate(self, trainer: Trainer, params: Params, device_data: DeviceDataset) -> Score:
        """Mean loss and metrics of a data set, shared out among the processes."""

    def agree_to_stop(self, stop: str | None, seconds: float) -> tuple[str | None, float]:
        """The first reason to stop that a process has, and the first process's seconds."""
