"""Commands: `prepare` an environment so that CuPy in it is on the emulated device; `nodes` of a captured step."""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

from . import build, kernels, nodes

ROOT = Path(__file__).resolve().parents[3]


def prepare() -> None:
    """Build the stand-ins, and let every Python of this environment load them before CuPy."""
    build.libraries()
    kernels.precompiled()
    lines = f"{ROOT}\nimport tests.support.cuda_emulator.on_import\n"
    Path(sysconfig.get_path("purelib"), "cuda_emulator.pth").write_text(lines, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.cuda_emulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="set up this Python environment")
    counted = commands.add_parser("nodes", help="count the nodes of a captured training step of W1, by kernel")
    counted.add_argument("--edges", action="store_true", help="list each node with those that it comes after")
    counted.add_argument("--json", type=Path, metavar="FILE", help="write the count, such as docs/nodes.json")
    words = parser.parse_args()
    if words.command == "prepare":
        prepare()
    elif words.json:
        nodes.keep(words.json, f"python -m tests.support.cuda_emulator nodes --json {words.json}")
    else:
        nodes.show(words.edges)


if __name__ == "__main__":
    main()
