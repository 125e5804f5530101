"""A type checker knows every public name: mypy accepts a right program and finds each error of a wrong one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RIGHT = """
from dataclasses import dataclass
from typing import Any

import numpy as np
import nnbackprop as nb
from nnbackprop.nn.layers import Layer
from nnbackprop.nn.layers.base import LayerParams, Shape
from nnbackprop.training.events import EpochEnd

@dataclass(frozen=True)
class Scale:
    factor: float

    def build(self, rng: Any, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Any, key: nb.RngKey | None) -> tuple[Any, None]:
        return self.factor * x, None

    def backward(
        self, xp: Any, params: LayerParams, cache: None, dy: Any, need_dx: bool
    ) -> tuple[Any | None, LayerParams]:
        return (self.factor * dy if need_dx else None), {}

class PrintLoss(nb.Callback):
    def epoch_end(self, trainer: nb.Trainer, event: EpochEnd) -> None:
        print(event.epoch, event.train.loss, event.validation and event.validation.accuracy)

layer: Layer = Scale(0.5)
data = nb.Dataset(np.zeros((8, 3), np.float32), np.zeros(8, np.int32), classes=("a", "b"))
network = nb.Sequential(nb.Dense(4), nb.ReLU(), nb.Dropout(0.5), layer, nb.Dense(2))
trainer = nb.Trainer(
    network, nb.SoftmaxCrossEntropy(), nb.Adam(), lr=nb.CosineDecay(0.01, decay_steps=10), epochs=2,
    backend=nb.select("numpy"), callbacks=[PrintLoss()],
)
try:
    trainer.fit(data)
except nb.DivergedError as error:
    raise SystemExit(error.exit_code)
labels: np.ndarray[Any, Any] = trainer.predict(data.inputs)
loss: float = trainer.evaluate(data).loss
"""

WRONG = """
import nnbackprop as nb

nb.Dense("three")                # [arg-type]
nb.Transformer()                 # [attr-defined]
nb.Adam(learning_rate=0.1)       # [call-arg]
rate: str = nb.Constant(0.1)(0)  # [assignment]

class PrintLoss(nb.Callback):
    def epoch_end(self, trainer: nb.Trainer, event: str) -> None: ...  # [override]
"""


def test_mypy_accepts_the_right_program_and_finds_each_error_of_the_wrong_one(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "right.py", "wrong.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    errors = re.findall(r"^(right|wrong)\.py:(\d+): error: .*(\[[a-z-]+\])", done.stdout, re.MULTILINE)
    lines = enumerate(WRONG.splitlines(), start=1)
    expected = [("wrong", str(k), line.split("# ")[1]) for k, line in lines if "# " in line]
    assert errors == expected, done.stdout + done.stderr
