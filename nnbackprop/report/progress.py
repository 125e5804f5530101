"""How a run is shown while it goes: bars on a terminal, plain lines into a pipe or a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nnbackprop.training.callbacks import (
    Callback,
    ChunkEnd,
    EpochBegin,
    EpochEnd,
    LayerRow,
    Score,
    TrainBegin,
    TrainEnd,
)

if TYPE_CHECKING:
    from nnbackprop.training.trainer import Trainer

from .bars import Bars
from .formatting import count, duration, loss, metric, plural, size
from .tables import layer_table

LINE_PACE = 30.0  # seconds between lines within an epoch, where the output is not a terminal
SHORT_PACE = 1.0  # seconds between the lines of epochs shorter than that
FEW = 100  # a run of so many epochs shows every one, however short

ENDINGS = {
    "finished": "finished",
    "early-stopping": "stopped early: the validation loss no longer fell",
    "max-time": "stopped: --max-time was reached",
    "interrupted": "interrupted",
}

Clock = Callable[[], float]


def progress(
    kind: str, console: Console, description: Mapping[str, str] | None = None, clock: Clock = time.monotonic
) -> Callback:
    """The display called auto, rich, plain or off; auto is rich on a terminal, else plain.

    `description` has lines for its header, by subject.

    FORCE_COLOR makes rich take a pipe for a terminal; bars are of no use in a log, so the file is asked too.
    """
    if kind == "off":
        return Callback()
    if kind == "rich" or (kind == "auto" and console.is_interactive and console.file.isatty()):
        return RichProgress(console, description, clock)
    return PlainProgress(console, description, clock)


@dataclass
class Throttle:
    """Lets a line through at most once in `pace` seconds: ten thousand epochs are not as many lines."""

    pace: float
    clock: Clock
    last: float = field(default=float("-inf"), init=False)

    def due(self) -> bool:
        """Whether `pace` seconds have passed since it last was."""
        now = self.clock()
        if now - self.last < self.pace:
            return False
        self.last = now
        return True


class Display(Callback):
    """What both displays share: every epoch of a long or a short run has its line, and the run its last one."""

    pace = SHORT_PACE

    def __init__(
        self, console: Console, description: Mapping[str, str] | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.console, self.description, self.clock = console, description or {}, clock
        self.epochs, self.steps = 0, 1
        self.between = Throttle(self.pace, clock)
        self.held: EpochEnd | None = None

    def show_header(self, lines: Mapping[str, str], layers: Sequence[LayerRow]) -> None:
        """What is known before the first step, by subject, and the layers."""

    def show_epoch(self, event: EpochEnd) -> None:
        """An epoch's line."""

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """The header."""
        self.epochs, self.steps = event.epochs, event.steps_per_epoch
        self.show_header({**self.description, **introduction(event)}, event.layers)

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """The epoch's line; held back where there are many epochs and the last line was a moment ago."""
        self.held = event
        if self.epochs <= FEW or self.between.due():
            self._flush()

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """The last epoch's line if it was held back, and the end."""
        self._flush()
        self.message(ending(event, self.steps))

    def _flush(self) -> None:
        if self.held:
            self.show_epoch(self.held)
            self.held = None


class PlainProgress(Display):
    """Lines without escape codes: one an epoch, one in 30 s within a long one, one a second of many short ones."""

    def __init__(self, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)
        self.within = Throttle(LINE_PACE, self.clock)

    def message(self, text: str) -> None:
        """A line as it is, however wide; any line makes the next one within an epoch wait."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.within.last = self.clock()

    def show_header(self, lines: Mapping[str, str], layers: Sequence[LayerRow]) -> None:
        """A line for each subject, and one for the layers that have parameters."""
        for subject, line in lines.items():
            self.message(f"{subject}: {line}")
        total = plural(sum(row.parameters for row in layers), "parameter")
        self.message(
            f"{total}: {', '.join(f'{row.name} {count(row.parameters)}' for row in layers if row.parameters)}"
        )

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Where a long epoch is."""
        done = event.step % self.steps
        if done and self.within.due():
            at = f"epoch {event.epoch}/{self.epochs}  step {done}/{self.steps}"
            self.message(f"{at}  loss {score_text(event)}")

    def show_epoch(self, event: EpochEnd) -> None:
        """A line that speaks for itself, for pipes and logs."""
        number = f"epoch {event.epoch:>{len(str(self.epochs))}}/{self.epochs}"
        scores = (f"{part} {score_text(score)}" for part, score in evaluated(event))
        pace = f"{count(event.samples_per_second)}/s"
        self.message("  ".join([number, *scores, pace, duration(event.seconds)]))


class RichProgress(Display):
    """A header, the layer table, a bar of all steps, a bar of the epoch's, and a row for each epoch done."""

    pace = SHORT_PACE / 2

    def __init__(self, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)
        self.bars = Bars(self.console)
        self.heads: tuple[str, ...] = ()

    def message(self, text: str, style: str = "yellow") -> None:
        """A line above the bars."""
        self._print(Text(text, style=style))

    def _print(self, line: Text) -> None:
        if self.bars.live.is_started:
            self.bars.refresh()  # the window's width may have changed
        self.console.print(line)

    def show_header(self, lines: Mapping[str, str], layers: Sequence[LayerRow]) -> None:
        """A panel and the layer table."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(overflow="fold")
        for subject, line in lines.items():
            grid.add_row(subject, Text(line))
        self.console.print(Panel(grid, title="nnbackprop", expand=False, border_style="cyan"))
        self.console.print(layer_table(layers, self.console.width))

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """The header, and the bars."""
        super().train_begin(trainer, event)
        for task in self.bars.task_ids:  # of a run put back to an earlier step
            self.bars.remove_task(task)
        steps = self.epochs * self.steps
        self.run_bar = self.bars.add_task("epochs", total=steps, completed=event.first_step, at="")
        self.epoch_bar = self.bars.add_task("steps", total=self.steps, at="", visible=self.steps > 1)
        self.bars.start()

    def epoch_begin(self, trainer: Trainer, event: EpochBegin) -> None:
        """A new bar of steps."""
        self.bars.reset(self.epoch_bar, total=self.steps, visible=self.steps > 1)
        self._move(event.epoch, event.step)

    def _move(self, epoch: int, step: int) -> None:
        done = step - (epoch - 1) * self.steps
        self.bars.update(self.run_bar, completed=step, at=f"{epoch}/{self.epochs}")
        self.bars.update(self.epoch_bar, completed=done, at=f"{done}/{self.steps}")

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Move the bars and the figures; they are drawn when the display next refreshes."""
        self._move(event.epoch, event.step)
        figures = [f"loss {loss(event.loss)}"]
        figures += [f"{name.replace('_', ' ')} {metric(name, value)}" for name, value in event.metrics.items()]
        figures += [f"{count(event.samples / event.seconds)} samples/s", f"lr {event.lr:.4g}"]
        if event.memory_used is not None:
            figures.append(f"memory {size(event.memory_used)}")
        self.bars.figures = figures

    def show_epoch(self, event: EpochEnd) -> None:
        """A row of columns above the bars, under its heads; in a narrow window without the training scores."""
        columns = list(epoch_columns(event))
        while sum(width for _, width, _ in columns) > self.console.width and len(columns) > 4:
            del columns[1]
        heads = tuple(f"{head:>{width}}" for head, width, _ in columns)
        if heads != self.heads:
            self._print(Text("".join(heads), style="dim"))
            self.heads = heads
        self._print(Text("".join(f"{value:>{width}}" for _, width, value in columns)))

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """The last epoch's row if it was held back, and the end, where the bars were."""
        self.close()
        self._flush()
        self.message(ending(event, self.steps), style="bold")

    def close(self, trainer: Trainer | None = None) -> None:
        """Give the terminal back as it was."""
        self.bars.stop()


def introduction(event: TrainBegin) -> dict[str, str]:
    """What is known of a run before its first step, by subject."""
    lines = {
        "backend": f"{event.backend} on {event.device}, {event.dtype} ({event.why.rstrip('.')})",
        "samples": ", ".join(f"{count(n)} {part}" for part, n in event.samples.items() if n),
        "steps": f"{plural(event.epochs, 'epoch')} of {plural(event.steps_per_epoch, 'step')}, "
        f"{plural(event.batch_size, 'sample')} a step",
    }
    return {**lines, "resumed": f"after step {count(event.first_step)}"} if event.first_step else lines


def evaluated(event: EpochEnd) -> Iterator[tuple[str, Score]]:
    """The scores of an epoch: the training part's, and the validation part's or else the test part's."""
    yield "train", event.train
    if event.validation:
        yield "val", event.validation
    elif event.test:
        yield "test", event.test


def first_metric(score: Score | ChunkEnd) -> tuple[str, str]:
    """The metric for which a row has room: its name, shortened, and its value."""
    name, value = next(iter(score.metrics.items()))
    return name.replace("accuracy", "acc").replace("_", " "), metric(name, value)


def score_text(score: Score | ChunkEnd) -> str:
    """A loss and the first metric, named unless a percentage says that it is the accuracy."""
    name, value = first_metric(score)
    return f"{loss(score.loss)} {value:>7}" if name == "acc" else f"{loss(score.loss)} {name} {value}"


def epoch_columns(event: EpochEnd) -> Iterator[tuple[str, int, str]]:
    """The columns of an epoch's row: head, width, value."""
    yield "epoch", 6, str(event.epoch)
    for part, score in evaluated(event):
        head = f"{part} loss"
        yield head, max(11, len(head) + 2), loss(score.loss)
        name, value = first_metric(score)
        head = f"{part} {name}"
        yield head, max(10, len(head) + 2), value
    yield "time", 9, duration(event.seconds)


def ending(event: TrainEnd, steps_per_epoch: int) -> str:
    """Why the run ended and after how much; an epoch counts when it is whole."""
    epochs, rest = divmod(event.step, steps_per_epoch)
    within = f" and {plural(rest, 'step')}" if rest else ""
    return (
        f"{ENDINGS[event.reason]} after {plural(epochs, 'epoch')}{within}: "
        f"{plural(event.step, 'step')} in {duration(event.seconds)}"
    )
