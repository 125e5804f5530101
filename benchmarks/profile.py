"""Where a step's microseconds go: each piece of the training step, with a clock around it."""

from __future__ import annotations

import copy
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from statistics import median
from typing import Any, TypeVar
from unittest.mock import patch

from nnbackprop.errors import UsageError
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training import step as training
from nnbackprop.training.step import TrainStep

from .rivals.nnbackprop_steps import Ours
from .workloads import WORKLOADS, Problem

T = TypeVar("T")

BACKENDS = ("numpy", "torch")
"""Where a call returns when its work is done; a compiled step of JAX's has no pieces to time."""

SECONDS = 3.0
"""How long to train, unless two chunks take longer."""

STEP, REST, BETWEEN = "step", "the rest of the step", "between steps"

FUNCTIONS = {"get_batch": "batch", "add_batch": "sums of loss and metrics"}
"""What a step calls that is no object's method."""


@dataclass(frozen=True)
class Piece:
    """A piece of a step: its calls a step, the median of its microseconds, and their share of the whole."""

    name: str
    calls: int
    microseconds: float
    share: float


class Clock:
    """Seconds and calls by name. It takes some 0.3 µs a call itself."""

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
        """A copy of an object with some of its methods timed, each under a name."""
        kind: Any = type(thing)
        methods = {method: self.around(name, getattr(kind, method)) for method, name in names.items()}
        twin = copy.copy(thing)
        object.__setattr__(twin, "__class__", type(kind)(kind.__name__, (kind,), methods))
        return twin


def profile(name: str, backend: str = "numpy") -> tuple[Piece, ...]:
    """Train for some seconds and say where they went; UsageError for a backend whose steps have no pieces."""
    if backend not in BACKENDS:
        raise UsageError(
            f"A step on {backend} is compiled whole, or runs while its caller goes on: it has no pieces to time. "
            f"Choose --backend {' or '.join(BACKENDS)}."
        )
    workload, clock = WORKLOADS[name], Clock()
    ours = Ours(Problem.of(workload), backend)
    ours.step = timed_step(ours.step, clock)
    functions: Any = {name: clock.around(title, getattr(training, name)) for name, title in FUNCTIONS.items()}
    with patch.multiple(training, **functions):
        rows = list(_chunks(ours, clock, workload.chunk))
    return pieces(rows, clock.calls, workload.chunk)


def timed_step(step: TrainStep, clock: Clock) -> TrainStep:
    """The same step, with the clock around both ways of every layer, loss, penalty and optimizer."""
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
    step = replace(step, objective=objective, optimizer=clock.inside(step.optimizer, step="optimizer"))
    return clock.inside(step, __call__=STEP)


def _chunks(ours: Ours, clock: Clock, chunk: int) -> Iterator[dict[str, float]]:
    """Seconds by piece of each chunk but the first, which warms up."""
    ours.train(0, chunk)
    clock.calls.clear()
    begin, at = time.perf_counter(), chunk
    while at < 3 * chunk or time.perf_counter() - begin < SECONDS:
        batches = ours.prepare(ours.problem.rows(at, chunk))
        clock.seconds.clear()
        since = time.perf_counter()
        ours.run(batches)
        whole, at = time.perf_counter() - since, at + chunk
        found = dict(clock.seconds)
        step = found.pop(STEP)
        yield {**found, REST: step - sum(found.values()), BETWEEN: whole - step}


def pieces(rows: Sequence[Mapping[str, float]], calls: Mapping[str, int], chunk: int) -> tuple[Piece, ...]:
    """Medians over chunks of `chunk` steps, and each one's share of their sum."""
    medians = {name: 1e6 * median(row[name] for row in rows) / chunk for name in rows[0]}
    whole, steps = sum(medians.values()), len(rows) * chunk
    return tuple(Piece(name, round(calls.get(name, 0) / steps), us, us / whole) for name, us in medians.items())


def table(found: Sequence[Piece]) -> str:
    """A row a piece, and the sum."""
    lines = ["| | calls a step | µs a step | share |", "|---|--:|--:|--:|"]
    rows = [f"| {p.name} | {p.calls or ''} | {p.microseconds:,.1f} | {p.share:.2%} |" for p in found]
    return "\n".join([*lines, *rows, f"| all | | {sum(piece.microseconds for piece in found):,.1f} | |"])
