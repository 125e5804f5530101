"""Progress bars at the bottom of a terminal, and the latest values below them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import ControlType

BAR_WIDTH = 40  # columns of a bar at most: a wide window may become narrower before its lines wrap


class Bars(Progress):
    """A bar of the run's steps and one of the epoch's, and below them the latest values, at any width."""

    def __init__(self, console: Console) -> None:
        self.terminal, self.bar = console, BarColumn()
        self.values: list[str] = []
        self.line_lengths: list[int] = []  # length of each line on the terminal
        at, left = TextColumn("{task.fields[at]}", justify="right"), TimeRemainingColumn(compact=True)
        columns = TextColumn("{task.description}"), self.bar, at, left
        super().__init__(*columns, console=console, refresh_per_second=4, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and the values side by side in as many lines as the width needs."""
        width = self.terminal.width
        # rich does not erase the rows added by a terminal that wraps long lines when it becomes narrower
        rows = sum(max(0, length - 1) // width for length in self.line_lengths)
        if rows and self.live.is_started:
            step = (ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)
            self.terminal.control(Control(*(step * rows)))
        self.bar.bar_width = max(4, min(BAR_WIDTH, width - 26))
        frame = Group(self.make_tasks_table(self.tasks), Columns(self.values, padding=(0, 2)))
        lines = self.terminal.render_lines(frame, pad=False)
        self.line_lengths = [sum(segment.cell_length for segment in line) for line in lines]
        return [frame]

    def stop(self) -> None:
        """Give the terminal back as it was."""
        super().stop()
        self.line_lengths = []
