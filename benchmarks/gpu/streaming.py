"""A set too large for the device: its samples come chunk by chunk, and nothing else is different."""

from __future__ import annotations

from collections.abc import Iterator

from .captures import differing
from .clock import microseconds
from .results import MICROSECONDS, Figure
from .setting import Asked, size_for
from .training import Training, w1

CHUNK = 16
"""Steps that come at a time: as many as a captured graph has."""


def streaming(asked: Asked) -> Iterator[Figure]:
    """W1 on samples that lie on the device, and on the same that stream: the same bits, and what a step takes."""
    backend, data = asked.open(), asked.read().train
    size = size_for(backend)
    lying, coming = (Training(backend, w1(size), data, resident=word) for word in ("yes", "no"))
    for training in (lying, coming):
        chunk_by_chunk(training, size.steps)
    yield differing("tensors that differ from those of samples on the device in a bit", lying, coming)
    for training, where in ((lying, "lie on the device"), (coming, "stream")):
        times = microseconds(
            lambda: chunk_by_chunk(training, size.steps),  # noqa: B023
            backend.synchronize,
            size.steps,
            size,
        )
        yield Figure.of(f"W1 on samples that {where}, batches made as it goes", times, MICROSECONDS)


def chunk_by_chunk(training: Training, steps: int) -> None:
    """As the trainer does, which makes the next chunk's batches while this one is worked through."""
    begins = range(0, steps, CHUNK)
    chunks = ((at, training.on_host(at, min(CHUNK, steps - at))) for at in begins)
    for _, xs in training.loader.to_device(chunks):
        training.run(xs)
