"""A network with dropout trains alike on every library: masks to the bit, weights to 1e-12 in a hundred steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends import Backend, Tree, select
from nnbackprop.random import Draw
from nnbackprop.verify.parity import TOLERANCE, differences, relative, trajectory

SCRIPT = Path(__file__).parents[1] / "scripts" / "parity.py"


@pytest.fixture(scope="module")
def reference() -> list[Tree]:
    """A hundred steps on NumPy."""
    return list(trajectory(select("numpy"), 100))


def test_a_hundred_steps_stay_within_rounding(backend: Backend, reference: list[Tree]) -> None:
    if backend.name == "numpy" and type(backend).__name__ == "ReadonlyNumpy":
        pytest.skip("parameters are given away to the optimizer, which may write to them")
    rows = differences(reference, list(trajectory(backend, 100)))
    assert [row.step for row in rows] == list(range(1, 101))
    assert max(row.largest for row in rows) <= TOLERANCE


def test_the_masks_of_a_hundred_steps_are_equal_to_the_bit(backend: Backend) -> None:
    numpy = select("numpy")
    for step in range(100):
        ours, theirs = (
            b.to_numpy(
                Draw(3, b.asarray(np.array(step, np.int32)), layer=2).mask(b.xp, (32, 17), 0.4, b.xp.float64)
            )
            for b in (backend, numpy)
        )
        assert np.array_equal(ours, theirs)


def test_one_mask_of_another_seed_is_far_past_the_tolerance(reference: list[Tree]) -> None:
    """What the comparison would say if a single library drew other masks: it is no check that cannot fail."""
    rows = differences(reference[:1], list(trajectory(select("numpy"), 1, seed=1)))
    assert rows[0].gradients > 1e-2


def test_relative_difference_is_by_norm() -> None:
    assert relative(np.array([3.0, 4.0]), np.array([3.0, 0.0])) == pytest.approx(4 / 3)
    assert relative(np.zeros(2), np.zeros(2)) == 0.0
    assert relative(np.ones(2), np.zeros(2)) == float("inf")
    assert relative(np.array([np.nan]), np.ones(1)) == float("inf")


def script(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)


def test_the_script_prints_a_row_a_step_and_passes() -> None:
    done = script("--backends", "numpy,strict", "--steps", "5")
    assert done.returncode == 0
    cells = [line.strip("│ ").split() for line in done.stdout.splitlines()]
    assert [row[0] for row in cells if row and row[0].isdigit()] == list("12345")
    assert "strict: largest" in done.stdout


def test_the_script_fails_past_the_tolerance() -> None:
    pytest.importorskip("torch", reason="torch is not installed, and no other library differs from NumPy in a bit")
    done = script("--backends", "numpy,torch", "--steps", "20", "--tolerance", "0")
    assert done.returncode == 1
    assert "PAST" in done.stdout


@pytest.mark.parametrize("words", [["--backends", "numpy"], ["--steps", "0"], ["--seed", "-1"]])
def test_the_script_refuses_to_compare_nothing(words: list[str]) -> None:
    done = script(*words)
    assert done.returncode == 2
    assert "two libraries at least" in done.stderr


def test_the_script_names_a_library_that_is_none() -> None:
    done = script("--backends", "numpy,tensorflow")
    assert done.returncode == 2
    assert "tensorflow" in done.stderr
    assert "Traceback" not in done.stderr
