"""The fenced blocks of the documents, in the order in which a reader meets them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)(?P=mark) *$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block: where its text begins, its language, the rest of its info string, and its text."""

    page: str
    line: int
    language: str
    note: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Of a console block: each command and the output shown under it."""
        found: list[tuple[str, str]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            elif found:
                found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
        return found


def pages() -> list[Path]:
    """Every document of the project that is written in Markdown and is a page of the site or of the repository."""
    folders = (ROOT, ROOT / "docs", ROOT / "docs" / "course", ROOT / "examples")
    return [page for folder in folders for page in sorted(folder.glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, _, note = match["info"].strip().partition(" ")
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(str(page.relative_to(ROOT)), line, language, note.strip(), match["text"]))
    return found
