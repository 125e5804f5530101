"""The lessons of docs/course as notebooks in course/, to be completed: `make course`.

Mathematics is written as Jupyter shows it, and the cells with answers and solutions are folded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext

ROOT = Path(__file__).resolve().parents[1]
LESSONS, FOLDER = ROOT / "docs" / "course", ROOT / "course"
MATH = re.compile(r"```math\n(.*?)```", re.DOTALL)


def notebook(lesson: Path) -> Any:
    """A lesson; links lead to the pages in docs/."""
    made = jupytext.read(lesson, fmt="md:myst")
    made.metadata = {"kernelspec": made.metadata["kernelspec"]}
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = MATH.sub(r"$$\n\1$$", cell.source)
            cell.source = re.sub(
                r"\]\((?!https?:)(\.\./)?", lambda m: "](../docs/" + ("" if m[1] else "course/"), cell.source
            )
        elif "hide-cell" in cell.metadata.get("tags", ()):
            cell.metadata["jupyter"] = {"source_hidden": True}
    return made


def main() -> None:
    """Write each; one that is there, with somebody's work in it, stays."""
    FOLDER.mkdir(exist_ok=True)
    for lesson in sorted(LESSONS.glob("[1-9]*.md")):
        path = FOLDER / f"{lesson.stem}.ipynb"
        if path.exists():
            print(f"{path.relative_to(ROOT)} is there, and stays: delete it for a new one")
        else:
            path.write_text(jupytext.writes(notebook(lesson), fmt="ipynb"), encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
