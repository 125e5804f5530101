"""The picture of the README: a terminal while `nnbackprop train` runs, read off a real one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from io import StringIO
from itertools import groupby

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from . import ROOT

PATH = ROOT / "docs" / "figures" / "terminal.svg"
COLUMNS, ROWS = 100, 40
NAMES = {"brown": "yellow"}  # what pyte calls it


def draw() -> None:
    """Train in a terminal of `COLUMNS` x `ROWS` until epoch 5 is shown, and write what it shows as SVG."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    with tempfile.TemporaryDirectory() as folder:
        child, terminal = pty.fork()
        if not child:
            os.chdir(folder)
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8", PYTHONPATH=str(ROOT))
            os.execv(sys.executable, [sys.executable, "-m", "nnbackprop", "train"])
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        while not any(line.lstrip(" │").startswith("5 ") for line in screen.display):
            stream.feed(os.read(terminal, 1 << 16))
        for _ in range(6):  # some way into the next epoch
            stream.feed(os.read(terminal, 1 << 16))
        os.kill(child, 9)
        os.close(terminal)
        os.waitpid(child, 0)
    console = Console(record=True, width=COLUMNS, file=StringIO())
    lines = [y for y in range(ROWS) if screen.display[y].strip()]
    for y in range(min(lines), max(lines) + 1):
        console.print(_line(screen, y), soft_wrap=True)
    svg = console.export_svg(title="nnbackprop train", unique_id="terminal")
    PATH.write_text(
        re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL), encoding="utf-8"
    )  # nothing from the network


def _line(screen: pyte.Screen, y: int) -> Text:
    """Line `y`, a piece for each run of cells that look alike."""
    text = Text()
    for (fg, bold), cells in groupby(
        (screen.buffer[y][x] for x in range(COLUMNS)), key=lambda cell: (cell.fg, cell.bold)
    ):
        colour = None if fg == "default" else f"#{fg}" if len(fg) == 6 and fg != "yellow" else NAMES.get(fg, fg)
        text.append("".join(cell.data for cell in cells), Style(color=colour, bold=bold))
    text.rstrip()
    return text
