"""The bars of a run on a terminal, whatever becomes of the window's width."""

from __future__ import annotations

from collections.abc import Iterable

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import ControlType

BAR = 40  # columns of a bar at most: a wide window may become narrower before its lines wrap


class Bars(Progress):
    """A bar of the run's steps and one of the epoch's, and below them the latest figures."""

    def __init__(self, console: Console) -> None:
        self.terminal, self.bar = console, BarColumn()
        self.figures: list[str] = []
        self.drawn: list[int] = []  # length of each line on the terminal
        at, left = TextColumn("{task.fields[at]}", justify="right"), TimeRemainingColumn(compact=True)
        columns = TextColumn("{task.description}"), self.bar, at, left
        super().__init__(*columns, console=console, refresh_per_second=4, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and the figures side by side in as many lines as the width needs."""
        width = self.terminal.width
        self._erase_wrapped(width)
        self.bar.bar_width = max(4, min(BAR, width - 26))
        frame = Group(self.make_tasks_table(self.tasks), Columns(self.figures, padding=(0, 2)))
        self.drawn = [sum(s.cell_length for s in line) for line in self.terminal.render_lines(frame, pad=False)]
        return [frame]

    def stop(self) -> None:
        """Give the terminal back as it was."""
        super().stop()
        self.drawn = []

    def _erase_wrapped(self, width: int) -> None:
        """Erase what rich does not: rows added by a terminal that wrapped long lines when it became narrower."""
        rows = sum(max(0, length - 1) // width for length in self.drawn)
        if rows and self.live.is_started:
            step = (ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)
            self.terminal.control(Control(*(step * rows)))
