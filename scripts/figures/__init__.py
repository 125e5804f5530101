"""Figures in documents: blocks between marks that name them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnbackprop._system_info import cores, processor, set_num_threads

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- figures: (\S+) -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """A page's text with the named blocks written anew; every other line stays."""
    return BLOCK.sub(lambda found: found[1] + blocks.get(found[2], found[3]) + found[4], text)


def write(blocks: Mapping[str, str], pages: Iterable[Path] = PAGES) -> None:
    """Write the named blocks wherever they stand."""
    for page in pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown."""
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows))


def machine() -> str:
    """Processor, cores this process may use, and the versions of Python and NumPy."""
    return f"{processor()}, {cores()} cores, Python {platform.python_version()}, NumPy {version('numpy')}"


def today() -> str:
    """The date, 2026-11-28."""
    return datetime.now(UTC).date().isoformat()


@contextmanager
def one_thread() -> Iterator[None]:
    """Products on one thread, here and in processes started meanwhile; processes started later have their own."""
    before = dict(os.environ)
    set_num_threads(1, later_imports=True)  # PyTorch and JAX are imported when they are measured
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def train(words: str, runs: Path, name: str) -> dict[str, Any]:
    """The summary of the run `name` in the folder `runs`, which `nnbackprop WORDS` trains as a person would."""
    command = [sys.executable, "-m", "nnbackprop", *words.split(), "--runs-dir", str(runs), "--name", name]
    subprocess.run([*command, "--progress", "off"], check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((runs / name / "summary.json").read_text(encoding="utf-8"))
    return summary
