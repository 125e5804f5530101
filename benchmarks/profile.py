"""Where a step's microseconds go: every piece of the training step, told apart by a clock around it."""

from __future__ import annotations

import copy
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from statistics import median
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec
from msgspec import Struct
from rich.console import RenderableType

from nnbackprop.errors import UsageError
from nnbackprop.nn.sequential import Sequential
from nnbackprop.report.formatting import plural, share
from nnbackprop.report.tables import NONE, ruled
from nnbackprop.training import step as training
from nnbackprop.training.step import TrainStep

from .contestants.ours import Ours
from .works import WORKS, Problem

T = TypeVar("T")

BACKENDS = ("numpy", "torch")
"""Where a call returns when its work is done; a compiled step of JAX's has no pieces to tell apart."""

SECONDS = 3.0
"""How long to look, unless two chunks take longer."""

STEP, REST, BETWEEN = "step", "the rest of the step", "between steps"


class Piece(Struct, frozen=True):
    """A piece of a step: its calls in one, the median of its microseconds, and their share of the whole."""

    name: str
    calls: int
    microseconds: float
    share: float


class Profile(Struct, frozen=True):
    """The pieces of a work's step, in the order they are called in, what lies between them, and between steps."""

    work: str
    title: str
    backend: str
    steps: int
    pieces: tuple[Piece, ...]

    def to_json(self) -> str:
        """All of it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode()


class Clock:
    """Seconds and calls by name, since it was last set to zero. It takes some 0.3 µs a call itself."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed under a name."""

        @wraps(call)
        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            answer = call(*arguments, **options)
            self.seconds[name] += time.perf_counter() - begin
            self.calls[name] += 1
            return answer

        return timed

    def inside(self, thing: T, **names: str) -> T:
        """A copy of an object that is what it was, but with some of its methods timed, each under a name."""
        kind: Any = type(thing)
        methods = {method: self.around(name, getattr(kind, method)) for method, name in names.items()}
        twin = copy.copy(thing)
        object.__setattr__(twin, "__class__", type(kind)(kind.__name__, (kind,), methods))
        return twin


def profile(name: str, backend: str = "numpy") -> Profile:
    """Train for some seconds and say where they went; UsageError for a backend whose steps have no pieces."""
    if backend not in BACKENDS:
        raise UsageError(
            f"A step on {backend} is compiled whole, or runs while its caller goes on: it has no pieces to time. "
            f"Choose --backend {' or '.join(BACKENDS)}."
        )
    work, clock = WORKS[name], Clock()
    ours = Ours(Problem.of(work), work.chunk, backend)
    ours.step = timed_step(ours.step, clock)
    free: dict[str, Any] = {name: clock.around(words, getattr(training, name)) for name, words in FREE.items()}
    with patch.multiple(training, **free):
        rows = list(_chunks(ours, clock, work.chunk))
    return Profile(name, work.title, backend, len(rows) * work.chunk, pieces(rows, clock.calls, work.chunk))


FREE = {"get_batch": "get_batch", "count_correct": "counting right answers"}
"""What a step calls that is no object's method."""


def timed_step(step: TrainStep, clock: Clock) -> TrainStep:
    """The same step, with the clock around both ways of every layer, loss, penalty, clipping and optimizer."""
    objective = step.objective
    layers = [
        clock.inside(layer, forward=f"{name} forward", backward=f"{name} backward")
        for name, layer in zip(objective.network.names, objective.network.layers, strict=True)
    ]
    objective = replace(
        objective,
        network=Sequential(*layers),
        loss=clock.inside(objective.loss, __call__="loss"),
        penalty=objective.penalty and clock.inside(objective.penalty, gradients="penalty", loss="penalty"),
    )
    clip = step.clip and clock.inside(step.clip, __call__="clipping")
    optimizer = clock.inside(step.optimizer, step="optimizer")
    step = replace(step, objective=objective, optimizer=optimizer, clip=clip)
    return clock.inside(
        step, gradients=STEP, update=STEP
    )  # between the two lie the norms of a step that tells them


def _chunks(ours: Ours, clock: Clock, chunk: int) -> Iterator[dict[str, float]]:
    """Seconds by piece of a chunk, and of what lies between; the first chunk, which warms up, is not told."""
    ours.run(0, chunk)
    clock.calls.clear()
    begin, at = time.perf_counter(), chunk
    while at < 3 * chunk or time.perf_counter() - begin < SECONDS:
        clock.seconds.clear()
        since = time.perf_counter()
        ours.run(at, chunk)
        whole, at = time.perf_counter() - since, at + chunk
        found = dict(clock.seconds)
        step = found.pop(STEP)
        yield {**found, REST: step - sum(found.values()), BETWEEN: whole - step}


def pieces(rows: Sequence[Mapping[str, float]], calls: Mapping[str, int], chunk: int) -> tuple[Piece, ...]:
    """Medians over chunks of `chunk` steps, and each one's share of their sum."""
    medians = {name: 1e6 * median(row[name] for row in rows) / chunk for name in rows[0]}
    whole, steps = sum(medians.values()), len(rows) * chunk
    return tuple(Piece(name, round(calls.get(name, 0) / steps), us, us / whole) for name, us in medians.items())


def report(found: Profile) -> RenderableType:
    """A row a piece, and the whole below."""
    right = ("calls a step", "µs a step", "share")
    table = ruled(f"[bold]{found.work}[/] {found.title}, {found.backend}", *right, right=right, show_footer=True)
    for piece in found.pieces:
        table.add_row(piece.name, str(piece.calls or NONE), f"{piece.microseconds:,.1f}", share(piece.share))
    table.columns[0].footer = f"medians of {plural(found.steps, 'step')}"
    table.columns[2].footer = f"{sum(piece.microseconds for piece in found.pieces):,.1f}"
    return table
