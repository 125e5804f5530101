"""What a terminal shows of a run: bars, values and a row an epoch, at any width; and that it is restored."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any, Self

import pyte
import pytest
from rich.console import Console

from nnbackprop.report.progress import RichProgress
from nnbackprop.training.events import EpochBegin, EpochEnd, Score, TrainEnd
from tests.support.report_runs import Clock, chunk_end_event, epoch_end_event, send, train_begin_event


class Window:
    """A display on an emulated terminal of some width."""

    def __init__(self, width: int = 80) -> None:
        self.sent, self.width = io.StringIO(), width
        options: dict[str, Any] = {"legacy_windows": False, "color_system": "truecolor"}
        self.console = Console(file=self.sent, force_terminal=True, width=width, height=40, **options)
        self.display = RichProgress(self.console, {"recipe": "[red]net[/red] of [0, 1]"}, Clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.display.close()

    def refresh(self) -> None:
        self.display.bars.refresh()

    def screen(self, before: str = "") -> pyte.Screen:
        screen = pyte.Screen(self.width, 40)
        pyte.Stream(screen).feed((before + self.sent.getvalue()).replace("\n", "\r\n"))
        return screen

    def lines(self, before: str = "") -> list[str]:
        return [line.rstrip() for line in self.screen(before).display]

    def narrow(self, width: int) -> str:
        """Make the window narrower; returns what a terminal that wraps lines anew has on it then."""
        screen = self.screen()
        lines = [line.rstrip() for line in screen.display[: screen.cursor.y + 1]]
        rows = [line[at : at + width] for line in lines for at in range(0, max(len(line), 1), width)]
        self.console.width = self.width = width
        self.sent.seek(0)
        self.sent.truncate()
        return "\n".join(rows)


def send_epoch_and_a_half(window: Window, steps: int = 10) -> None:
    send(window.display, train_begin_event(steps=steps), EpochBegin(1, 0), chunk_end_event(1, steps))
    send(window.display, epoch_end_event(1), EpochBegin(2, steps), chunk_end_event(2, steps + steps // 2))
    window.refresh()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_bars_values_and_finished_epochs(width: int) -> None:
    with Window(width) as window:
        send_epoch_and_a_half(window)
        screen = window.lines()
        text = "\n".join(screen)
        assert "numpy on cpu, float32 (auto chose it)" in text
        assert "[red]net[/red] of [0, 1]" in text  # not parsed as markup
        assert any(re.fullmatch(r" dense1 +10 +7,850 +30\.7 KiB +15,690", line) for line in screen)
        assert any(re.fullmatch(r" total +7,850 +30\.7 KiB +15,700", line) for line in screen)
        names = screen.index(" epoch  train loss  train acc  test loss  test acc     time")
        assert screen[names + 1] == "     1      0.5000     80.00%     0.4000    85.00%    2.00s"
        assert re.fullmatch(r"epochs ━.*━  2/3 [-\d:]+", screen[names + 2])
        assert re.fullmatch(r"steps  ━.*━ 5/10 [-\d:]+", screen[names + 3])
        values = re.split(r"\s{2,}", "  ".join(screen[names + 4 :]).strip())
        assert values == ["loss 0.2500", "accuracy 90.00%", "1,000 samples/s", "lr 0.1", "memory 3.0 MiB"]


def test_a_chunk_in_which_the_clock_stood_still_is_shown() -> None:
    with Window() as window:
        send(window.display, train_begin_event(), EpochBegin(1, 0), replace(chunk_end_event(1, 5), seconds=0.0))
        assert "loss 0.2500" in window.display.bars.values


def test_other_metrics_have_columns_and_values_in_plain_numbers() -> None:
    f1 = {"subset_accuracy": 0.5, "f1": 0.75}
    with Window() as window:
        train, test = (Score(loss, f1, 50) for loss in (0.25, 0.16))
        epoch_end = EpochEnd(1, 10, 0.1, train, None, test, {}, 2.0, 500.0)
        send(window.display, train_begin_event(), EpochBegin(1, 0), epoch_end, chunk_end_event(1, 10, f1))
        window.refresh()
        screen = window.lines()
        names = screen.index(" epoch  train loss  train subset acc  test loss  test subset acc     time")
        assert screen[names + 1] == "     1      0.2500            50.00%     0.1600           50.00%    2.00s"
        assert "subset accuracy 50.00%  f1 0.7500" in " ".join(screen[names + 4 :]).replace("   ", "  ")


def test_epochs_of_one_step_have_no_bar_of_steps() -> None:
    with Window() as window:
        send_epoch_and_a_half(window, steps=1)
        assert any(line.startswith("epochs") for line in window.lines())
        assert not any(line.startswith("steps  ━") for line in window.lines())


def test_a_finished_run_has_no_bars() -> None:
    with Window() as window:
        send_epoch_and_a_half(window)
        send(window.display, TrainEnd(3, 30, "finished", 6.0))
        assert not any(line.startswith(("epochs", "steps", "loss")) for line in window.lines())
        assert "finished after 3 epochs: 30 steps in 6.00s" in window.lines()


@pytest.mark.parametrize(("before", "after"), [(100, 60), (80, 40), (60, 45), (120, 80)])
@pytest.mark.parametrize("refresh", [True, False])
def test_a_narrower_window_leaves_no_stale_line(before: int, after: int, refresh: bool) -> None:
    """Also where the next thing window is a row rather than the bars."""
    with Window(before) as window:
        send(window.display, train_begin_event(), EpochBegin(1, 0), chunk_end_event(1, 10))
        window.refresh()
        wrapped = window.narrow(after)
        if refresh:
            window.refresh()
        send(window.display, epoch_end_event(1))
        window.refresh()
        screen = window.lines(wrapped)
        first = next(i for i, line in enumerate(screen) if line.endswith("time"))
        assert re.fullmatch(r" +1 .*2\.00s", screen[first + 1])
        assert screen[first + 2].startswith("epochs ━")
        assert screen[first + 3].startswith("steps  ━")
        above = "".join(screen[:first])
        assert "epochs ━" not in above
        assert "loss" not in above
        assert "total" in above  # nothing else is erased


def test_a_row_leaves_out_the_training_scores_in_a_narrow_window() -> None:
    with Window(40) as window:
        send(window.display, train_begin_event(), epoch_end_event(1))
        names = window.lines().index(" epoch  test loss  test acc     time")
        assert window.lines()[names + 1] == "     1     0.4000    85.00%    2.00s"


def test_a_run_that_raises_gives_the_terminal_back() -> None:
    with Window() as window:
        window.display.close()
        assert window.sent.getvalue() == ""  # before the run there is nothing to give back
        send(window.display, train_begin_event())
        assert window.screen().cursor.hidden
        window.display.close()
        window.display.close()
        screen = window.screen()
        assert not screen.cursor.hidden
        assert screen.cursor.x == 0
        assert not any("━" in line for line in screen.display)


def test_a_thousand_chunks_in_a_moment_are_drawn_a_few_times() -> None:
    with Window() as window:
        chunks = (chunk_end_event(1, step) for step in range(1, 1000))
        send(window.display, train_begin_event(steps=1000), EpochBegin(1, 0), *chunks)
        assert window.sent.getvalue().count("epochs ") < 50  # ten a second; the chunks take some hundredths of one


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured(no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    with Window() as window:
        send(window.display, train_begin_event())
        window.refresh()
        assert bool(re.search(r"\x1b\[[\d;]*?(3[0-8]|9[0-7])[;m]", window.sent.getvalue())) is coloured


def test_a_resumed_run_starts_its_bars_where_it_stopped() -> None:
    with Window() as window:
        send(window.display, train_begin_event(first=15), EpochBegin(2, 15))
        assert re.search(r"resumed\S* +after step 15", window.sent.getvalue().replace("\x1b[0m", ""))
        assert [task.completed for task in window.display.bars.tasks] == [15, 5]
