"""What a terminal shows of a run: bars, figures and a row an epoch, at any width; and that it is restored."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pyte
import pytest
from rich.console import Console

from nnbackprop.report.progress import RichProgress
from nnbackprop.training.callbacks import EpochBegin, EpochEnd, Score, TrainEnd
from tests.support.report_runs import TRAINER, Clock, begin, chunk, end

DESCRIPTION = {"recipe": "[red]net[/red] of [0, 1]"}


def rich(width: int = 80) -> tuple[RichProgress, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    console = Console(
        file=out, force_terminal=True, width=width, height=40, legacy_windows=False, color_system="truecolor"
    )
    return RichProgress(console, DESCRIPTION, clock), out, clock


def emulate(shown: str, width: int) -> pyte.Screen:
    """The screen of a terminal that was sent `shown`."""
    screen = pyte.Screen(width, 40)
    pyte.Stream(screen).feed(shown.replace("\n", "\r\n"))
    return screen


def lines_on_screen(shown: str, width: int) -> list[str]:
    return [line.rstrip() for line in emulate(shown, width).display]


def screen_of(width: int, events: int, steps: int = 10) -> list[str]:
    """What an emulated terminal shows after `events` events of a run."""
    callback, out, _ = rich(width)
    calls: list[Callable[[], object]] = [
        lambda: callback.train_begin(TRAINER, begin(steps=steps)),
        lambda: callback.epoch_begin(TRAINER, EpochBegin(1, 0)),
        lambda: callback.chunk_end(TRAINER, chunk(1, steps)),
        lambda: (callback.epoch_end(TRAINER, end(1)), callback.epoch_begin(TRAINER, EpochBegin(2, steps))),
        lambda: callback.chunk_end(TRAINER, chunk(2, steps + steps // 2)),
        lambda: callback.train_end(TRAINER, TrainEnd(3, 3 * steps, "finished", 6.0)),
    ]
    for call in calls[:events]:
        call()
    if events < len(calls):
        callback.bars.refresh()
    shown = out.getvalue()
    callback.close(TRAINER)
    return lines_on_screen(shown, width)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_bars_figures_and_finished_epochs(width: int) -> None:
    screen = screen_of(width, 5)
    text = "\n".join(screen)
    assert "numpy on cpu, float32 (auto chose it)" in text
    assert "[red]net[/red] of [0, 1]" in text  # not parsed as markup
    assert any(re.fullmatch(r" dense1 +10 +7,850 +30\.7 KiB +15,690", line) for line in screen)
    assert any(re.fullmatch(r" total +7,850 +30\.7 KiB +15,700", line) for line in screen)
    heads = screen.index(" epoch  train loss  train acc  test loss  test acc     time")
    assert screen[heads + 1] == "     1      0.5000     80.00%     0.4000    85.00%    2.00s"
    assert re.fullmatch(r"epochs ━.*━  2/3 [-\d:]+", screen[heads + 2])
    assert re.fullmatch(r"steps  ━.*━ 5/10 [-\d:]+", screen[heads + 3])
    values = re.split(r"\s{2,}", "  ".join(screen[heads + 4 :]).strip())
    assert values == ["loss 0.2500", "accuracy 90.00%", "1,000 samples/s", "lr 0.1", "memory 3.0 MiB"]


def test_other_metrics_have_columns_and_figures_in_plain_numbers() -> None:
    callback, out, _ = rich()
    callback.train_begin(TRAINER, begin())
    callback.epoch_begin(TRAINER, EpochBegin(1, 0))
    f1 = {"subset_accuracy": 0.5, "f1": 0.75}
    train, test = (Score(loss, f1, 50) for loss in (0.25, 0.16))
    callback.epoch_end(TRAINER, EpochEnd(1, 10, 0.1, train, None, test, {}, 2.0, 500.0))
    callback.chunk_end(TRAINER, chunk(1, 10, f1))
    callback.bars.refresh()
    screen = lines_on_screen(out.getvalue(), 80)
    callback.close(TRAINER)
    heads = screen.index(" epoch  train loss  train subset acc  test loss  test subset acc     time")
    assert screen[heads + 1] == "     1      0.2500            50.00%     0.1600           50.00%    2.00s"
    assert "subset accuracy 50.00%  f1 0.7500" in " ".join(screen[heads + 4 :]).replace("   ", "  ")


def test_epochs_of_one_step_have_no_bar_of_steps_and_a_finished_run_has_none() -> None:
    screen = screen_of(80, 5, steps=1)
    assert any(line.startswith("epochs") for line in screen)
    assert not any(line.startswith("steps  ━") for line in screen)
    screen = screen_of(80, 6)
    assert not any(line.startswith(("epochs", "steps", "loss")) for line in screen)
    assert "finished after 3 epochs: 30 steps in 6.00s" in screen


def reflow(shown: str, before: int, after: int) -> str:
    """What a terminal that wraps lines anew has on it when it is made narrower, as what was sent to it."""
    screen = emulate(shown, before)
    lines = [line.rstrip() for line in screen.display[: screen.cursor.y + 1]]
    rows = [line[at : at + after] for line in lines for at in range(0, max(len(line), 1), after)]
    return "\n".join(rows)


@pytest.mark.parametrize(("before", "after"), [(100, 60), (80, 40), (60, 45), (120, 80)])
@pytest.mark.parametrize("refresh", [True, False])
def test_a_narrower_window_leaves_no_stale_line(before: int, after: int, refresh: bool) -> None:
    """Also where the next thing shown is a row rather than the bars."""
    callback, out, _ = rich(before)
    callback.train_begin(TRAINER, begin())
    callback.epoch_begin(TRAINER, EpochBegin(1, 0))
    callback.chunk_end(TRAINER, chunk(1, 10))
    callback.bars.refresh()
    shown = reflow(out.getvalue(), before, after)
    sent = len(out.getvalue())
    callback.console.width = after
    if refresh:
        callback.bars.refresh()
    callback.epoch_end(TRAINER, end(1))
    callback.bars.refresh()
    screen = lines_on_screen(shown + out.getvalue()[sent:], after)
    callback.close(TRAINER)
    first = next(i for i, line in enumerate(screen) if line.endswith("time"))
    assert re.fullmatch(r" +1 .*2\.00s", screen[first + 1])
    assert screen[first + 2].startswith("epochs ━")
    assert screen[first + 3].startswith("steps  ━")
    above = "".join(screen[:first])
    assert "epochs ━" not in above
    assert "loss" not in above
    assert "total" in above  # nothing else is erased


def test_a_row_leaves_out_the_training_scores_in_a_narrow_window() -> None:
    callback, out, _ = rich(40)
    callback.train_begin(TRAINER, begin())
    callback.epoch_end(TRAINER, end(1))
    callback.close(TRAINER)
    screen = lines_on_screen(out.getvalue(), 40)
    heads = screen.index(" epoch  test loss  test acc     time")
    assert screen[heads + 1] == "     1     0.4000    85.00%    2.00s"


def test_a_run_that_raises_gives_the_terminal_back() -> None:
    callback, out, _ = rich()
    callback.close(TRAINER)
    assert out.getvalue() == ""  # before the run there is nothing to give back
    callback.train_begin(TRAINER, begin())
    assert emulate(out.getvalue(), 80).cursor.hidden
    callback.close(TRAINER)
    callback.close(TRAINER)
    screen = emulate(out.getvalue(), 80)
    assert not screen.cursor.hidden
    assert screen.cursor.x == 0
    assert not any("━" in line for line in screen.display)


def test_a_thousand_chunks_in_a_moment_are_drawn_a_few_times() -> None:
    callback, out, _ = rich()
    callback.train_begin(TRAINER, begin(steps=1000))
    callback.epoch_begin(TRAINER, EpochBegin(1, 0))
    for step in range(1, 1000):
        callback.chunk_end(TRAINER, chunk(1, step))
    drawings = out.getvalue().count("epochs ")
    callback.close(TRAINER)
    assert drawings < 50  # ten a second; the chunks take some hundredths of one


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[[\d;]*?(3[0-8]|9[0-7])[;m]")
    for environment, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", environment)
        callback, out, _ = rich()
        callback.train_begin(TRAINER, begin())
        callback.bars.refresh()
        callback.close(TRAINER)
        assert bool(colour.search(out.getvalue())) is coloured


def test_a_resumed_run_starts_its_bars_where_it_stopped() -> None:
    callback, out, _ = rich()
    callback.train_begin(TRAINER, begin(first=15))
    callback.epoch_begin(TRAINER, EpochBegin(2, 15))
    callback.close(TRAINER)
    assert re.search(r"resumed\S* +after step 15", out.getvalue().replace("\x1b[0m", ""))
    assert [task.completed for task in callback.bars.tasks] == [15, 5]
