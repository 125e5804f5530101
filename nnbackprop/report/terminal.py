"""A console on which data cannot send commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f]")  # all control characters but tab and newline


class Terminal(Console):
    """A console that shows control characters in text escaped: a name out of a file cannot command a terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of what is printed; those of colours and movements are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=CONTROLS.sub(_escaped, segment.text))


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
