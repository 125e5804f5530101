"""What happens in training, as the page is told: plain values of the events of callbacks and of a run's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nnbackprop.training.events import ChunkEnd, EpochEnd, Score, TrainBegin

Status = Literal["idle", "starting", "running", "paused", "stopped", "finished", "failed"]
ACTIVE: tuple[Status, ...] = ("starting", "running", "paused")
MAX_POINTS = 2000  # of a curve that is kept
MAX_EPOCHS_SENT = 10  # at once: hundreds of short epochs may end between two messages
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class State:
    """Where the trainer is. `lr` and `dropout` are the settings: a schedule makes other rates of the former."""

    status: Status = "idle"
    run: str | None = None
    recipe: str | None = None
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    lr: float | None = None
    dropout: tuple[float, ...] = ()
    seconds: float = 0.0
    reason: str | None = None
    error: str | None = None
    elsewhere: bool = False  # trained by another process, which this server can only look at


def begin(run: str, recipe: str, event: TrainBegin) -> dict[str, Any]:
    """A run before its first step, or the first after a pause."""
    return {
        "run": run,
        "recipe": recipe,
        "backend": event.backend,
        "device": event.device,
        "dtype": event.dtype,
        "layers": [{"name": r.name, "out_shape": r.out_shape, "parameters": r.parameters} for r in event.layers],
        "n_samples": dict(event.n_samples),
        "batch_size": event.batch_size,
        "steps_per_epoch": event.steps_per_epoch,
        "epochs": event.epochs,
        "first_step": event.first_step,
        "settings": dict(event.config),
    }


class ChunkSums:
    """Chunks added up to one point of the curves."""

    def __init__(self) -> None:
        self.n_samples, self.seconds, self.loss = 0, 0.0, 0.0
        self.metrics: dict[str, float] = {}
        self.last: ChunkEnd | None = None

    def add(self, event: ChunkEnd) -> None:
        """Count a chunk."""
        self.n_samples += event.n_samples
        self.seconds += event.seconds
        self.loss += event.loss * event.n_samples
        for name, value in event.metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + value * event.n_samples
        self.last = event

    def point(self) -> dict[str, Any] | None:
        """The point of all chunks; None where there was none."""
        last, n = self.last, self.n_samples
        if last is None:
            return None
        return {
            "step": last.step,
            "epoch": last.epoch,
            "loss": self.loss / n,
            "metrics": {name: value / n for name, value in self.metrics.items()},
            "lr": last.lr,
            "samples_per_second": n / max(self.seconds, 1e-9),
            "gradient_norms": dict(last.gradient_norms),
        }


def epoch(event: EpochEnd) -> dict[str, Any]:
    """An epoch's row."""
    scores = {"train": event.train, "validation": event.validation, "test": event.test}
    return {
        "epoch": event.epoch,
        "step": event.step,
        "lr": event.lr,
        **{part: _score(score) for part, score in scores.items()},
        "samples_per_second": event.samples_per_second,
        "seconds": event.seconds,
        "gradient_norms": dict(event.gradient_norms),
    }


def _score(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else {**asdict(score), "metrics": dict(score.metrics)}


def epoch_of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a line of metrics.jsonl, which does not say of how many samples a score is."""
    scores: dict[str, Any] = {}
    for part in PARTS:
        values = {key.removeprefix(f"{part}_"): v for key, v in row.items() if key.startswith(f"{part}_")}
        loss = values.pop("loss", None)
        scores[part] = None if loss is None else {"loss": loss, "metrics": values, "n_samples": None}
    names = ("epoch", "step", "lr", "samples_per_second", "seconds", "gradient_norms")
    return {**{name: row.get(name) for name in names}, **scores}


def spread(rows: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the rows, evenly, the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[(i + 1) * len(rows) // most - 1] for i in range(most)]


class History:
    """All that a page that opens now must be told."""

    def __init__(self) -> None:
        self.state = State()
        self.begin: dict[str, Any] | None = None
        self.chunks: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.findings: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []

    def add(self, kind: str, data: Any) -> None:
        """Keep what an event of this kind tells."""
        if kind == "begin":
            self._begin(data)
        elif kind == "progress":
            self.chunks += data["chunks"]
            self.epochs += data["epochs"]
            for rows in (self.chunks, self.epochs):
                if len(rows) > MAX_POINTS:
                    rows[:] = spread(rows, MAX_POINTS // 2)
        elif kind == "findings":
            self.findings = data["findings"]
        elif kind == "message":
            self.messages = [*self.messages[-99:], data]

    def _begin(self, data: dict[str, Any]) -> None:
        """A run that goes on keeps what lies before its first step; another one has a history of its own."""
        self.begin = data
        for rows in (self.chunks, self.epochs):
            rows[:] = [row for row in rows if row["step"] <= data["first_step"]]

    def to_json(self) -> dict[str, Any]:
        """The event `history`."""
        return {
            "state": asdict(self.state),
            "begin": self.begin,
            "chunks": self.chunks,
            "epochs": self.epochs,
            "findings": self.findings,
            "messages": self.messages,
        }
