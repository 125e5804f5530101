"""A run's events in words: what is said before it, after an epoch, and at its end."""

from __future__ import annotations

from nnbackprop.training.callbacks.base import EpochEnd, Score, TrainBegin, TrainEnd

from .formatting import count, duration, loss, plural, share

ENDINGS = {
    "finished": "finished",
    "early-stopping": "stopped early: the validation loss had ceased to fall",
    "max-time": "stopped: the time was up",
    "interrupted": "interrupted",
}


def header(event: TrainBegin) -> dict[str, str]:
    """What is known of a run before its first step, a subject and its words a line."""
    parts = ", ".join(f"{count(n)} {part}" for part, n in event.samples.items() if n)
    lines = {
        **event.description,
        "backend": f"{event.backend} on {event.device}, {event.dtype} ({event.why.rstrip('.')})",
        "samples": parts,
        "steps": f"{plural(event.epochs, 'epoch')} of {plural(event.steps_per_epoch, 'step')}, "
        f"{plural(event.batch_size, 'sample')} a step",
    }
    if event.first_step:
        lines["resumed"] = f"after step {count(event.first_step)}"
    return lines


def judged(event: EpochEnd) -> tuple[str, Score | None]:
    """The part an epoch was judged on, validation before test, and its score; ("", None) if on none."""
    if event.validation:
        return "val", event.validation
    return ("test", event.test) if event.test else ("", None)


def epoch_line(event: EpochEnd, epochs: int) -> str:
    """An epoch in a line that speaks for itself, for pipes and logs."""
    parts = [f"epoch {event.epoch:>{len(str(epochs))}}/{epochs}", _score("train", event.train)]
    name, score = judged(event)
    if score:
        parts.append(_score(name, score))
    return "  ".join([*parts, f"{count(event.samples_per_second)}/s", duration(event.seconds)])


def _score(part: str, score: Score) -> str:
    return f"{part} {loss(score.loss)} {share(score.accuracy):>7}"


def column_heads(event: EpochEnd) -> str:
    """The line over `epoch_row`."""
    name, score = judged(event)
    heads = f"{'epoch':>6}{'train loss':>12}{'train acc':>11}"
    return heads + (f"{name + ' loss':>11}{name + ' acc':>10}" if score else "") + f"{'time':>9}"


def epoch_row(event: EpochEnd) -> str:
    """An epoch as a row of columns, 59 characters wide, for terminals."""
    _, score = judged(event)
    row = f"{event.epoch:>6}{loss(event.train.loss):>12}{share(event.train.accuracy):>11}"
    seen = f"{loss(score.loss):>11}{share(score.accuracy):>10}" if score else ""
    return row + seen + f"{duration(event.seconds):>9}"


def ending(event: TrainEnd, steps_per_epoch: int) -> str:
    """Why the run ended and after how much; an epoch counts when it is whole."""
    epochs, rest = divmod(event.step, steps_per_epoch)
    within = f" and {plural(rest, 'step')}" if rest else ""
    return (
        f"{ENDINGS[event.reason]} after {plural(epochs, 'epoch')}{within}: "
        f"{plural(event.step, 'step')} in {duration(event.seconds)}"
    )
