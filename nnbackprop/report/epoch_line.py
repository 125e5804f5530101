"""What the line of an epoch says: its scores, in columns or in a row of words."""

from __future__ import annotations

from collections.abc import Iterator

from nnbackprop.training.events import ChunkEnd, EpochEnd, Score

from .formatting import duration, loss, metric


def epoch_scores(event: EpochEnd) -> list[tuple[str, Score]]:
    """The scores of an epoch, by the part's short name."""
    scores = {"train": event.train, "val": event.validation, "test": event.test}
    return [(part, score) for part, score in scores.items() if score]


def first_metric(score: Score | ChunkEnd) -> tuple[str, str]:
    """The metric for which a row has room: its name, shortened, and its value."""
    name, value = next(iter(score.metrics.items()))
    return name.replace("accuracy", "acc").replace("_", " "), metric(name, value)


def score_text(score: Score | ChunkEnd) -> str:
    """A loss and the first metric, named unless a percentage says that it is the accuracy."""
    name, value = first_metric(score)
    return f"{loss(score.loss)} {value:>7}" if name == "acc" else f"{loss(score.loss)} {name} {value}"


def epoch_columns(event: EpochEnd) -> Iterator[tuple[str, int, str]]:
    """The columns of an epoch's row: name, width, value."""
    yield "epoch", 6, str(event.epoch)
    for part, score in epoch_scores(event):
        name, value = first_metric(score)
        for column, width, text in ((f"{part} loss", 11, loss(score.loss)), (f"{part} {name}", 10, value)):
            yield column, max(width, len(column) + 2), text
    yield "time", 9, duration(event.seconds)
