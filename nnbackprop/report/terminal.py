"""What is printed goes through here, so that no name out of a stranger's file reaches a terminal as a command."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

COMMANDS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f]")  # all control characters but a tab and the end of a line


class Terminal(Console):
    """A console that shows the control characters of a text escaped; colours and movements are its own to send."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of what is printed, each of which is only text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=COMMANDS.sub(_escaped, segment.text))


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
