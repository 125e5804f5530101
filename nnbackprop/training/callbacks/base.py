"""What a training run tells those who listen: train, epoch and chunk, begin and end.

A chunk is the steps between two looks at the run. Events carry host numbers only; a callback never
touches a device array, so listening costs no device wait beyond the one look a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Score:
    """Mean loss (with penalties), share of right answers in 0..1, and the number of samples judged."""

    loss: float
    accuracy: float
    samples: int


@dataclass(frozen=True)
class LayerRow:
    """One line of the layer table; FLOPs count the forward pass of one sample."""

    index: int
    name: str
    out_shape: tuple[int, ...]
    parameters: int
    bytes: int
    flops: int


@dataclass(frozen=True)
class TrainBegin:
    """Everything about the run that is known before its first step."""

    backend: str
    device: str
    dtype: str
    why: str
    layers: tuple[LayerRow, ...]
    samples: Mapping[str, int]  # {"train": 60000, "validation": 0, "test": 10000}
    batch_size: int
    steps_per_epoch: int
    epochs: int
    first_step: int  # steps done before this run began: 0, or more when it resumes
    description: Mapping[str, str] = field(default_factory=dict)  # further words for the header, in order


@dataclass(frozen=True)
class EpochBegin:
    """Epoch `epoch` (counted from 1) starts; `step` steps have been done."""

    epoch: int
    step: int


@dataclass(frozen=True)
class ChunkBegin:
    """`steps` steps are about to run as one piece."""

    epoch: int
    step: int
    steps: int


@dataclass(frozen=True)
class ChunkEnd:
    """A look at the run after a chunk: loss and accuracy are means over the chunk, in training mode."""

    epoch: int
    step: int  # steps done since the beginning of training
    steps: int  # steps in this chunk
    samples: int
    seconds: float  # of the chunk's steps alone
    loss: float
    accuracy: float
    lr: float
    gradient_norms: Mapping[str, float]  # by layer, of the chunk's last step
    memory_used: int | None  # bytes on the device


@dataclass(frozen=True)
class EpochEnd:
    """An epoch's row: `train` is the mean over its batches in training mode, as the steps saw them.

    `validation` is None without a validation part, `test` is None without a test part or when a validation
    part is there to be watched instead. Nothing is ever chosen by `test`.
    """

    epoch: int
    step: int
    lr: float
    train: Score
    validation: Score | None
    test: Score | None
    gradient_norms: Mapping[str, float]  # by layer, mean over the epoch's chunks
    seconds: float  # of the epoch's steps alone
    samples_per_second: float


@dataclass(frozen=True)
class TrainEnd:
    """The run is over: `reason` is one of finished, early-stopping, max-time, interrupted."""

    epoch: int
    step: int
    reason: str
    seconds: float  # of all steps of the run, resumed parts included


class Callback:
    """Base of everything that watches a run; override what you need."""

    def train_begin(self, event: TrainBegin) -> None:
        """Before the first step."""

    def epoch_begin(self, event: EpochBegin) -> None:
        """Before an epoch's first step."""

    def chunk_begin(self, event: ChunkBegin) -> None:
        """Before each chunk."""

    def chunk_end(self, event: ChunkEnd) -> None:
        """After each chunk."""

    def epoch_end(self, event: EpochEnd) -> None:
        """After an epoch's last step and its evaluation."""

    def train_end(self, event: TrainEnd) -> None:
        """After the last step, however the run ended, unless it raised."""

    def notice(self, words: str) -> None:
        """Something that happened on the way which people should know of."""

    def close(self) -> None:
        """Last of all, also when the run raised: let go of what is held."""
