"""How a run is shown while it goes: bars on a terminal, plain lines into a pipe or a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nnbackprop._json import to_json_text
from nnbackprop.errors import UsageError
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd, EpochBegin, EpochEnd, LayerRow, TrainBegin, TrainEnd
from nnbackprop.training.history import confusion, row

from .bars import Bars
from .epoch_line import epoch_columns, epoch_scores, score_text
from .formatting import count, duration, loss, metric, plural, size
from .tables import layer_table
from .terminal import Terminal

if TYPE_CHECKING:
    from nnbackprop.training.trainer import Trainer

LINE_SECONDS = 30.0  # between lines within an epoch, where the output is not a terminal
SHORT_RUN = 100  # epochs up to which every one has its line, however brief

KINDS = ("auto", "rich", "plain", "json", "off")

ENDINGS = {
    "finished": "finished",
    "early-stopping": "stopped early: the validation loss no longer fell",
    "max-time": "stopped: --max-time was reached",
    "interrupted": "interrupted",
    "stopped": "stopped",
}


def progress(
    kind: str = "auto", console: Console | None = None, description: Mapping[str, str] | None = None
) -> Callback:
    """The display called auto, rich, plain, json or off, as a callback; auto is rich on a terminal, else plain.

    >>> network = nb.Sequential(nb.Dense(10))
    >>> trainer = nb.Trainer(network, nb.SoftmaxCrossEntropy(), nb.SGD(), lr=0.1, callbacks=[nb.progress()])

    In Jupyter and marimo rich is plain too. `console` is the standard output if not given; `description` has lines
    for the header, by subject. FORCE_COLOR makes rich take a pipe for a terminal; bars are of no use in a log, so
    the file is asked too.

    Raises:
        UsageError: another kind.
    """
    if kind not in KINDS:
        raise UsageError(f"progress got {kind!r} and needs one of {', '.join(KINDS)}: take 'auto' if in doubt.")
    if console is None:
        console = Terminal(force_jupyter=False)  # rows of text, not a block of HTML each
    if in_notebook() and kind in ("auto", "rich"):  # a live display leaves a row of frames there
        kind = "plain"
    if kind == "off":
        return Callback()
    if kind == "json":
        return JsonProgress(console)
    if kind == "rich" or (kind == "auto" and console.is_interactive and console.file.isatty()):
        return RichProgress(console, description)
    return PlainProgress(console, description)


def in_notebook() -> bool:
    """Whether the output goes to a notebook: of Jupyter, also from a command in one of its cells, or of marimo."""
    ipython, marimo = sys.modules.get("IPython"), sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return True
    in_kernel = ipython is not None and hasattr(ipython.get_ipython(), "kernel")
    return in_kernel or "JPY_PARENT_PID" in os.environ  # which Jupyter sets for its kernels and their commands


class Display(Callback):
    """What both displays share: a header, lines of epochs, and why the run ended."""

    min_interval = 1.0  # seconds between the lines of epochs in a run of more than `SHORT_RUN`

    def __init__(
        self,
        console: Console,
        description: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console, self.description, self.clock = console, description or {}, clock
        self.epochs, self.steps = 0, 1
        self.last_epoch = self.last_line = float("-inf")  # when they were shown
        self.pending_epoch: EpochEnd | None = None

    def message(self, text: str, style: str = "yellow") -> None:
        """A line."""

    def show_header(self, lines: Mapping[str, str], layers: Sequence[LayerRow]) -> None:
        """What is known before the first step, by subject, and the layers."""

    def show_epoch(self, event: EpochEnd) -> None:
        """An epoch's line."""

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """The header."""
        self.epochs, self.steps = event.epochs, event.steps_per_epoch
        lines = {
            **self.description,
            "backend": f"{event.backend} on {event.device}, {event.dtype} ({event.selection_reason.rstrip('.')})",
            "samples": ", ".join(f"{count(n)} {part}" for part, n in event.n_samples.items() if n),
            "steps": f"{plural(event.epochs, 'epoch')} of {plural(event.steps_per_epoch, 'step')}, "
            f"{plural(event.batch_size, 'sample')} a step",
        }
        if event.first_step:
            lines["resumed"] = f"after step {count(event.first_step)}"
        self.show_header(lines, event.layers)

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """The epoch's line; not shown where there are many epochs and the last line was a moment ago."""
        self.pending_epoch, now = event, self.clock()
        if self.epochs <= SHORT_RUN or now - self.last_epoch >= self.min_interval:
            self.last_epoch = now
            self._show_pending()

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """The last epoch's line if it is not shown yet; why the run ended and after how many whole epochs."""
        self._show_pending()
        epochs, rest = divmod(event.step, self.steps)
        within = f" and {plural(rest, 'step')}" if rest else ""
        self.message(
            f"{ENDINGS[event.reason]} after {plural(epochs, 'epoch')}{within}: "
            f"{plural(event.step, 'step')} in {duration(event.seconds)}",
            style="bold",
        )

    def _show_pending(self) -> None:
        if self.pending_epoch:
            self.show_epoch(self.pending_epoch)
            self.pending_epoch = None


class PlainProgress(Display):
    """Lines without escape codes: one an epoch, one in 30 s within a long one, one a second of many short ones."""

    def message(self, text: str, style: str = "") -> None:
        """A line as it is, however wide; any line makes the next one within an epoch wait."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.last_line = self.clock()

    def show_header(self, lines: Mapping[str, str], layers: Sequence[LayerRow]) -> None:
        """A line for each subject, and one for the layers that have parameters."""
        for subject, line in lines.items():
            self.message(f"{subject}: {line}")
        total = plural(sum(row.parameters for row in layers), "parameter")
        self.message(
            f"{total}: {', '.join(f'{row.name} {count(row.parameters)}' for row in layers if row.parameters)}"
        )

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """How far a long epoch has come."""
        done = event.step % self.steps
        if done and self.clock() - self.last_line >= LINE_SECONDS:
            at = f"epoch {event.epoch}/{self.epochs}  step {done}/{self.steps}"
            self.message(f"{at}  loss {score_text(event)}")

    def show_epoch(self, event: EpochEnd) -> None:
        """Epoch, losses and metrics, samples per second, time."""
        number = f"epoch {event.epoch:>{len(str(self.epochs))}}/{self.epochs}"
        scores = (f"{part} {score_text(score)}" for part, score in epoch_scores(event))
        speed = f"{count(event.samples_per_second)}/s"
        self.message("  ".join([number, *scores, speed, duration(event.seconds)]))


class JsonProgress(Callback):
    """A line of JSON an epoch, with the keys of metrics.jsonl and NaN as null; messages go to stderr."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def message(self, text: str) -> None:
        """A line for people, on the standard error stream."""
        print(text, file=sys.stderr, flush=True)

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """The epoch's line, at once."""
        self.console.out(to_json_text(row(event) | confusion(event)), highlight=False)
        self.console.file.flush()


class RichProgress(Display):
    """A header, the layer table, a bar of all steps, a bar of the epoch's, and a row for each epoch done."""

    min_interval = 0.5

    def __init__(self, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)
        self.bars = Bars(self.console)
        self.column_names: tuple[str, ...] = ()

    def message(self, text: str, style: str = "yellow") -> None:
        """A line above the bars."""
        if self.bars.live.is_started:
            self.bars.refresh()  # the window's width may have changed
        self.console.print(Text(text, style=style))

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
        self._update_bars(event.epoch, event.step)

    def _update_bars(self, epoch: int, step: int) -> None:
        done = step - (epoch - 1) * self.steps
        self.bars.update(self.run_bar, completed=step, at=f"{epoch}/{self.epochs}")
        self.bars.update(self.epoch_bar, completed=done, at=f"{done}/{self.steps}")

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Update the bars and the values below them; drawn when the display next refreshes."""
        self._update_bars(event.epoch, event.step)
        values = [f"loss {loss(event.loss)}"]
        values += [f"{name.replace('_', ' ')} {metric(name, value)}" for name, value in event.metrics.items()]
        values += [f"{count(event.samples_per_second)} samples/s", f"lr {event.lr:.4g}"]
        if event.memory_used is not None:
            values.append(f"memory {size(event.memory_used)}")
        self.bars.values = values

    def show_epoch(self, event: EpochEnd) -> None:
        """A row of columns above the bars, under its names; in a narrow window without the training scores."""
        columns = list(epoch_columns(event))
        while sum(width for _, width, _ in columns) > self.console.width and len(columns) > 4:
            del columns[1]
        names = tuple(f"{head:>{width}}" for head, width, _ in columns)
        if names != self.column_names:
            self.message("".join(names), style="dim")
            self.column_names = names
        self.message("".join(f"{value:>{width}}" for _, width, value in columns), style="")

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """The end, where the bars were."""
        self.close()
        super().train_end(trainer, event)

    def close(self, trainer: Trainer | None = None) -> None:
        """Give the terminal back as it was."""
        self.bars.stop()
