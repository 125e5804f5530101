"""Figures in documents: blocks between marks that name them, written by the scripts that made the figures."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from nnbackprop._system_info import cores, processor

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def write(blocks: Mapping[str, str], pages: tuple[Path, ...] = PAGES) -> None:
    """Write the named blocks anew wherever they stand; every other line stays."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(BLOCK.sub(lambda found: found[1] + blocks.get(found[2], _inside(found)) + found[3], text))


def _inside(found: re.Match) -> str:
    return found[0][len(found[1]) : -len(found[3])]


def machine() -> str:
    """Processor, cores this process may use, and the library that does the products."""
    return f"{processor()}, {cores()} cores, Python {platform.python_version()}, NumPy {version('numpy')}"
