"""Check and measure everything on a GPU: at most eight minutes, with NumPy, CuPy and array-api-compat installed.

python scripts/gpu_check.py                    and keep the result in benchmarks/results, as JSON and Markdown
python scripts/gpu_check.py --backend numpy    a rehearsal on a CPU, shortened; nothing is kept

What else is installed is measured beside it, and what is missing is named. Exit status 1 if a part failed.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, which need not be installed
from benchmarks.gpu.page import found, page, spread
from benchmarks.gpu.results import Check, Part, path_of
from benchmarks.gpu.runner import Runner
from benchmarks.gpu.setting import Asked
from nnbackprop._files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Run all parts, tell of each as it ends, and keep what a GPU did."""
    asked = arguments()
    print(f"gpu_check on the backend {asked.backend}\n", flush=True)
    parts = Runner(asked, tell).run()
    machine = {figure.what: str(figure.value) for figure in parts[0].figures}
    command = " ".join(["python", "scripts/gpu_check.py", *sys.argv[1:]])
    check = Check(command, datetime.now(UTC).date().isoformat(), machine, parts)
    print(f"\n{page(check)}")
    if check.gpu:
        keep(check)
    else:
        print("Nothing is kept: no part of it ran on a GPU.")
    return 0 if check.passed else 1


def arguments() -> Asked:
    """The command's words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="cupy", help="numpy, cupy, torch, jax or strict (default: cupy)")
    parser.add_argument("--device", help="cuda:1, say (default: the backend's first)")
    parser.add_argument("--data", default="mnist", help="a folder with MNIST (default: the package's own)")
    words = parser.parse_args()
    return Asked(words.backend, words.device, words.data)


def tell(part: Part) -> None:
    """A line a part, and one a figure."""
    reason = f": {part.reason}" if part.reason else ""
    print(f"{part.status:<8} {part.title} ({part.seconds:.1f} s){reason}")
    for figure in part.figures:
        dtype = f" [{figure.dtype}]" if figure.dtype else ""
        print(f"           {figure.what}{dtype}: {found(figure)} {figure.unit} {spread(figure)}".rstrip())
    sys.stdout.flush()


def keep(check: Check) -> None:
    """Both files, each whole or not at all."""
    path = path_of(check, RESULTS)
    write_atomically(path, check.to_json().encode())
    write_atomically(path.with_suffix(".md"), page(check).encode())
    print(f"Kept in {path.relative_to(ROOT)} and {path.with_suffix('.md').name}.")


if __name__ == "__main__":
    sys.exit(main())
