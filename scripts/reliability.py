"""Run the torture at full size and keep its figures: an hour or more on two cores.

python scripts/reliability.py    writes the figures of docs/reliability.md, unless something did not hold
"""

from __future__ import annotations

import subprocess
import sys

from pages import ROOT, write


def main() -> int:
    """Show the table as it grows; write it once all of it held."""
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", "tests.torture"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode == 0:
        table = f"```\n{''.join(lines)}```\n"
        write({"torture": f"{table}\nMade by `python scripts/reliability.py`, on that machine and day.\n"})
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
