"""The readers before millions of files that coverage guides: `python -m tests.stress.fuzz --inputs 1000000`.

atheris (libFuzzer) changes the files; each reader has a process of its own, so that a crash is seen by its parent.
A file that is neither read nor refused in two seconds, or that ends the process, or takes its memory past four
times the limit, is kept in tests/data/regressions/found and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOUND = ROOT / "tests" / "data" / "regressions" / "found"
LIMIT = 16 * 2**20  # bytes a file may take here
ITSELF = 200  # MB of the process before it reads anything, at most
NAMES = (
    *("idx", "csv", "npz", "npy", "npy-mapped", "mat"),
    *("image", "rows", "config", "metrics", "summary", "checkpoint"),
)
LARGEST = 4096


def main() -> int:
    """Fuzz the readers named, or all; the number of readers with a fault is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(NAMES)}; all of them if none is named")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="to try on each reader")
    parser.add_argument("--seconds", type=int, default=0, help="at most, for each reader; 0 for no limit")
    words = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit("atheris is needed to guide the inputs: python -m pip install atheris (Linux and macOS)")
    return sum(not _fuzz_reader(name, words.inputs, words.seconds) for name in words.readers or NAMES)


def _fuzz_reader(name: str, inputs: int, seconds: int) -> bool:
    """Run one reader's process and print its line."""
    FOUND.mkdir(parents=True, exist_ok=True)
    flags = [f"-runs={inputs}", f"-max_total_time={seconds}", "-timeout=2", f"-max_len={LARGEST}"]
    flags += [f"-rss_limit_mb={ITSELF + 4 * LIMIT // 2**20}", f"-artifact_prefix={FOUND}/{name}-"]
    environment = {"NNBACKPROP_MAX_BYTES": str(LIMIT), "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.stress.fuzz_one", name, folder, *flags, "-print_final_stats=1"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, **pipes)
    figures = dict(re.findall(r"stat::(\w+):\s*(\d+)", done.stdout))
    tried, memory = int(figures.get("number_of_executed_units", 0)), figures.get("peak_rss_mb", "?")
    fault = "none at fault" if done.returncode == 0 else f"FAULT\n{done.stdout[-3000:]}"
    print(f"{name:<12} {tried:>10,} inputs, at most {memory} MB: {fault}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
