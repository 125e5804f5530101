"""What an index of packages is told of this one: pyproject.toml, and the metadata that a build makes of it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT_OF_LICENCE = {"MIT": r"MIT License", "CC-BY-SA-3.0": r"creativecommons\.org/licenses/by-sa/3\.0"}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_a_build_says_what_the_project_says(config: dict[str, Any]) -> None:
    project, built = config["project"], metadata("nnbackprop")
    assert built["Version"] == project["version"]
    assert built["Summary"] == project["description"]
    assert built["Requires-Python"] == project["requires-python"]
    assert built["License-Expression"] == project["license"]
    assert built.get_all("License-File") == project["license-files"]
    assert sorted(built["Keywords"].split(",")) == sorted(project["keywords"])
    assert built.get_all("Classifier") == project["classifiers"]
    assert built["Description-Content-Type"] == "text/markdown"
    assert built.get_payload().startswith("# nnbackprop\n")  # README.md


def test_the_oldest_python_is_the_same_everywhere(config: dict[str, Any]) -> None:
    versions = [
        text.rpartition(" :: ")[2]
        for text in config["project"]["classifiers"]
        if re.search(r"Python :: 3\.\d", text)
    ]
    oldest = versions[0]
    assert versions == [f"3.{minor}" for minor in range(int(oldest[2:]), int(oldest[2:]) + len(versions))]
    assert config["project"]["requires-python"] == f">={oldest}"
    assert config["tool"]["mypy"]["python_version"] == oldest
    assert config["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    matrix = re.search(r"python: \[(.*)\]", (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert matrix is not None
    assert re.findall(r"[\d.]+", matrix[1]) == versions


def test_each_licence_of_the_expression_is_in_a_file_and_in_no_classifier(config: dict[str, Any]) -> None:
    project = config["project"]
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in project["license-files"]]
    named = project["license"].split(" AND ")
    found = [{name for name in named if re.search(TEXT_OF_LICENCE[name], text)} for text in texts]
    assert all(found)
    assert set.union(*found) == set(named)
    assert [text for text in project["classifiers"] if text.startswith("License ::")] == []


def test_every_licence_that_the_wheel_ships_is_named(config: dict[str, Any]) -> None:
    packages = config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    shipped = {
        path.relative_to(ROOT).as_posix() for package in packages for path in (ROOT / package).rglob("LICENSE*")
    }
    assert shipped | {"LICENSE"} == set(config["project"]["license-files"])


def test_the_citation_is_of_this_version_and_license(config: dict[str, Any]) -> None:
    project, text = config["project"], (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = dict(re.findall(r"^([\w-]+): (.+)$", text, re.M))
    assert (cited["title"], cited["version"]) == (project["name"], project["version"])
    assert cited["license"] in project["license"].split(" AND ")
    assert set(cited["keywords"].strip("[]").split(", ")) <= set(project["keywords"])
