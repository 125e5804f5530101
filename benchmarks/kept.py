"""What a benchmark of its own keeps in benchmarks/results: a JSON file for each machine, with its origin."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnbackprop._files import write_atomically

from .machine import Machine


def origin(program: str, argv: Sequence[str] | None, machine: Machine) -> dict[str, str]:
    """The command, of `argv` or what the process was given; the date; the machine."""
    words = [f"python -m {program}", *(sys.argv[1:] if argv is None else argv)]
    date = datetime.now(UTC).date().isoformat()
    return {"command": " ".join(words), "date": date, "machine": str(machine)}


def keep(folder: Path, machine: Machine, found: Mapping[str, Any]) -> None:
    """Write a result to the file of its machine."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / machine.file_name, (json.dumps(found, indent=1) + "\n").encode())


def made_by(found: Mapping[str, Any]) -> str:
    """How a result was made, under its table."""
    return f"Made by `{found['command']}` on {found['date']}: {found['machine']}."
