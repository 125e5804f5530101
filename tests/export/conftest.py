"""Runs of digits to export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnbackprop import load


@pytest.fixture
def digits(in_a_folder_of_its_own: None) -> Path:
    """The working folder holds digits.npz: 4,000 training images of MNIST, of which a run tests 1,000."""
    train = load("mnist").train
    np.savez("digits.npz", X=train.inputs[:4000].reshape(-1, 28, 28), y=train.targets[:4000])
    return Path("digits.npz")
