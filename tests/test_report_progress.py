"""What a run shows: bars on a terminal, lines in a pipe, neither too many nor too few; the terminal given back."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable

import pyte
import pytest
from rich.console import Console

from nnbackprop.report import words
from nnbackprop.report.progress import PlainProgress, RichProgress, progress
from nnbackprop.training.events import (
    ChunkEnd,
    EpochBegin,
    EpochEnd,
    LayerRow,
    Listener,
    Score,
    TrainBegin,
    TrainEnd,
)

LAYERS = (LayerRow(1, "dense1", (10,), 7850, 31400, 15690), LayerRow(2, "softmax1", (10,), 0, 0, 10))


def begin(epochs: int = 3, steps: int = 10, first: int = 0, **description: str) -> TrainBegin:
    samples = {"train": 1000, "validation": 0, "test": 50}
    backend = ("numpy", "cpu", "float32", "auto chose it.")
    return TrainBegin(*backend, LAYERS, samples, 100, steps, epochs, first, description)


def chunk(epoch: int, step: int) -> ChunkEnd:
    return ChunkEnd(epoch, step, 5, 500, 0.5, 0.25, 0.9, 0.1, {"dense1": 1.0}, 3 * 2**20)


def end(epoch: int, seconds: float = 2.0, validation: Score | None = None, loss: float = 0.5) -> EpochEnd:
    train, test = Score(loss, 0.8, 1000), None if validation else Score(0.4, 0.85, 50)
    return EpochEnd(epoch, 10 * epoch, 0.1, train, validation, test, {"dense1": 1.0}, seconds, 500.0)


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def plain() -> tuple[PlainProgress, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return PlainProgress(Console(file=out, width=80), clock), out, clock


def rich(width: int = 80) -> tuple[RichProgress, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    console = Console(
        file=out, force_terminal=True, width=width, height=40, legacy_windows=False, color_system="truecolor"
    )
    return RichProgress(console, clock), out, clock


def emulate(shown: str, width: int) -> pyte.Screen:
    """The screen of a terminal that was sent `shown`."""
    screen = pyte.Screen(width, 40)
    pyte.Stream(screen).feed(shown.replace("\n", "\r\n"))
    return screen


def epochs_of(out: io.StringIO) -> list[int]:
    """The epochs that have a line of plain progress."""
    return [int(n) for n in re.findall(r"^epoch +(\d+)/\d+  train", out.getvalue(), re.MULTILINE)]


# Which display.


def test_auto_is_bars_on_a_terminal_and_lines_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(progress("auto", Console(file=Terminal()))) is RichProgress
    assert type(progress("auto", Console(file=io.StringIO()))) is PlainProgress


def test_auto_is_lines_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert type(progress("auto", Console(file=Terminal()))) is PlainProgress


def test_a_pipe_stays_a_pipe_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert type(progress("auto", Console(file=io.StringIO()))) is PlainProgress


def test_what_is_asked_for_is_given() -> None:
    assert type(progress("plain", Console(file=Terminal()))) is PlainProgress
    assert type(progress("rich", Console(file=io.StringIO()))) is RichProgress
    assert type(progress("off", Console(file=Terminal()))) is Listener


# Plain lines.


def test_a_pipe_gets_lines_without_escape_codes() -> None:
    listener, out, _ = plain()
    listener.train_begin(begin(recipe="a [bold]net[/]"))
    listener.epoch_end(end(1))
    listener.train_end(TrainEnd(3, 30, "finished", 6.0))
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
    listener = PlainProgress(Console(file=out, force_terminal=True, color_system="truecolor"))
    listener.train_begin(begin())
    listener.epoch_end(end(1))
    assert "\x1b" not in out.getvalue()


def test_an_epoch_is_judged_by_validation_where_there_is_one() -> None:
    listener, out, _ = plain()
    listener.epoch_end(end(1, validation=Score(0.3, 0.9, 10)))
    assert "val 0.3000  90.00%" in out.getvalue()
    assert "test" not in out.getvalue()


def test_within_a_long_epoch_there_is_a_line_in_thirty_seconds() -> None:
    listener, out, clock = plain()
    listener.train_begin(begin(steps=1000))
    for second in range(1, 100):
        clock.now = float(second)
        listener.chunk_end(chunk(1, second))
    assert [line for line in out.getvalue().splitlines() if line.startswith("epoch")] == [
        f"epoch 1/3  step {s}/1000  loss 0.2500 90.00%" for s in (30, 60, 90)
    ]


def test_the_thirty_seconds_begin_anew_with_the_line_of_an_epoch() -> None:
    listener, out, clock = plain()
    listener.train_begin(begin(steps=1000))
    clock.now = 29.0
    listener.epoch_end(end(1))
    for clock.now in (31.0, 58.9, 59.0):
        listener.chunk_end(chunk(2, 1001 + int(clock.now)))
    assert [line[:14] for line in out.getvalue().splitlines()[-2:]] == ["epoch 1/3  tra", "epoch 2/3  ste"]
    assert "step 60/1000" in out.getvalue()


def test_a_hundred_epochs_are_all_shown_however_short() -> None:
    listener, out, _ = plain()
    listener.train_begin(begin(epochs=100))
    for epoch in range(1, 101):
        listener.epoch_end(end(epoch, 0.001))
    assert epochs_of(out) == list(range(1, 101))


def test_ten_thousand_short_epochs_are_a_line_a_second_with_first_and_last() -> None:
    listener, out, clock = plain()
    listener.train_begin(begin(epochs=10_000))
    for epoch in range(1, 10_001):
        clock.now = epoch / 1024  # exact in binary
        listener.epoch_end(end(epoch, 0.001))
    listener.train_end(TrainEnd(10_000, 100_000, "finished", 10.0))
    assert epochs_of(out) == [1, *range(1025, 10_000, 1024), 10_000]


def test_epochs_of_a_second_are_all_shown_however_many() -> None:
    listener, out, clock = plain()
    listener.train_begin(begin(epochs=10_000))
    for epoch in range(1, 201):
        clock.now = float(epoch)
        listener.epoch_end(end(epoch, 1.0))
    assert epochs_of(out) == list(range(1, 201))


def test_an_epoch_held_back_is_shown_when_the_run_stops_there() -> None:
    listener, out, _ = plain()
    listener.train_begin(begin(epochs=1000))
    for epoch in (1, 2, 3):
        listener.epoch_end(end(epoch, 0.001))
    listener.train_end(TrainEnd(3, 30, "early-stopping", 0.5))
    assert epochs_of(out) == [1, 3]
    assert out.getvalue().splitlines()[-1] == (
        "stopped early: the validation loss had ceased to fall after 3 epochs: 30 steps in 0.50s"
    )


def test_an_interrupted_run_says_what_was_whole() -> None:
    listener, out, _ = plain()
    listener.train_begin(begin())
    listener.train_end(TrainEnd(2, 11, "interrupted", 0.5))
    assert out.getvalue().splitlines()[-1] == "interrupted after 1 epoch and 1 step: 11 steps in 0.50s"


# Bars.


def screen_of(width: int, events: int, steps: int = 10) -> list[str]:
    """What an emulated terminal shows after `events` events of a run."""
    listener, out, _ = rich(width)
    calls: list[Callable[[], object]] = [
        lambda: listener.train_begin(begin(steps=steps)),
        lambda: listener.epoch_begin(EpochBegin(1, 0)),
        lambda: listener.chunk_end(chunk(1, steps)),
        lambda: (listener.epoch_end(end(1)), listener.epoch_begin(EpochBegin(2, steps))),
        lambda: listener.chunk_end(chunk(2, steps + steps // 2)),
        lambda: listener.train_end(TrainEnd(3, 3 * steps, "finished", 6.0)),
    ]
    for call in calls[:events]:
        call()
    if events < len(calls):
        listener.live.refresh()
    shown = out.getvalue()
    listener.close()
    return [line.rstrip() for line in emulate(shown, width).display]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_bars_figures_and_the_epochs_done(width: int) -> None:
    screen = screen_of(width, 5)
    text = "\n".join(screen)
    assert "numpy on cpu, float32 (auto chose it)" in text
    assert any(re.fullmatch(r" dense1 +10 +7,850 +30\.7 KiB +15,690", line) for line in screen)
    assert any(re.fullmatch(r" total +7,850 +30\.7 KiB +15,700", line) for line in screen)
    heads = screen.index(" epoch  train loss  train acc  test loss  test acc     time")
    assert screen[heads + 1] == "     1      0.5000     80.00%     0.4000    85.00%    2.00s"
    assert re.fullmatch(r"epochs ━.*━  2/3 [-\d:]+", screen[heads + 2])
    assert re.fullmatch(r"steps  ━.*━ 5/10 [-\d:]+", screen[heads + 3])
    figures = re.split(r"\s{2,}", "  ".join(screen[heads + 4 :]).strip())
    assert figures == ["loss 0.2500", "accuracy 90.00%", "1,000 samples/s", "lr 0.1", "memory 3.0 MiB"]


def test_epochs_of_one_step_have_no_bar_of_steps() -> None:
    screen = screen_of(80, 5, steps=1)
    assert any(line.startswith("epochs") for line in screen)
    assert not any(line.startswith("steps  ━") for line in screen)


def test_when_the_run_is_over_the_bars_are_gone() -> None:
    screen = screen_of(80, 6)
    assert not any(line.startswith(("epochs", "steps", "loss")) for line in screen)
    assert "finished after 3 epochs: 30 steps in 6.00s" in screen


def test_a_run_that_raises_gives_the_terminal_back() -> None:
    listener, out, _ = rich()
    listener.train_begin(begin())
    assert emulate(out.getvalue(), 80).cursor.hidden
    listener.close()
    screen = emulate(out.getvalue(), 80)
    assert not screen.cursor.hidden
    assert screen.cursor.x == 0
    assert not any("━" in line for line in screen.display)


def test_closing_twice_or_before_the_beginning_is_harmless() -> None:
    listener, out, _ = rich()
    listener.close()
    listener.close()
    assert out.getvalue() == ""


def test_a_thousand_looks_in_a_moment_are_not_a_thousand_drawings() -> None:
    listener, out, _ = rich()
    listener.train_begin(begin(steps=1000))
    listener.epoch_begin(EpochBegin(1, 0))
    for step in range(1, 1000):
        listener.chunk_end(chunk(1, step))
    drawings = out.getvalue().count("epochs ")
    listener.close()
    assert drawings < 50  # ten a second; the looks take some hundredths of one


def test_ten_thousand_short_epochs_are_two_rows_a_second_with_first_and_last() -> None:
    listener, out, clock = rich()
    listener.train_begin(begin(epochs=10_000))
    for epoch in range(1, 2_001):
        clock.now = epoch / 1024  # exact in binary
        listener.epoch_end(end(epoch, 0.001))
    listener.train_end(TrainEnd(2000, 20_000, "max-time", 2.0))
    rows = [int(line[:6]) for line in emulate(out.getvalue(), 80).display if re.match(r" +\d+ +0\.5000", line)]
    assert rows == [1, 513, 1025, 1537, 2000]


def test_few_epochs_are_all_shown_however_short() -> None:
    listener, out, _ = rich()
    listener.train_begin(begin(epochs=5))
    for epoch in range(1, 6):
        listener.epoch_end(end(epoch, 0.001))
    listener.close()
    assert sum("0.5000" in line for line in emulate(out.getvalue(), 80).display) == 5


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[[\d;]*?(3[0-8]|9[0-7])[;m]")
    for environment, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", environment)
        listener, out, _ = rich()
        listener.train_begin(begin())
        listener.live.refresh()
        listener.close()
        assert bool(colour.search(out.getvalue())) is coloured


def test_a_resumed_run_begins_where_it_stood() -> None:
    listener, out, _ = rich()
    listener.train_begin(begin(first=15))
    listener.epoch_begin(EpochBegin(2, 15))
    listener.close()
    assert re.search(r"resumed\S* +after step 15", out.getvalue().replace("\x1b[0m", ""))
    assert [task.completed for task in listener.bars.tasks] == [15, 5]


def test_words_of_the_header_are_not_markup() -> None:
    listener, out, _ = rich()
    listener.train_begin(begin(recipe="[red]net[/red] of [0, 1]"))
    listener.close()
    assert "[red]net[/red] of [0, 1]" in out.getvalue()


# Numbers.


@pytest.mark.parametrize(
    ("number", "said"),
    [(0.0, "0.0000"), (0.001, "0.0010"), (2.30259, "2.3026"), (1.234e-5, "1.23e-05"), (math.nan, "nan")],
)
def test_losses_are_said_with_the_digits_that_tell(number: float, said: str) -> None:
    assert words.loss(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0015, "1.5ms"), (2.0, "2.00s"), (125, "2:05"), (3599.7, "1:00:00"), (3725, "1:02:05")]
)
def test_durations_are_said_in_the_unit_that_suits(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said
