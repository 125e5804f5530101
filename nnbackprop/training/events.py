"""What callbacks are told: events, made of a trainer's state where training, an epoch or a chunk begins and ends.

A chunk is the steps between two readings of the metrics. Events hold host numbers, but for the batches of a
`ChunkBegin`: a callback costs no device synchronisation, and one that needs arrays takes them from the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from backends import Tree
from nnbackprop._html import html_table

if TYPE_CHECKING:
    from .batch_schedule import Chunk
    from .trainer import Trainer


@dataclass(frozen=True)
class Score:
    """Mean loss (penalties included) and metrics over `n_samples` samples: accuracy in 0..1 for classes.

    `confusion`, of an evaluation of up to 20 classes, has for each true class how often each is predicted.
    """

    loss: float
    metrics: Mapping[str, float]
    n_samples: int
    confusion: tuple[tuple[int, ...], ...] | None = field(default=None, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of right answers in 0..1; KeyError unless the targets are classes."""
        return self.metrics["accuracy"]

    def _repr_html_(self) -> str:
        values = [f"{value:.6g}" for value in (self.loss, *self.metrics.values())]
        heads = ("loss", *(name.replace("_", " ") for name in self.metrics), "samples")
        return html_table(heads, [(*values, f"{self.n_samples:,}")])


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
    """Everything about the run that is known before its first step.

    `config` has the settings of a run by name, or the options of a trainer that no run made.
    """

    backend: str
    device: str
    dtype: str
    selection_reason: str  # why this backend was chosen
    layers: tuple[LayerRow, ...]
    n_samples: Mapping[str, int]  # {"train": 60000, "validation": 0, "test": 10000}
    batch_size: int
    steps_per_epoch: int
    epochs: int
    first_step: int  # steps done before: 0, or more when the run resumes
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochBegin:
    """Epoch `epoch` (counted from 1) starts; `step` steps have been done."""

    epoch: int
    step: int


@dataclass(frozen=True)
class ChunkBegin:
    """`steps` steps are about to run; `batches` are their arrays on the device, leading axis the step."""

    epoch: int
    step: int
    steps: int
    batches: Tree


@dataclass(frozen=True)
class ChunkEnd:
    """What a chunk's steps came to: loss and metrics are means over the chunk, in training mode."""

    epoch: int
    step: int  # steps done since the beginning of training
    steps: int  # steps in this chunk
    n_samples: int
    seconds: float  # of the chunk's steps alone
    loss: float
    metrics: Mapping[str, float]
    lr: float
    gradient_norms: Mapping[str, float]  # by layer, of the chunk's last step
    memory_used: int | None  # bytes on the device

    @property
    def samples_per_second(self) -> float:
        """The speed of its steps."""
        return self.n_samples / max(self.seconds, 1e-9)  # a coarse clock may have seen no time pass


@dataclass(frozen=True)
class EpochEnd:
    """An epoch's row: `train` is the mean over its batches in training mode.

    `validation` is None without a validation part, `test` is None without a test part or where a validation part
    is evaluated instead. Nothing is ever chosen by `test`.
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
    """The run is over: `reason` is finished, early-stopping, max-time, interrupted, or what `stop` was given."""

    epoch: int
    step: int
    reason: str
    seconds: float  # of all steps of the run, resumed parts included


def train_begin(trainer: Trainer, n_samples: Mapping[str, int]) -> TrainBegin:
    """The event before the first step of `fit`, whose parts have `n_samples`."""
    backend, schedule = trainer.backend, trainer.batch_schedule
    return TrainBegin(
        backend=backend.name,
        device=backend.device,
        dtype=trainer.dtype,
        selection_reason=backend.selection_reason,
        layers=trainer.layer_table,
        n_samples=n_samples,
        batch_size=schedule.batch_size,
        steps_per_epoch=schedule.steps_per_epoch,
        epochs=trainer.epochs,
        first_step=trainer.progress.step,
        config=trainer.config or options_of(trainer),
    )


def options_of(trainer: Trainer) -> dict[str, Any]:
    """The options of a trainer by name: numbers and words as they are, objects as they are written in Python."""
    names = [f.name for f in fields(trainer) if f.name not in ("backend", "scaling", "callbacks")]
    values = {name: getattr(trainer, name) for name in names}
    return {name: v if isinstance(v, str | int | float | None) else repr(v) for name, v in values.items()}


def chunk_end(
    trainer: Trainer, chunk: Chunk, seconds: float, sums: Mapping[str, Any], norms: Mapping[str, float]
) -> ChunkEnd:
    """The event after a chunk that `progress` has counted, from its sums of losses and metrics."""
    p = trainer.progress
    weight = sums.get("weight", chunk.n_samples) or 1.0  # a chunk whose samples all weigh 0
    return ChunkEnd(
        epoch=p.epoch,
        step=p.step,
        steps=chunk.n_steps,
        n_samples=chunk.n_samples,
        seconds=seconds,
        loss=sums["loss"] / weight,
        metrics=trainer.metrics.compute(sums["metrics"], weight),
        lr=trainer.lr_at(p.step - 1),
        gradient_norms=norms,
        memory_used=trainer.backend.memory().used,
    )


def epoch_end(trainer: Trainer, scores: Mapping[str, Score]) -> EpochEnd:
    """The event after an epoch that `progress` still counts, and the evaluations of its end."""
    p = trainer.progress
    return EpochEnd(
        epoch=p.epoch,
        step=p.step,
        lr=trainer.lr_at(p.step - 1),
        train=Score(
            loss=p.loss_sum / p.weight_sum,
            metrics=trainer.metrics.compute(p.metric_sums, p.weight_sum),
            n_samples=p.samples_seen,
        ),
        validation=scores.get("validation"),
        test=scores.get("test"),
        gradient_norms=p.mean_gradient_norms(),
        seconds=p.epoch_seconds,
        samples_per_second=p.samples_seen / p.epoch_seconds,
    )


def train_end(trainer: Trainer) -> TrainEnd:
    """The event after the last step of `fit`."""
    p = trainer.progress
    return TrainEnd(
        epoch=p.epoch if p.samples_seen else p.epoch - 1,  # the last that was trained on
        step=p.step,
        reason=trainer.stop_reason or "finished",
        seconds=p.seconds,
    )
