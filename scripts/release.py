"""The checklist of a release: `make release`. It builds and checks; it publishes and tags nothing.

The version of pyproject.toml needs a dated section in CHANGELOG.md, which becomes the text of the tag. From a
clean checkout, wheel and source archive are built twice and must have the same bytes; both are installed in empty
environments, and the wheel trains there. Exit status 1 where something does not hold.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path) -> str:
    """The output of a command in the checkout; SystemExit where it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def release_notes(version: str) -> str:
    """The section of a version in the changelog; SystemExit unless it is the first, dated, not in the future."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if re.search(r"^## \[Unreleased\]\n+(?!## )\S", text, re.M):
        raise SystemExit(
            "CHANGELOG.md has entries under `## [Unreleased]`, which the release has too: raise the version in "
            "pyproject.toml and CITATION.cff, and rename the section to it, with today's date."
        )
    found = re.search(r"^## \[(?!Unreleased\])(.+?)\] - (\d{4}-\d\d-\d\d)\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if found is None or found[1] != version or not found[3].strip():
        raise SystemExit(
            f"CHANGELOG.md does not begin with a section `## [{version}] - YYYY-MM-DD` that has entries, and "
            f"pyproject.toml names {version}: rename `## [Unreleased]`, or change the version."
        )
    if date.fromisoformat(found[2]) > date.today():
        raise SystemExit(f"CHANGELOG.md dates {version} on {found[2]}, which is to come: write today's date.")
    return found[3].strip()


def check_checkout(version: str) -> None:
    """SystemExit unless everything is committed, the version is new and the citation names it."""
    if changed := run("git", "status", "--porcelain"):
        raise SystemExit(
            f"The checkout has changes that are not committed:\n{changed}Commit them, or take them back."
        )
    if run("git", "tag", "--list", f"v{version}"):
        raise SystemExit(f"The tag v{version} exists: raise the version in pyproject.toml.")
    if f"\nversion: {version}\n" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8"):
        raise SystemExit(f"CITATION.cff names another version than {version}: write it there too.")


def build(folder: Path) -> dict[str, str]:
    """SHA-256 of what is built, by file name."""
    run(sys.executable, "-m", "build", "--outdir", folder)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def check_source_archive(archive: Path, folder: Path) -> None:
    """Install it where nothing else is, and ask for the version."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", archive)
    run(python, "-m", "nnbackprop", "--version")


def main() -> None:
    """Check, build, and print what is left to do."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version: str = tomllib.load(file)["project"]["version"]
    notes = release_notes(version)
    check_checkout(version)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (build(Path(folder, name)) for name in ("first", "second"))
        if first != second:
            raise SystemExit(f"Built twice, the bytes differ: {first} and {second}.")
        (archive,) = Path(folder, "first").glob("*.tar.gz")
        check_source_archive(archive, Path(folder, "venv"))
        print(run("bash", ROOT / "scripts" / "check_wheel.sh").splitlines()[-1])
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        shutil.copytree(Path(folder, "first"), ROOT / "dist")
    for name, digest in first.items():
        print(f"dist/{name}  sha256 {digest}")
    print(f"\nThe text of the tag v{version}:\n\n{notes}\n")
    left = (f"git tag --annotate v{version}", f"git push origin v{version}", "python -m twine upload dist/*")
    print("Left to do:", "bash .ci/run, which must pass", *left, sep="\n  ")
    print(
        "With a public address: first write it as [project.urls] in pyproject.toml and as repository-code in "
        "CITATION.cff, and before README.md's relative links, which a package index cannot follow."
    )


if __name__ == "__main__":
    main()
