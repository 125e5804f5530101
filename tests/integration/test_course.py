"""The lessons of docs/course: an open cell is wrong, its solution right, and the answers are those on paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "course"
LESSONS = sorted(FOLDER.glob("[1-9]*.md"))
CELL = re.compile(r"```\{code-cell\} ipython3\n(?::tags: \[(.*?)\]\n)?(.*?)```", re.DOTALL)

ANSWERS = {
    "1-one-neuron": ["s = 0.0, y = 0.5, J = 0.125", "* 2 = -0.25", "* 1 = -0.125"],
    "2-two-layers": ["sigma(1) = 0.7311", "* 1 = 0.1437"],
    "3-matrices": ["dW = [[-2], [-2]]  db = [0]  dX = [[5, 6], [-5, -6]]"],
    "4-activations": ["9.5e-07"],
    "5-softmax": ["p = [0.25 0.75], J = -ln 0.25 = 1.3863, dz = [-0.75  0.75]"],
    "6-penalty-and-accuracy": ["2 - 0.5 * 0.1 * 2 = 1.9;", "0.0118 after a hundred"],
    "7-batch-normalization": ["[-1.  1.].  dx = [0. 0.]"],
    "8-convolution": [
        "z  = [[-4.0, -4.0], [-4.0, -4.0]]",
        "dw = [[11.0, 14.0], [20.0, 23.0]]",
        "dx = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -2.0]]",
    ],
}
"""Worked out on paper."""

NAMED = {"5-softmax": "softmax-diagonal", "7-batch-normalization": "normalization-terms-missing"}
"""What the judge calls the open cell, where it has a name for it."""


def cells(lesson: Path) -> list[tuple[set[str], str]]:
    """The tags and the code of each cell."""
    return [
        (set(re.findall(r"[\w-]+", tags)), code) for tags, code in CELL.findall(lesson.read_text(encoding="utf-8"))
    ]


def test_there_are_eight_lessons_and_a_line_of_the_contents_for_each() -> None:
    names = [lesson.stem for lesson in LESSONS]
    contents = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert names == sorted(ANSWERS)
    assert len(names) == 8
    assert re.findall(r"^\d\. \[.*\]\((.*)\.md\)", contents, re.M) == names
    assert re.findall(r"^(\d-[\w-]+)$", contents, re.M) == names


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_the_judge_finds_the_open_cell_wrong_and_the_solution_right(
    lesson: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {}
    printed: dict[str, str] = {}
    found = cells(lesson)
    for tags, code in found:
        exec(compile(code, lesson.name, "exec"), namespace)
        out = capsys.readouterr().out
        printed |= dict.fromkeys(tags & {"answer", "judge", "solution"}, out)
    assert [kind for tags, _ in found for kind in ("exercise", "judge", "solution") if kind in tags] == [
        "exercise",
        "judge",
        "solution",
    ]
    assert all(answer in printed["answer"] for answer in ANSWERS[lesson.stem]), printed["answer"]
    assert "FAILED:" in printed["judge"]
    assert NAMED.get(lesson.stem, "") in printed["judge"]
    assert re.search(r"^passed,", printed["solution"], re.M), printed["solution"]
