"""How a run is shown while it goes: bars on a terminal, plain lines into a pipe or a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from nnbackprop.training.events import ChunkEnd, EpochBegin, EpochEnd, Listener, Score, TrainBegin, TrainEnd

from .tables import layer_table
from .words import count, duration, plural, share, size

LINE_PACE = 30.0  # seconds between lines within an epoch, where the output is no terminal
SHORT_PACE = 1.0  # seconds between the lines of epochs shorter than that

Clock = Callable[[], float]


def progress(mode: str, console: Console, clock: Clock = time.monotonic) -> Listener:
    """The display called auto, rich, plain or off; auto is rich on a terminal, else plain."""
    if mode == "off":
        return Listener()
    if mode == "rich" or (mode == "auto" and console.is_terminal and not console.is_dumb_terminal):
        return RichProgress(console, clock)
    return PlainProgress(console, clock)


def header(event: TrainBegin) -> str:
    """Backend, device, dtype and why; data; batches."""
    data = ", ".join(f"{count(n)} {part}" for part, n in event.samples.items() if n)
    lines = [
        f"{event.backend} on {event.device}, {event.dtype} ({event.why.rstrip('.')})",
        f"samples: {data}",
        f"{plural(event.epochs, 'epoch')} of {plural(event.steps_per_epoch, 'step')}, "
        f"{plural(event.batch_size, 'sample')} a step",
    ]
    if event.first_step:
        lines.append(f"resumed after step {count(event.first_step)}")
    return "\n".join(lines)


def epoch_line(event: EpochEnd, epochs: int) -> str:
    """An epoch in a line."""
    parts = [f"epoch {event.epoch:>{len(str(epochs))}}/{epochs}", _score("train", event.train)]
    parts += [_score(name, s) for name, s in (("val", event.validation), ("test", event.test)) if s]
    return "  ".join([*parts, f"{count(event.samples_per_second)}/s", duration(event.seconds)])


def _score(part: str, score: Score) -> str:
    return f"{part} {score.loss:.4f} {share(score.accuracy):>7}"


def ending(event: TrainEnd) -> str:
    """The last line."""
    words = {
        "finished": "finished",
        "early-stopping": "stopped early: the validation loss had ceased to fall",
        "max-time": "stopped: the time was up",
        "interrupted": "interrupted",
    }
    return f"{words[event.reason]} after epoch {event.epoch}, step {count(event.step)}, {duration(event.seconds)}"


@dataclass
class Thinner:
    """Lets a line through at most once in `pace` seconds, so that ten thousand epochs are not as many lines."""

    pace: float
    clock: Clock
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.last = -float("inf")

    def due(self) -> bool:
        """Whether it has been long enough; if so, begin to wait anew."""
        now = self.clock()
        if now - self.last < self.pace:
            return False
        self.last = now
        return True


class PlainProgress(Listener):
    """Lines without escape codes: one an epoch, one in 30 s within long epochs, one a second of short ones."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.epochs, self.steps = 0, 1
        self.within, self.between = Thinner(LINE_PACE, clock), Thinner(SHORT_PACE, clock)
        self.held: EpochEnd | None = None

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def train_begin(self, event: TrainBegin) -> None:
        """Header and layers."""
        self.epochs, self.steps = event.epochs, event.steps_per_epoch
        self._say(header(event))
        layers = [row for row in event.layers if row.parameters]
        total = sum(row.parameters for row in layers)
        shapes = ", ".join(f"{row.name} {count(row.parameters)}" for row in layers)
        self._say(f"{plural(total, 'parameter')}: {shapes}")
        self.within.due()

    def chunk_end(self, event: ChunkEnd) -> None:
        """Where a long epoch is."""
        if event.step % self.steps and self.within.due():
            done = event.step % self.steps
            self._say(
                f"epoch {event.epoch}/{self.epochs}  step {done}/{self.steps}  "
                f"loss {event.loss:.4f} {share(event.accuracy)}"
            )

    def epoch_end(self, event: EpochEnd) -> None:
        """The epoch's line, or none if the last was a moment ago."""
        self.held = event
        if self.between.due() or event.seconds >= SHORT_PACE or event.epoch == self.epochs:
            self._say(epoch_line(event, self.epochs))
            self.held = None
        self.within.due()

    def train_end(self, event: TrainEnd) -> None:
        """The last epoch's line if it was held back, and the end."""
        if self.held:
            self._say(epoch_line(self.held, self.epochs))
        self._say(ending(event))


class RichProgress(Listener):
    """A header, the layer table, a bar of all steps, a bar of the epoch's, and a line for each epoch done."""

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
        self.figures = Text(no_wrap=True, overflow="ellipsis")
        picture = Group(self.bars, self.figures)
        self.live = Live(picture, console=console, refresh_per_second=10, transient=True)
        self.held: EpochEnd | None = None
        self.epochs, self.steps = 0, 1

    def train_begin(self, event: TrainBegin) -> None:
        """Header, layers, and the bars."""
        self.epochs, self.steps = event.epochs, event.steps_per_epoch
        self.console.print(Panel(escape(header(event)), title="nnbackprop", expand=False, border_style="cyan"))
        self.console.print(layer_table(event.layers))
        first = event.first_step
        self.all = self.bars.add_task("epochs", total=self.epochs * self.steps, completed=first, at="")
        self.one = self.bars.add_task("steps", total=self.steps, completed=first % self.steps, at="")
        self.live.start()

    def epoch_begin(self, event: EpochBegin) -> None:
        """A new bar of steps."""
        done = event.step - (event.epoch - 1) * self.steps
        self.bars.reset(self.one, total=self.steps, completed=done, at=f"{done}/{self.steps}")
        self.bars.update(self.all, at=f"{event.epoch}/{self.epochs}")

    def chunk_end(self, event: ChunkEnd) -> None:
        """Move the bars and the figures; they are drawn when the display next refreshes."""
        done = event.step - (event.epoch - 1) * self.steps
        self.bars.update(self.all, completed=event.step)
        self.bars.update(self.one, completed=done, at=f"{done}/{self.steps}")
        parts = [f"loss {event.loss:.4f}", f"accuracy {share(event.accuracy)}"]
        parts += [f"{count(event.samples / event.seconds)} samples/s", f"lr {event.lr:.4g}"]
        if event.memory_used is not None:
            parts.append(f"memory {size(event.memory_used)}")
        self.figures.plain = "  ".join(parts)

    def epoch_end(self, event: EpochEnd) -> None:
        """The epoch's line above the bars, or none if the last was a moment ago."""
        self.held = event
        if self.between.due() or event.epoch == self.epochs:
            self._flush()

    def train_end(self, event: TrainEnd) -> None:
        """The last epoch's line if it was held back, and the end."""
        self.close()
        self._flush()
        self.console.print(Text(ending(event), style="bold"))

    def close(self) -> None:
        """Give the terminal back as it was."""
        self.live.stop()

    def _flush(self) -> None:
        if self.held:
            self.console.print(Text(epoch_line(self.held, self.epochs)))
            self.held = None
