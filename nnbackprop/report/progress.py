"""How a run is shown while it goes: bars on a terminal, plain lines into a pipe or a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from nnbackprop.training.callbacks.base import Callback, ChunkEnd, EpochBegin, EpochEnd, TrainBegin, TrainEnd

from .formatting import count, loss, plural, share, size
from .log_lines import column_heads, ending, epoch_line, epoch_row, header
from .tables import layer_table

LINE_PACE = 30.0  # seconds between lines within an epoch, where the output is no terminal
SHORT_PACE = 1.0  # seconds between the lines of epochs shorter than that
FEW = 100  # a run of so many epochs shows every one, however short

Clock = Callable[[], float]


def progress(mode: str, console: Console, clock: Clock = time.monotonic) -> Callback:
    """The display called auto, rich, plain or off; auto is rich on a terminal, else plain.

    FORCE_COLOR makes rich take a pipe for a terminal; bars in a log would help nobody, so the file is asked too.
    """
    if mode == "off":
        return Callback()
    if mode == "rich" or (mode == "auto" and console.is_interactive and console.file.isatty()):
        return RichProgress(console, clock)
    return PlainProgress(console, clock)


@dataclass
class Thinner:
    """Lets a line through at most once in `pace` seconds, so that ten thousand epochs are not as many lines."""

    pace: float
    clock: Clock
    last: float = field(default=float("-inf"), init=False)

    def due(self) -> bool:
        """Whether it has been long enough; if so, begin to wait anew."""
        now = self.clock()
        if now - self.last < self.pace:
            return False
        self.last = now
        return True


class PlainProgress(Callback):
    """Lines without escape codes: one an epoch, one in 30 s within a long one, one a second of many short ones."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.epochs, self.steps = 0, 1
        self.within, self.between = Thinner(LINE_PACE, clock), Thinner(SHORT_PACE, clock)
        self.held: EpochEnd | None = None

    def _say(self, line: str) -> None:
        """A line as it is, however wide; any line makes the next one within an epoch wait."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.within.last = self.clock()

    def train_begin(self, event: TrainBegin) -> None:
        """Header and layers."""
        self.epochs, self.steps = event.epochs, event.steps_per_epoch
        for subject, words in header(event).items():
            self._say(f"{subject}: {words}")
        layers = [row for row in event.layers if row.parameters]
        total = sum(row.parameters for row in layers)
        shapes = ", ".join(f"{row.name} {count(row.parameters)}" for row in layers)
        self._say(f"{plural(total, 'parameter')}: {shapes}")

    def chunk_end(self, event: ChunkEnd) -> None:
        """Where a long epoch is."""
        done = event.step % self.steps
        if done and self.within.due():
            self._say(
                f"epoch {event.epoch}/{self.epochs}  step {done}/{self.steps}  "
                f"loss {loss(event.loss)} {share(event.accuracy)}"
            )

    def epoch_end(self, event: EpochEnd) -> None:
        """The epoch's line, or none if there are many and the last was a moment ago."""
        self.held = event
        if self.epochs <= FEW or self.between.due():
            self._flush()

    def notice(self, words: str) -> None:
        """A line."""
        self._say(words)

    def train_end(self, event: TrainEnd) -> None:
        """The last epoch's line if it was held back, and the end."""
        self._flush()
        self._say(ending(event, self.steps))

    def _flush(self) -> None:
        if self.held:
            self._say(epoch_line(self.held, self.epochs))
            self.held = None


class RichProgress(Callback):
    """A header, the layer table, a bar of all steps, a bar of the epoch's, and a row for each epoch done."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.between = Thinner(SHORT_PACE / 2, clock)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[at]}", justify="right"),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
        )
        self.figures: list[str] = []
        self.live = Live(get_renderable=self._picture, console=console, refresh_per_second=4, transient=True)
        self.held: EpochEnd | None = None
        self.headed = False
        self.epochs, self.steps = 0, 1

    def _picture(self) -> Group:
        """The bars, and the figures side by side in as many lines as the width needs."""
        return Group(self.bars, Columns(self.figures, padding=(0, 2)))

    def train_begin(self, event: TrainBegin) -> None:
        """Header, layers, and the bars."""
        self.epochs, self.steps = event.epochs, event.steps_per_epoch
        self.console.print(_panel(event))
        self.console.print(layer_table(event.layers))
        for task in self.bars.task_ids:  # of a run that was put back to where it was sound
            self.bars.remove_task(task)
        first = event.first_step
        self.all = self.bars.add_task("epochs", total=self.epochs * self.steps, completed=first, at="")
        self.one = self.bars.add_task("steps", total=self.steps, at="", visible=self.steps > 1)
        self.live.start()

    def epoch_begin(self, event: EpochBegin) -> None:
        """A new bar of steps."""
        self.bars.reset(self.one, total=self.steps, visible=self.steps > 1)
        self._move(event.epoch, event.step)

    def _move(self, epoch: int, step: int) -> None:
        done = step - (epoch - 1) * self.steps
        self.bars.update(self.all, completed=step, at=f"{epoch}/{self.epochs}")
        self.bars.update(self.one, completed=done, at=f"{done}/{self.steps}")

    def chunk_end(self, event: ChunkEnd) -> None:
        """Move the bars and the figures; they are drawn when the display next refreshes."""
        self._move(event.epoch, event.step)
        figures = [f"loss {loss(event.loss)}", f"accuracy {share(event.accuracy)}"]
        figures += [f"{count(event.samples / event.seconds)} samples/s", f"lr {event.lr:.4g}"]
        if event.memory_used is not None:
            figures.append(f"memory {size(event.memory_used)}")
        self.figures = figures

    def epoch_end(self, event: EpochEnd) -> None:
        """The epoch's row above the bars, or none if there are many and the last was a moment ago."""
        self.held = event
        if self.epochs <= FEW or self.between.due():
            self._flush()

    def notice(self, words: str) -> None:
        """A line above the bars."""
        self.console.print(Text(words, style="yellow"))

    def train_end(self, event: TrainEnd) -> None:
        """The last epoch's row if it was held back, and the end."""
        self.close()
        self._flush()
        self.console.print(Text(ending(event, self.steps), style="bold"))

    def close(self) -> None:
        """Give the terminal back as it was."""
        self.live.stop()

    def _flush(self) -> None:
        if self.held and not self.headed:
            self.console.print(Text(column_heads(self.held), style="dim"), no_wrap=True)
            self.headed = True
        if self.held:
            self.console.print(Text(epoch_row(self.held)), no_wrap=True)
            self.held = None


def _panel(event: TrainBegin) -> Panel:
    """The header, subjects to the left of their words."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for subject, words in header(event).items():
        grid.add_row(subject, Text(words))
    return Panel(grid, title="nnbackprop", expand=False, border_style="cyan")
