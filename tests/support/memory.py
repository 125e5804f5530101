"""How much memory a call takes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

LOAD = """
import resource, sys
from nnbackprop.data import load
from nnbackprop.errors import DataError
load(sys.argv[1], split=False)
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(load(sys.argv[2], split=False).train.inputs.shape)
except DataError as error:
    print(str(error)[-200:])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""


def peak_of(call: Callable[[], object]) -> int:
    """The most bytes that `call` held beside what was there before it, as Python counts them."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def load_in_subprocess(small: Path, large: Path, **environment: str) -> tuple[str, int]:
    """What `load(large)` gives, a shape or an error, and the bytes it takes beyond `load(small)`, on POSIX."""
    command = [sys.executable, "-c", LOAD, small, large]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    output, growth = done.stdout.strip().rsplit("\n", 1)
    return output, int(growth)
