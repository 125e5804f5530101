"""The page's own files, which come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def page_files() -> dict[str, Path]:
    """The files by their names below static/: no path of a request is ever opened."""
    folder = Path(str(resources.files("nnbackprop.lab") / "static"))
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
