"""The share of lines and branches that the tests execute, by room: of what `make coverage` has measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

from . import ROOT, machine, table, today

COMMAND = "`make coverage` and `python scripts/make_figures.py --run coverage`"


def measure() -> dict[str, Any]:
    """Lines and branches of each room, and how many were executed, from the data file in the checkout."""
    command = [sys.executable, "-m", "coverage", "json", "--quiet", "--fail-under=0", "-o", "-"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    rooms: dict[str, Counter[str]] = {}
    for path, file in json.loads(done.stdout)["files"].items():
        first, *rest = path.replace("\\", "/").split("/")
        room = f"{first}/{rest[0]}" if len(rest) > 1 and first == "nnbackprop" else first
        rooms.setdefault(room, Counter()).update(
            {
                "lines": file["summary"]["num_statements"],
                "branches": file["summary"]["num_branches"],
                "executed": file["summary"]["covered_lines"] + file["summary"]["covered_branches"],
            }
        )
    made = {"command": COMMAND, "machine": machine(), "date": today()}
    return {**made, "rooms": {room: dict(rooms[room]) for room in sorted(rooms)}}


def percent(rooms: list[dict[str, int]]) -> float:
    """The share of their lines and branches that was executed."""
    total = sum(room["lines"] + room["branches"] for room in rooms)
    return 100 * sum(room["executed"] for room in rooms) / total


def block(found: dict[str, Any]) -> str:
    """The table."""
    rooms = found["rooms"]
    rows = [
        (f"`{name}`", f"{room['lines']:,}", f"{room['branches']:,}", f"{percent([room]):.1f}%")
        for name, room in rooms.items()
    ]
    lines, branches = (sum(room[kind] for room in rooms.values()) for kind in ("lines", "branches"))
    total = (lines, branches, percent([*rooms.values()]))
    rows.append(("**all**", f"**{total[0]:,}**", f"**{total[1]:,}**", f"**{total[2]:.1f}%**"))
    made = f"{found['command']} on {found['machine']}, {found['date']}"
    return f"{table(('room', 'lines', 'branches', 'executed'), rows)}\n\nMade by {made}.\n"
