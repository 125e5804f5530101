"""What the package and its extras need: names, oldest versions and licences, as the packages state them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from typing import Any

from . import ROOT, table

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
            rows[name] = {"extra": extra, "needed": needed, **_metadata(name)}
    return {"date": datetime.now(UTC).date().isoformat(), "rows": rows}


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
    text = metadata.get("license_expression") or " / ".join(named) or metadata.get("license", "").strip()
    return {"version": metadata["version"], "licence": text.splitlines()[0][:80] if text else "not stated"}


def block(found: dict[str, Any]) -> str:
    """The table."""
    rows = (
        (name, WHY[row["extra"]], row["needed"], row["version"], row["licence"])
        for name, row in found["rows"].items()
    )
    made = (
        f"`python scripts/make_figures.py --run dependencies` on {found['date']}, from the packages' own metadata"
    )
    return f"{table(('package', 'for', 'needed', 'newest', 'licence'), rows)}\n\nMade by {made}.\n"
