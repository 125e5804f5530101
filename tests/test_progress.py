"""What a run shows: bars on a terminal, lines in a pipe, neither too many nor too few."""

from __future__ import annotations

import io

import pyte
import pytest
from rich.console import Console

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


def begin(epochs: int = 3, steps: int = 10, first: int = 0) -> TrainBegin:
    samples = {"train": 1000, "validation": 0, "test": 50}
    return TrainBegin("numpy", "cpu", "float32", "auto chose it.", LAYERS, samples, 100, steps, epochs, first)


def chunk(epoch: int, step: int) -> ChunkEnd:
    return ChunkEnd(epoch, step, 5, 500, 0.5, 0.25, 0.9, 0.1, {"dense1": 1.0}, 3 * 2**20)


def end(epoch: int, seconds: float = 2.0) -> EpochEnd:
    return EpochEnd(
        epoch, 10 * epoch, 0.1, Score(0.5, 0.8, 1000), None, Score(0.4, 0.85, 50), {"dense1": 1.0}, seconds, 500.0
    )


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[PlainProgress, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return PlainProgress(Console(file=out, width=80), clock), out, clock


def test_a_pipe_gets_lines_without_escape_codes() -> None:
    out = io.StringIO()
    console = Console(file=out)
    listener = progress("auto", console)
    assert isinstance(listener, PlainProgress)
    listener.train_begin(begin())
    listener.epoch_end(end(1))
    listener.train_end(TrainEnd(3, 30, "finished", 6.0))
    text = out.getvalue()
    assert "\x1b" not in text
    assert "numpy on cpu, float32 (auto chose it)" in text
    assert "1,000 train, 50 test" in text
    assert "epoch 1/3  train 0.5000  80.00%  test 0.4000  85.00%  500/s  2.00s" in text
    assert text.splitlines()[-1] == "finished after epoch 3, step 30, 6.00s"


def test_off_is_silent() -> None:
    listener = progress("off", Console(file=io.StringIO()))
    assert type(listener) is Listener


def test_within_a_long_epoch_there_is_a_line_in_thirty_seconds() -> None:
    listener, out, clock = plain()
    listener.train_begin(begin(steps=1000))
    for second in range(1, 100):
        clock.now = float(second)
        listener.chunk_end(chunk(1, second))
    assert [line for line in out.getvalue().splitlines() if "step " in line and "loss" in line] == [
        f"epoch 1/3  step {s}/1000  loss 0.2500 90.00%" for s in (30, 60, 90)
    ]


def test_ten_thousand_short_epochs_are_a_line_a_second_with_first_and_last() -> None:
    listener, out, clock = plain()
    listener.train_begin(begin(epochs=10_000))
    for epoch in range(1, 10_001):
        clock.now += 0.001
        listener.epoch_end(end(epoch, 0.001))
    listener.train_end(TrainEnd(10_000, 100_000, "finished", 10.0))
    lines = [line for line in out.getvalue().splitlines() if line.startswith("epoch")]
    assert 10 <= len(lines) <= 12
    assert lines[0].startswith("epoch     1/10000")
    assert lines[-1].startswith("epoch 10000/10000")


def test_an_epoch_held_back_is_shown_when_the_run_stops_there() -> None:
    listener, out, _ = plain()
    listener.train_begin(begin(epochs=100))
    for epoch in (1, 2, 3):
        listener.epoch_end(end(epoch, 0.001))
    listener.train_end(TrainEnd(3, 30, "early-stopping", 0.1))
    assert [line[:7] for line in out.getvalue().splitlines()[-3:]] == ["epoch  ", "epoch  ", "stopped"]
    assert "epoch   3/100" in out.getvalue()


def screen_of(width: int, events: int) -> list[str]:
    """What an emulated terminal shows after `events` events of a run."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=40, legacy_windows=False)
    listener = RichProgress(console)
    calls = [
        lambda: listener.train_begin(begin()),
        lambda: listener.epoch_begin(EpochBegin(1, 0)),
        lambda: listener.chunk_end(chunk(1, 5)),
        lambda: (
            listener.chunk_end(chunk(1, 10)),
            listener.epoch_end(end(1)),
            listener.epoch_begin(EpochBegin(2, 10)),
        ),
        lambda: (listener.chunk_end(chunk(2, 15)), listener.live.refresh()),
        lambda: listener.train_end(TrainEnd(3, 30, "finished", 6.0)),
    ]
    for call in calls[:events]:
        call()
    if events < len(calls):
        listener.live.refresh()
    shown = out.getvalue()
    listener.close()
    screen = pyte.Screen(width, 40)
    pyte.Stream(screen).feed(shown.replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_bars_figures_and_the_epochs_done(width: int) -> None:
    screen = screen_of(width, 5)
    text = "\n".join(screen)
    assert "numpy on cpu, float32" in text
    assert any("dense1" in line and "7,850" in line and "30.7 KiB" in line for line in screen)
    assert any(line.startswith("epoch 1/3") for line in screen)
    assert any(line.startswith("epochs") and "2/3" in line for line in screen)
    assert any(line.startswith("steps") and "5/10" in line for line in screen)
    assert any(line.startswith("loss 0.2500  accuracy 90.00%  1,000 samples/s") for line in screen)


def test_when_the_run_is_over_the_bars_are_gone_and_the_cursor_is_back() -> None:
    screen = screen_of(80, 6)
    assert not any(line.startswith(("epochs", "steps", "loss")) for line in screen)
    assert "finished after epoch 3, step 30, 6.00s" in screen


def test_a_run_that_raises_gives_the_terminal_back() -> None:
    out = io.StringIO()
    listener = RichProgress(Console(file=out, force_terminal=True, width=80, legacy_windows=False))
    listener.train_begin(begin())
    listener.close()
    hidden, shown = out.getvalue().rfind("\x1b[?25l"), out.getvalue().rfind("\x1b[?25h")
    assert -1 < hidden < shown


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    listener = RichProgress(Console(file=out, force_terminal=True, width=80, legacy_windows=False))
    listener.train_begin(begin())
    listener.close()
    assert "\x1b[3" not in out.getvalue()
    assert "\x1b[38" not in out.getvalue()


def test_a_resumed_run_begins_where_it_stood() -> None:
    out = io.StringIO()
    listener = RichProgress(Console(file=out, force_terminal=True, width=80, legacy_windows=False))
    listener.train_begin(begin(first=15))
    listener.close()
    assert "resumed after step 15" in out.getvalue()
    assert [task.completed for task in listener.bars.tasks] == [15, 5]
