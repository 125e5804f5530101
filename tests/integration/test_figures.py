"""What makes the figures of the pages: one thread where they say so and nowhere else, and what a time includes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnbackprop._system_info import THREAD_VARIABLES

SCRIPTS = Path(__file__).parents[2] / "scripts"
PROGRAM = """
import os
import make_figures
from threadpoolctl import threadpool_info
from figures import one_thread
from nnbackprop._system_info import THREAD_VARIABLES

def given():
    return {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}

print(given())
with one_thread():
    print(given() == dict.fromkeys(THREAD_VARIABLES, "1"), max(pool["num_threads"] for pool in threadpool_info()))
print(given())
"""


def test_threads_are_limited_where_figures_are_of_one_thread_and_nowhere_else() -> None:
    """Recipes are trained in processes of their own, as a person trains them."""
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=SCRIPTS,
        env=environment | {"OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    own = "{'OPENBLAS_NUM_THREADS': '2'}"
    assert done.stdout.splitlines() == [own, "True 1", own]


def test_the_table_of_estimators_says_what_its_least_seconds_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    estimators = importlib.import_module("figures.estimators")
    cell = {"seconds": [1.35, 0.36, 0.37], "accuracy": [0.97, 0.98, 0.99]}
    rows = {"digits": dict.fromkeys(estimators.NAMES, cell)}
    text = estimators.block(
        {"rows": rows, "packages": {}, "threads": "one thread", "machine": "M", "date": "2030-01-31"}
    )
    assert "| NNClassifier, numpy | 0.36 | 98.00% |" in text
    assert "what the first one imports is not: on NumPy, with numba, that one took 1.35 s." in text
