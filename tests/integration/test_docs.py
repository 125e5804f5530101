"""The documents keep their word: commands parse, code runs, links lead somewhere, figures are the script's."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import nnbackprop
from nnbackprop.cli import app
from nnbackprop.diagnostics.doctor import DATA_CHECKS, LAYER_CHECKS, START_CHECKS
from nnbackprop.diagnostics.doctor.metric import ID as METRIC
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES
from nnbackprop.diagnostics.monitor.checks import RUN_CHECKS
from nnbackprop.runs.config import Config
from tests.support.page_blocks import FENCE

ROOT = Path(__file__).parents[2]
RUNS = json.loads((ROOT / "docs" / "figures.json").read_text(encoding="utf-8"))["recipes"]
RECORDS = ROOT / "benchmarks" / "results" / "records"
PAGES = [
    page
    for folder in (ROOT, ROOT / "docs", ROOT / "docs" / "course", ROOT / "examples")
    for page in sorted(folder.glob("*.md"))
]
COMMANDS = [
    (page.name, line[2:].split("#")[0].strip())
    for page in PAGES
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]


@pytest.mark.parametrize(("page", "command"), [c for c in COMMANDS if c[1].startswith("nnbackprop ")])
def test_a_command_of_the_documents_parses(page: str, command: str) -> None:
    app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("command", sorted({c[1].split()[1] for c in COMMANDS if c[1].startswith("make ")}))
def test_a_make_target_of_the_documents_exists(command: str) -> None:
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_stands_outside_of_a_console_block(page: Path) -> None:
    """Where nothing would execute it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert re.findall(r"^ {4,}(?:\$ )?(?:nnbackprop|python|pip|make) .*", text, re.MULTILINE) == []


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readmes_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
        if "import nnbackprop" in code
    ]
    exec(compile(program, "README.md", "exec"), {})
    share = float(capsys.readouterr().out.split("%")[0])
    assert share > 94


@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_the_programs_of_the_page_on_python_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    exec(compile(program, "docs/python.md", "exec"), {})
    assert "['heavy', 'light'] [[" in capsys.readouterr().out


def test_every_finding_has_an_entry_among_the_frequent_mistakes() -> None:
    """Of the doctor, of the monitor and of gradcheck."""
    text = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8")
    entries = " ".join(re.findall(r"^### .*\n\n((?:`[\w-]+`(?:, )?)+)\. ", text, re.MULTILINE))
    names = {*DATA_CHECKS, *START_CHECKS, *LAYER_CHECKS, *RUN_CHECKS, METRIC, *MISTAKES} - {"unknown"}
    assert sorted(names - set(re.findall(r"[\w-]+", entries))) == []


def test_the_names_and_flags_beside_those_of_other_libraries_exist() -> None:
    text = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    names, flags = set(re.findall(r"\bnb\.(\w+)", text)), set(re.findall(r"`--([a-z0-9-]+)", text))
    assert len(names) > 30
    assert sorted(name for name in names if not hasattr(nnbackprop, name)) == []
    settings = {field.name.replace("_", "-") for field in fields(Config)}
    assert sorted(flags - settings) == []


def test_the_reference_has_every_public_name_once() -> None:
    listed = re.findall(
        r"^\.\. auto(?:class|function):: nnbackprop\.(\w+)$",
        (ROOT / "docs/reference.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert sorted(listed) == sorted(nnbackprop.__all__)


def test_the_readme_shows_the_layer_as_it_is() -> None:
    """Every line of code it shows of Dense stands in dense.py."""
    shown = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("```python alone\ndef forward")[1].split("```")[0]
    )
    source = (ROOT / "nnbackprop" / "nn" / "layers" / "dense.py").read_text(encoding="utf-8")
    for line in shown.splitlines()[1:]:
        if line.strip() and not line.startswith("def "):
            assert line.split("#")[0].strip() in source


def test_every_generated_block_is_as_its_figures_are() -> None:
    script = str(ROOT / "scripts" / "make_figures.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_block_of_a_page_is_one_that_the_script_writes() -> None:
    """And every block it writes stands in a page: one that was renamed would be written nowhere."""
    code = "import make_figures; print(*make_figures.blocks())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    shown = {
        name for page in PAGES for name in re.findall(r"<!-- figures: (\S+) -->", page.read_text(encoding="utf-8"))
    }
    assert {name for name in shown if not name.startswith("derivation-")} == set(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("mnist-5", 0.980),
        ("mnist", 0.985),
        ("mnist-original", 0.980),
        ("mnist-original-50", 0.985),
        ("rashid", 0.965),
        ("rashid-200", 0.970),
        ("cnn", 0.993),
    ],
)
def test_the_figures_kept_are_good_enough(name: str, least: float) -> None:
    assert RUNS[name]["summary"]["test_accuracy"] >= least


def test_the_fashion_mnist_run_kept_is_good_enough() -> None:
    (run,) = json.loads((RECORDS / "fashion-mnist-runs.json").read_text(encoding="utf-8"))
    assert shlex.split(run["command"])[:5] == ["nnbackprop", "train", "cnn", "--data", "fashion-mnist"]
    assert run["summary"]["test_accuracy"] >= 0.91


def test_the_coverage_kept_is_at_least_95_percent_by_branch() -> None:
    rooms = json.loads((ROOT / "docs" / "figures.json").read_text(encoding="utf-8"))["coverage"]["rooms"]
    executed, lines, branches = (
        sum(room[kind] for room in rooms.values()) for kind in ("executed", "lines", "branches")
    )
    assert executed >= 0.95 * (lines + branches)


def test_ex4s_figures_tell_the_story() -> None:
    assert [RUNS[name]["broken"] for name in ("ex4-50", "ex4", "ex4-10000")] == pytest.approx([0.1] * 3, abs=1e-12)
    assert RUNS["ex4"]["honest"] == pytest.approx(0.62, abs=0.04)
    assert RUNS["ex4-10000"]["honest"] == pytest.approx(0.92, abs=0.02)
