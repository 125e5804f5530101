"""`make release` refuses, before anything is built, a checkout that is not the release it names."""

from __future__ import annotations

import importlib
import re
import subprocess
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
FILES = {
    "pyproject.toml": '[project]\nversion = "1.2.0"\n',
    "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.0\n",
    "CHANGELOG.md": (
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-31\n\n- New.\n\n"
        "## [1.1.0] - 2025-12-24\n\n- Old.\n"
    ),
}
TOMORROW = (date.today() + timedelta(days=1)).isoformat()


def git(folder: Path, *words: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script on a checkout of `FILES`, all committed, where it may not build."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("release")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "All")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "build", lambda folder: pytest.fail("it went on to build"))
    return module


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("pyproject.toml", "1.2.0", "1.3.0", "CHANGELOG.md does not begin with a section `## [1.3.0] -"),
        ("pyproject.toml", "1.2.0", "1.1.0", "CHANGELOG.md does not begin with a section `## [1.1.0] -"),
        ("CHANGELOG.md", "- New.\n", "", "CHANGELOG.md does not begin with a section `## [1.2.0] -"),
        ("CHANGELOG.md", " - 2026-01-31", "", "CHANGELOG.md does not begin with a section `## [1.2.0] -"),
        ("CHANGELOG.md", "2026-01-31", TOMORROW, f"CHANGELOG.md dates 1.2.0 on {TOMORROW}, which is to come"),
        ("CHANGELOG.md", "d]\n", "d]\n\n- Newer.\n", "CHANGELOG.md has entries under `## [Unreleased]`"),
        ("CITATION.cff", "\nversion: 1.2.0", "\nversion: 1.1.0", "CITATION.cff names another version than 1.2.0"),
    ],
)
def test_files_that_disagree_are_refused(release: ModuleType, file: str, old: str, new: str, reason: str) -> None:
    path = release.ROOT / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    git(release.ROOT, "commit", "--all", "-m", "Change")
    with pytest.raises(SystemExit, match=re.escape(reason)):
        release.main()


@pytest.mark.parametrize("file", ["CITATION.cff", "new.txt"])
def test_a_checkout_with_changes_is_refused(release: ModuleType, file: str) -> None:
    with (release.ROOT / file).open("a", encoding="utf-8") as changed:
        changed.write("# more\n")
    with pytest.raises(SystemExit, match=rf"not committed:\n.* {re.escape(file)}\n"):
        release.main()


def test_a_version_that_has_a_tag_is_refused(release: ModuleType) -> None:
    git(release.ROOT, "tag", "v1.2.0")
    with pytest.raises(SystemExit, match=r"The tag v1\.2\.0 exists"):
        release.main()


def test_other_bytes_from_the_second_build_are_refused(
    release: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "build", lambda folder: {"a.whl": folder.name})
    with pytest.raises(SystemExit, match="Built twice, the bytes differ"):
        release.main()


def test_a_command_that_fails_ends_the_release_with_what_it_said(release: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"(?s)git no-such-command failed:\n.*no-such-command"):
        release.run("git", "no-such-command")


def test_the_text_of_the_tag_is_the_section_of_the_version(release: ModuleType) -> None:
    assert release.release_notes("1.2.0") == "- New."
