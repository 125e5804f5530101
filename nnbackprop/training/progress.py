"""Where a run is: with the parameters and the optimizer's state, enough to go on as if never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, convert, field, to_builtins

Count = Annotated[int, Meta(ge=0, le=2**53)]
Share = Annotated[float, Meta(gt=0, le=1)]
Sum = float | list[float]
"""A sum over samples, or one for each output."""


NAMES_IN_FILES = {
    "lr_factor": "rate",
    "planned_epochs": "aims",
    "samples_seen": "samples",
    "n_chunks": "chunks",
    "loss_sum": "loss",
    "weight_sum": "weight",
    "metric_sums": "metrics",
    "gradient_norm_sums": "norms",
}
"""Fields of `Progress` that have another name in files, which keep the names of earlier versions."""


class Progress(Struct, rename=NAMES_IN_FILES):
    """Counters of a run, the sums of the epoch under way, and what changed its learning rate.

    Plain numbers, kept in every checkpoint.
    """

    epoch: Annotated[int, Meta(ge=1, le=2**53)] = 1  # the epoch under way, counted from 1
    step: Count = 0  # steps done in all
    seconds: float = 0.0  # of all steps
    samples_seen: Count = 0  # in this epoch: also the place in its shuffled order
    n_chunks: Count = 0  # of this epoch
    loss_sum: float = 0.0  # over the samples of this epoch
    weight_sum: float = 0.0  # of their weights: their number where they have none
    metric_sums: dict[str, Sum] = field(default_factory=dict)  # see `nn.metrics`
    epoch_seconds: float = 0.0
    gradient_norm_sums: dict[str, float] = field(default_factory=dict)  # over the chunks of this epoch, by layer
    lr_factor: Share = 1.0  # every learning rate is multiplied by it: less than 1 after a plateau or a divergence
    lr_halvings: Count = 0  # after divergences
    plateau_best: float | None = None  # of what `ReduceLROnPlateau` monitors; negated where more is better
    plateau_wait: Count = 0  # epochs since it improved, or the learning rate was reduced
    planned_epochs: list[tuple[Count, Count]] = field(default_factory=list)  # (after this step, to this epoch)

    def plan_epochs(self, epochs: int) -> None:
        """Remember to how many epochs the run is to go from here on: schedules may depend on it."""
        if self.planned_epochs and self.planned_epochs[-1][0] == self.step:  # no step was made by that plan
            del self.planned_epochs[-1]
        if not self.planned_epochs or self.planned_epochs[-1][1] != epochs:
            self.planned_epochs.append((self.step, epochs))

    def mean_gradient_norms(self) -> dict[str, float]:
        """Gradient norm of each layer, mean over this epoch's chunks."""
        return {layer: total / self.n_chunks for layer, total in self.gradient_norm_sums.items()}

    def add_chunk(
        self, steps: int, n_samples: int, seconds: float, sums: Mapping[str, Any], norms: Mapping[str, float]
    ) -> None:
        """Count a chunk: its sums of losses, metrics and weights, and its gradient norms."""
        self.step += steps
        self.seconds += seconds
        self.samples_seen += n_samples
        self.n_chunks += 1
        self.loss_sum += sums["loss"]
        self.weight_sum += sums.get("weight", n_samples)
        self.metric_sums = {
            name: add_sums(self.metric_sums.get(name), value) for name, value in sums["metrics"].items()
        }
        self.epoch_seconds += seconds
        self.gradient_norm_sums = {
            layer: self.gradient_norm_sums.get(layer, 0.0) + norm for layer, norm in norms.items()
        }

    def next_epoch(self) -> None:
        """Begin the next epoch with empty sums."""
        self.epoch += 1
        self.samples_seen = self.n_chunks = 0
        self.loss_sum = self.weight_sum = self.epoch_seconds = 0.0
        self.metric_sums, self.gradient_norm_sums = {}, {}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return to_builtins(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Progress:
        """What `to_dict` gave; msgspec.ValidationError if it is something else.

        Checkpoints of 0.1.0 counted right answers alone, under "correct".
        """
        saved = dict(saved)
        if "correct" in saved:
            saved |= {"metrics": {"correct": saved.pop("correct")}, "weight": saved.get("samples")}
        return convert(saved, cls)


def add_sums(total: Sum | None, value: Sum) -> Sum:
    """total + value, number by number."""
    if total is None:
        return value
    if isinstance(total, list) and isinstance(value, list):
        return [a + b for a, b in zip(total, value, strict=True)]
    return total + value  # type: ignore[operator]
