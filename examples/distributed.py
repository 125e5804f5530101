"""Data-parallel training from the command line: the same bits on one process and on two.

Needs `pip install mpi4py mpich`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

import numpy as np

import nnbackprop as nb

TRAIN = [sys.executable, "-m", "nnbackprop", "train", "iris"]
FLAGS = ["--epochs", "5", "--threads", "1", "--progress", "off"]

with tempfile.TemporaryDirectory() as folder:
    for name, flags in {"one": ["--shards", "2"], "two": ["--processes", "2"]}.items():
        subprocess.run([*TRAIN, *FLAGS, "--runs-dir", folder, "--name", name, *flags], check=True)
    one, two = (nb.open(f"{folder}/{name}") for name in ("one", "two"))
    pairs = [(a[name], b[name]) for a, b in zip(one.params, two.params, strict=True) for name in a]
    print(f"{len(pairs)} arrays, equal to the bit: {all(np.array_equal(a, b) for a, b in pairs)}")
