"""Cost as work grows: what a sample's training takes against width, batch, depth and the number of samples.

A sample's time is its share of a training step, and of the shuffle of an epoch. Beside it stand the step's matrix
products alone, what the step takes over them, and the memory that training holds at its peak.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from rich.table import Table

from backends import select
from benchmarks.contestants import Contestant
from benchmarks.contestants.ours import Ours
from benchmarks.contestants.products import Products
from benchmarks.works import Problem
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling
from nnbackprop.report.formatting import count, size
from nnbackprop.report.style import save
from nnbackprop.report.tables import NONE, ruled
from nnbackprop.runs import config as configuration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECONDS = 0.3
"""A point's time, unless a step takes long."""

PATIENCE = 5.0
"""A point that would take longer than this is left out."""

TURNS, SLOW, FEW = 7, 0.1, 3  # turns a median is taken of; a step longer than `SLOW` seconds has few


@dataclass(frozen=True)
class Task:
    """What a point is measured on: `size` is what grows."""

    size: int
    hidden: tuple[int, ...] = (512, 256)
    batch: int = 120
    samples: int = 1 << 14
    features: int = 784

    @property
    def work(self) -> int:
        """How the time of a point grows: a step's multiplications, and the numbers of the set."""
        widths = (self.features, *self.hidden, 10)
        weights = sum(a * b for a, b in pairwise(widths))
        return self.batch * weights + self.samples * self.features

    def problem(self) -> Problem:
        """A classification of random bytes, each the same in every run."""
        flags = {"hidden": self.hidden, "dropout": (0.0,), "batch_size": self.batch, "lr": 0.01}
        rng = np.random.default_rng(0)
        inputs = rng.integers(0, 256, (self.samples, self.features), dtype=np.uint8)
        labels = rng.integers(0, 10, self.samples, dtype=np.int32)
        train, scaling = Dataset(inputs, labels, tuple("0123456789")), Scaling(np.array(1 / 255), np.array(0.0))
        return Problem(configuration.resolve("mnist", flags), train, scaling, ())


THOUSANDS = [1000 * n for n in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)]
SWEEPS: dict[str, tuple[str, Sequence[Task]]] = {
    "width": ("784-n-n-10, batch 120", [Task(1 << k, (1 << k,) * 2) for k in range(6, 14)]),
    "batch": ("784-512-256-10, batch n", [Task(1 << k, batch=1 << k) for k in range(14)]),
    "depth": ("n hidden layers of 256, batch 120", [Task(n, (256,) * n) for n in (1, 2, 3, 4, 6, 8, 12, 16)]),
    "samples": (
        "32-64-10, batch 120, n samples",
        [Task(n, (64,), samples=n, features=32) for n in THOUSANDS],
    ),
}
"""What grows: in words, and the tasks from the least to the most."""

KINDS = ("seconds", "over", "bytes")
"""What is followed as work grows."""


class Point(msgspec.Struct, frozen=True):
    """Medians at one size; `products` and `over` are NumPy's alone, and so is `bytes`, which it reports."""

    size: int
    seconds: float  # a sample
    products: float | None  # seconds a sample, of the matrix products alone
    over: float | None  # seconds a step, over its products
    bytes: int | None  # that training holds at its peak: samples, parameters, gradients, temporaries


class Sweep(msgspec.Struct, frozen=True):
    """What grew, its points, the sizes left out as they would have taken too long, and the exponents by kind."""

    against: str
    title: str
    points: tuple[Point, ...]
    skipped: tuple[int, ...]
    exponents: dict[str, float]

    def line(self, kind: str) -> tuple[list[int], list[float]]:
        """Sizes and values of one of a point's numbers, where it is known and above zero."""
        there = [(p.size, value) for p in self.points if (value := getattr(p, kind)) and value > 0]
        return [n for n, _ in there], [value for _, value in there]


class Growth(msgspec.Struct, frozen=True):
    """All sweeps on one backend."""

    backend: str
    sweeps: tuple[Sweep, ...]


def grow(backend: str = "numpy") -> Growth:
    """Measure every sweep on a backend; under a minute on two cores that are free."""
    Ours(Task(0).problem(), 1, backend).run(0, 2)  # imports, and numba's compilation, are no part of a point
    return Growth(select(backend).name, tuple(_sweep(against, backend) for against in SWEEPS))


def _sweep(against: str, backend: str) -> Sweep:
    """From the least size on, until one is expected to take too long; what the first takes, any takes to begin."""
    title, tasks = SWEEPS[against]
    points, begun = list[Point](), list[float]()
    for before, task in zip([None, *tasks], tasks, strict=False):
        if before and begun[0] + (begun[-1] - begun[0]) * task.work / before.work > PATIENCE:
            break
        point, seconds = _measure(task, backend)
        points.append(point)
        begun.append(seconds)
    sweep = Sweep(against, title, tuple(points), tuple(task.size for task in tasks[len(points) :]), {})
    fits = {kind: exponent(*sweep.line(kind)) for kind in KINDS}
    return msgspec.structs.replace(sweep, exponents={kind: fit for kind, fit in fits.items() if fit is not None})


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float | None:
    """p of value = c size^p: least squares of the logarithms over the upper half of the range of log size."""
    begin = upper_half(sizes)
    if len(sizes) - begin < 2:
        return None
    return float(np.polyfit(np.log(sizes[begin:]), np.log(values[begin:]), 1)[0])


def upper_half(sizes: Sequence[int]) -> int:
    """Where the upper half of rising sizes begins, by their logarithms."""
    return next((k for k, n in enumerate(sizes) if n * n >= sizes[0] * sizes[-1]), 0)


def _measure(task: Task, backend: str) -> tuple[Point, float]:
    """A point, and the seconds it took before its first turn."""
    begin = time.perf_counter()
    ours, order, peak = _begin(task, backend)
    once = _seconds(partial(ours.run, 0, 1))
    begun = time.perf_counter() - begin
    numpy = ours.backend.name == "numpy"
    floor = [Products(replace(ours.problem, weights=ours.weights()), 1)] if numpy else []
    ours.chunk = 1 << max(0, math.floor(math.log2(SECONDS / TURNS / once)))
    step, *products = _paces([ours, *floor], ours.chunk, FEW if once > SLOW else TURNS)
    alone = products[0] if products else None
    return Point(
        task.size,
        order / task.samples + step / task.batch,
        None if alone is None else alone / task.batch,
        None if alone is None else step - alone,
        peak if numpy else None,
    ), begun


def _begin(task: Task, backend: str) -> tuple[Ours, float, int]:
    """Ourselves after two steps, the seconds of a shuffle, and the most bytes that these and we held."""
    tracemalloc.start()
    try:
        problem = task.problem()
        ours = Ours(problem, 1, backend)
        tracemalloc.reset_peak()
        order = _seconds(lambda: problem.order)
        ours.run(0, 2)
        return ours, order, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _paces(contestants: Sequence[Contestant], steps: int, turns: int) -> list[float]:
    """Seconds a step of each: medians of turns by turns, the first left out; rows are ever new ones."""
    starts = range(0, steps * (turns + 1), steps)
    rows = [[_seconds(partial(contestant.run, at, steps)) for contestant in contestants] for at in starts]
    return [median(column) / steps for column in zip(*rows[1:], strict=True)]


# How it is shown.


def table(growth: Growth) -> Table:
    """A block a sweep, a row a size, and below it the exponents."""
    heads = ("µs a sample", "products alone", "µs a step over them", "peak memory")
    table = ruled(growth.backend, *heads, right=(growth.backend, *heads))
    for sweep in growth.sweeps:
        table.add_row(f"[bold]{sweep.against}[/]")
        for p in sweep.points:
            memory = NONE if p.bytes is None else size(p.bytes)
            table.add_row(count(p.size), _micro(p.seconds), _micro(p.products), _micro(p.over), memory)
        fits = [f"n^{sweep.exponents[kind]:.2f}" if kind in sweep.exponents else NONE for kind in KINDS]
        table.add_row("[dim]upper half[/]", fits[0], "", *fits[1:], style="dim")
        if sweep.skipped:
            table.add_row(f"[dim]{', '.join(map(count, sweep.skipped))} left out: over {PATIENCE:g} s each[/]")
    return table


def _micro(seconds: float | None) -> str:
    return NONE if seconds is None else f"{1e6 * seconds:,.4g}"


def draw(growth: Growth, path: Path) -> None:
    """A panel a sweep, one of the step's overhead, one of memory: logarithmic, each line with its exponent."""
    from matplotlib.figure import Figure

    from nnbackprop.report.style import GREY, PALETTE, style

    with style():
        figure = Figure(figsize=(12, 7.2), layout="constrained")
        title = f"Cost as work grows, on {growth.backend}: n^p is the fit over the upper half of each range"
        figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
        *panels, over, memory = figure.subplots(2, 3).flat
        for axes, sweep, colour in zip(panels, growth.sweeps, PALETTE, strict=False):
            _line(axes, sweep, "seconds", colour, 1e6, "training")
            _line(axes, sweep, "products", GREY, 1e6, "products alone")
            _line(memory, sweep, "bytes", colour, 2**-20, sweep.against)
            _finish(axes, f"Time by {sweep.against}", sweep.title, "µs a sample")
        _line(over, growth.sweeps[0], "over", PALETTE[0], 1e6, "training less products")
        _finish(over, "Overhead by width", growth.sweeps[0].title, "µs a step")
        _finish(memory, "Peak memory", "width, batch, depth or samples", "MiB")
        save(figure, path)


def _line(axes: Axes, sweep: Sweep, kind: str, colour: str, unit: float, label: str) -> None:
    """Values and, broad and pale, what was fitted to them; dashes for what is not ours."""
    sizes, values = sweep.line(kind)
    if not sizes:
        return
    scaled = unit * np.array(values)
    if kind not in sweep.exponents:
        axes.plot(sizes, scaled, "--", color=colour, lw=1.2, label=label)
        return
    p, upper = sweep.exponents[kind], np.array(sizes[upper_half(sizes) :], float)
    axes.plot(sizes, scaled, color=colour, lw=1.6, marker="o", ms=3.5, label=f"{label}, n^{p:.2f}")
    fitted = np.exp(np.log(scaled[-len(upper) :]).mean()) * (upper / np.exp(np.log(upper).mean())) ** p
    axes.plot(upper, fitted, color=colour, lw=6, alpha=0.2, solid_capstyle="round")


def _finish(axes: Axes, title: str, subtitle: str, what: str) -> None:
    """Both axes logarithmic, labelled in plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set(xlabel=f"n: {subtitle}", ylabel=what)
    axes.spines[["top", "right"]].set_visible(False)
    sizes = sorted({float(n) for line in axes.get_lines() for n in np.asarray(line.get_xdata())})
    if not sizes:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "known of NumPy alone", transform=axes.transAxes, ha="center")
        return
    axes.set(xscale="log", yscale="log")
    axes.grid(color="#E6E6E6")
    axes.set_xticks(_ticks(sizes))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda n, _: _short(n))
    axes.legend(frameon=False, fontsize=9, handlelength=1.6)


def _ticks(sizes: Sequence[float]) -> list[float]:
    """Some of the sizes, evenly by their logarithms."""
    ticks, gap = [sizes[0]], (sizes[-1] / sizes[0]) ** (1 / 7)
    for n in sizes:
        ticks += [n] if n >= gap * ticks[-1] else []
    return ticks


def _short(n: float) -> str:
    """0.2 and 1,024, but 30k or 10M for round numbers."""
    for unit, word in ((10**6, "M"), (10**3, "k")):
        if n >= unit and n % unit == 0:
            return f"{n / unit:g}{word}"
    return f"{n:,g}"
