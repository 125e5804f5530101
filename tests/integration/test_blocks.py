"""Every code block and console block of the documents is executed: each page from top to bottom in a folder.

How is said in tests/support/page_runner.py: which commands are made cheaper, and which are parsed alone, and why.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import draw_no_plots
from tests.support.page_blocks import ROOT, blocks, pages
from tests.support.page_runner import PageRunner

GIVEN = {
    "README.md": """
rng = np.random.default_rng(0)
X_train, y_train = rng.standard_normal((80, 4)), np.arange(80) % 2
X_test, y_test = X_train, y_train
X, T = X_train, np.eye(2)[y_train]
W1, b1 = rng.standard_normal((4, 2)), np.zeros(2)
def loss(p, X, T):
    return ((X @ p["W1"] + p["b1"] - T) ** 2).sum() / 2
def backward(p, X, T):
    dz = X @ p["W1"] + p["b1"] - T
    return {"W1": X.T @ dz, "b1": dz.sum(axis=0)}
""",
    "docs/commands.md": """
data = nb.load("weight-height", split=False)
trainer = nb.Trainer(nb.Sequential(nb.Dense(1)), nb.SigmoidBinaryCrossEntropy(), nb.SGD(), lr=0.1, epochs=1)
""",
    "docs/data.md": """
frame = {"area": np.arange(40.0), "rooms": np.arange(40) % 3, "price": 1000.5 + 2 * np.arange(40.0)}
frame["area"][3] = np.nan
""",
    "docs/ex4.md": """
labels = np.repeat(np.arange(10), 500)[:, None]
predictions = np.where(np.arange(5000) % 3 < 2, labels[:, 0], 0)
""",
    "docs/export.md": """
images = nb.load("mnist").test.inputs[:20]
""",
    "docs/sklearn.md": """
import polars
rng = np.random.default_rng(0)
frame = {"age": rng.normal(40, 10, 60), "income": rng.normal(3, 1, 60), "town": rng.choice(["A", "B"], 60)}
frame, labels = polars.DataFrame(frame), np.arange(60) % 2
""",
}
"""What the words around a block say that the reader has."""
GIVEN["docs/mistakes.md"] = GIVEN["README.md"]

BEFORE = {
    "docs/mistakes.md": ["nnbackprop train"],
    "docs/reproducibility.md": ["nnbackprop train"],
    "docs/lab.md": ["nnbackprop train"],
    "docs/lab.zh.md": ["nnbackprop train"],
    "docs/images.md": ["nnbackprop train"],
    "docs/python.md": ["nnbackprop train"],
}
"""Runs that a page speaks of and another page makes."""

CODE = ("python", "console", "toml", "bash")
NO_CODE = ("text", "diff", "math")
PAGES = [page for page in pages() if any(block.language in CODE for block in blocks(page))]


@pytest.mark.usefixtures("in_a_folder_of_its_own")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_do_what_it_says(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(page.relative_to(ROOT))
    draw_no_plots(monkeypatch)
    runner = PageRunner(name, GIVEN.get(name, ""), capsys)
    for command in BEFORE.get(name, []):
        runner.command(command)
    for block in blocks(page):
        runner.execute(block)
    if runner.absent:
        pytest.skip(f"{', '.join(sorted(runner.absent))} not installed: what needs it was parsed alone")


def test_every_block_is_code_that_runs_or_is_none() -> None:
    """A language that nobody executes would hide a block from the test above."""
    others = {
        block.place: block.language
        for page in pages()
        for block in blocks(page)
        if block.language not in (*CODE, *NO_CODE) and not block.language.startswith("{")
    }
    assert others == {}
