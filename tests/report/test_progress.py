"""Which display a run gets, and its plain lines: without escape codes, and not too many."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from nnbackprop.report import formatting
from nnbackprop.report.progress import Display, PlainProgress, RichProgress, progress
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import EpochEnd, Score, TrainEnd
from tests.support.report_runs import (
    Clock,
    Terminal,
    chunk_end_event,
    epoch_end_event,
    score,
    send,
    train_begin_event,
)


def plain_display() -> tuple[PlainProgress, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return PlainProgress(Console(file=out, width=80), {"recipe": "a [bold]net[/]"}, clock), out, clock


def epochs_shown(kind: type[Display], epochs: int, run: int, seconds: float) -> list[int]:
    """The epochs that have a line, of the first `run` of `epochs`, each of so many seconds."""
    out, clock = io.StringIO(), Clock()
    callback = kind(Console(file=out, width=80), clock=clock)
    send(callback, train_begin_event(epochs=epochs))
    for epoch in range(1, run + 1):
        clock.now = epoch * seconds
        send(callback, epoch_end_event(epoch, seconds))
    send(callback, TrainEnd(run, 10 * run, "max-time", run * seconds))
    return [int(n) for n in re.findall(r"^(?:epoch)? +(\d+)\S* .*0\.5000", out.getvalue(), re.MULTILINE)]


# Which display.


@pytest.mark.parametrize(
    ("kind", "file", "environment", "display"),
    [
        ("auto", Terminal(), {}, RichProgress),
        ("auto", io.StringIO(), {}, PlainProgress),
        ("auto", Terminal(), {"TERM": "dumb"}, PlainProgress),
        ("auto", io.StringIO(), {"FORCE_COLOR": "1"}, PlainProgress),
        ("plain", Terminal(), {}, PlainProgress),
        ("rich", io.StringIO(), {}, RichProgress),
        ("off", Terminal(), {}, Callback),
    ],
)
def test_auto_is_bars_on_a_terminal_and_lines_elsewhere(
    kind: str, file: io.StringIO, environment: dict[str, str], display: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    assert type(progress(kind, Console(file=file))) is display


# Plain lines.


def test_a_pipe_gets_lines_without_escape_codes() -> None:
    callback, out, _ = plain_display()
    send(callback, train_begin_event(), epoch_end_event(1), TrainEnd(3, 30, "finished", 6.0))
    assert out.getvalue().splitlines() == [
        "recipe: a [bold]net[/]",
        "backend: numpy on cpu, float32 (auto chose it)",
        "samples: 1,000 train, 50 test",
        "steps: 3 epochs of 10 steps, 100 samples a step",
        "7,850 parameters: dense1 7,850",
        "epoch 1/3  train 0.5000  80.00%  test 0.4000  85.00%  500/s  2.00s",
        "finished after 3 epochs: 30 steps in 6.00s",
    ]


def test_plain_lines_have_no_escape_codes_on_a_terminal_either() -> None:
    out = Terminal()
    callback = PlainProgress(Console(file=out, force_terminal=True, color_system="truecolor"))
    send(callback, train_begin_event(), epoch_end_event(1))
    assert "\x1b" not in out.getvalue()


def test_an_epoch_shows_the_validation_score_where_there_is_one() -> None:
    callback, out, _ = plain_display()
    send(callback, epoch_end_event(1, validation=score(0.3, 0.9, 10)))
    assert "val 0.3000  90.00%" in out.getvalue()
    assert "test" not in out.getvalue()


def test_regression_is_shown_in_plain_numbers() -> None:
    callback, out, clock = plain_display()
    send(callback, train_begin_event())
    clock.now = 31.0
    send(callback, chunk_end_event(1, 5, {"rmse": 0.5**0.5, "mae": 0.5, "r2": 0.25}))
    train, test = (Score(loss, {"rmse": loss**0.5, "mae": 0.5, "r2": 0.25}, 50) for loss in (0.25, 0.16))
    send(callback, EpochEnd(1, 10, 0.1, train, None, test, {}, 2.0, 500.0))
    assert out.getvalue().splitlines()[-2:] == [
        "epoch 1/3  step 5/10  loss 0.2500 rmse 0.70711",
        "epoch 1/3  train 0.2500 rmse 0.50000  test 0.1600 rmse 0.40000  500/s  2.00s",
    ]


def test_within_a_long_epoch_there_is_a_line_in_thirty_seconds() -> None:
    callback, out, clock = plain_display()
    send(callback, train_begin_event(steps=1000))
    for second in range(1, 100):
        clock.now = float(second)
        send(callback, chunk_end_event(1, second))
    assert [line for line in out.getvalue().splitlines() if line.startswith("epoch")] == [
        f"epoch 1/3  step {s}/1000  loss 0.2500  90.00%" for s in (30, 60, 90)
    ]


def test_an_epochs_line_restarts_the_thirty_seconds() -> None:
    callback, out, clock = plain_display()
    send(callback, train_begin_event(steps=1000))
    clock.now = 29.0
    send(callback, epoch_end_event(1))
    for clock.now in (31.0, 58.9, 59.0):
        send(callback, chunk_end_event(2, 1001 + int(clock.now)))
    assert [line[:14] for line in out.getvalue().splitlines()[-2:]] == ["epoch 1/3  tra", "epoch 2/3  ste"]
    assert "step 60/1000" in out.getvalue()


@pytest.mark.parametrize("kind", [PlainProgress, RichProgress])
@pytest.mark.parametrize(("epochs", "run", "seconds"), [(100, 100, 0.001), (10_000, 200, 1.0)])
def test_every_epoch_of_a_short_run_and_every_long_epoch_is_shown(
    kind: type[Display], epochs: int, run: int, seconds: float
) -> None:
    assert epochs_shown(kind, epochs, run, seconds) == list(range(1, run + 1))


@pytest.mark.parametrize(("kind", "every"), [(PlainProgress, 1024), (RichProgress, 512)])
def test_short_epochs_are_shown_each_second_or_half_with_first_and_last(kind: type[Display], every: int) -> None:
    seconds = 1 / 1024  # exact in binary
    assert epochs_shown(kind, 10_000, 10_000, seconds) == [1, *range(1 + every, 10_000, every), 10_000]
    assert epochs_shown(kind, 1000, 3, seconds) == [1, 3]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            TrainEnd(3, 30, "early-stopping", 0.5),
            "stopped early: the validation loss no longer fell after 3 epochs: 30 steps in 0.50s",
        ),
        (TrainEnd(2, 11, "interrupted", 0.5), "interrupted after 1 epoch and 1 step: 11 steps in 0.50s"),
    ],
)
def test_the_end_has_its_reason_and_counts_whole_epochs(event: TrainEnd, line: str) -> None:
    callback, out, _ = plain_display()
    send(callback, train_begin_event(), event)
    assert out.getvalue().splitlines()[-1] == line


# Numbers.


@pytest.mark.parametrize(
    ("format", "number", "text"),
    [
        (formatting.loss, 0.0, "0.0000"),
        (formatting.loss, 0.001, "0.0010"),
        (formatting.loss, 2.30259, "2.3026"),
        (formatting.loss, 1.234e-5, "1.23e-05"),
        (formatting.loss, math.nan, "nan"),
        (formatting.duration, 0.0015, "1.5ms"),
        (formatting.duration, 2.0, "2.00s"),
        (formatting.duration, 125, "2:05"),
        (formatting.duration, 3599.7, "1:00:00"),
        (formatting.duration, 3725, "1:02:05"),
    ],
)
def test_numbers_have_the_decimals_and_units_that_suit(
    format: Callable[[float], str], number: float, text: str
) -> None:
    assert format(number) == text
