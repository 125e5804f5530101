"""The documents keep their word: commands parse, code runs, links lead somewhere, figures are the script's."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from statistics import median
from types import ModuleType

import pytest

from nnbackprop.cli import app

ROOT = Path(__file__).parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
COMMANDS = [
    (page.name, line[2:].split("#")[0].strip())
    for page in PAGES
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    """scripts/figures.py as a module, which imports its neighbours as a script does."""
    sys.path.insert(0, str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("figures", ROOT / "scripts" / "figures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "command"), [c for c in COMMANDS if c[1].startswith("nnbackprop ")])
def test_a_command_of_the_documents_parses(page: str, command: str) -> None:
    app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("command", sorted({c[1].split()[1] for c in COMMANDS if c[1].startswith("make ")}))
def test_a_make_target_of_the_documents_exists(command: str) -> None:
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readmes_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if "import nnbackprop" in code
    ]
    exec(compile(program, "README.md", "exec"), {})
    share = float(capsys.readouterr().out.split("%")[0])
    assert share > 94


def test_the_readme_shows_the_layer_as_it_is() -> None:
    """Every line of code it shows of Dense stands in dense.py."""
    shown = (ROOT / "README.md").read_text().split("```python\ndef forward")[1].split("```")[0]
    source = (ROOT / "nnbackprop" / "nn" / "layers" / "dense.py").read_text()
    for line in shown.splitlines()[1:]:
        if line.strip() and not line.startswith("def "):
            assert line.split("#")[0].strip() in source


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_figures_are_those_the_script_keeps(page: Path, figures: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / page.name
    copy.write_text(page.read_text())
    runs = json.loads(figures.STORE.read_text())
    figures.write({name: figures.block(name, runs) for name in figures.BLOCKS}, (copy,))
    assert copy.read_text() == page.read_text()


@pytest.mark.parametrize("store", ["verification", "reproducibility"])
def test_the_proofs_shown_are_those_the_script_kept(store: str, tmp_path: Path) -> None:
    """And its blocks stand in a page at all: one that was renamed would be written nowhere."""
    from scripts import pages

    blocks = json.loads((ROOT / "docs" / f"{store}.json").read_text())
    shown = set()
    for page in pages.PAGES:
        copy = tmp_path / page.name
        copy.write_text(page.read_text())
        pages.write(blocks, (copy,))
        assert copy.read_text() == page.read_text()
        shown |= {found[2] for found in pages.BLOCK.finditer(page.read_text())}
    assert set(blocks) <= shown


def test_the_speeds_shown_are_those_that_were_kept(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    from scripts import pages, performance

    blocks = performance.blocks()
    assert {"performance", "performance-summary", "aims", "missed", "growth", "beside"} <= set(blocks)
    for page in (ROOT / "README.md", ROOT / "docs" / "performance.md"):
        copy = tmp_path / page.name
        copy.write_text(page.read_text())
        pages.write(blocks, (copy,))
        assert copy.read_text() == page.read_text()


def test_an_aim_is_judged_by_the_figure_that_is_shown_and_a_miss_is_spoken_of() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    from scripts import aims, missed, performance

    for result in performance.kept():
        for ours, rival, work, _ in aims.each():
            timing = result.timing(work)
            row = timing and timing.row(rival)
            if timing and row and ours == timing.us:
                assert median(aims.ratios(result, work, ours, rival)) == row.ratio.median
    shown = performance.blocks()["missed"]
    for miss in missed.misses(performance.kept()):
        assert f"| {' | '.join(miss.cells)} |" in shown
        assert f"**{missed.aims.name(miss.ours)} against {missed.aims.name(miss.rival)}.**" in shown


@pytest.mark.parametrize(
    ("name", "least"), [("mnist", 0.980), ("mnist-50", 0.985), ("rashid", 0.965), ("rashid-200", 0.970)]
)
def test_the_figures_kept_are_good_enough(name: str, least: float, figures: ModuleType) -> None:
    assert json.loads(figures.STORE.read_text())[name]["summary"]["test_accuracy"] >= least


def test_ex4s_figures_tell_the_story(figures: ModuleType) -> None:
    runs = json.loads(figures.STORE.read_text())
    assert [runs[name]["broken"] for name in ("ex4-50", "ex4", "ex4-10000")] == pytest.approx([0.1] * 3, abs=1e-12)
    assert runs["ex4"]["honest"] == pytest.approx(0.62, abs=0.04)
    assert runs["ex4-10000"]["honest"] == pytest.approx(0.92, abs=0.02)
