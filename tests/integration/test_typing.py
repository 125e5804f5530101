"""mypy and Pyright know every public name: they accept a right program and find each error of a wrong one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
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

xp = trainer.backend.xp
params = network.init((3,))
y, caches = network.forward(xp, params, xp.zeros((8, 3)))
J, dy = nb.SoftmaxCrossEntropy()(xp, y, xp.zeros(8))
dx, gradients = network.backward(xp, params, caches, dy, need_dx=True)
"""

WRONG = """
import nnbackprop as nb

nb.Dense("three")                # arg-type, reportArgumentType
nb.Transformer()                 # attr-defined, reportUnknownMemberType, reportAttributeAccessIssue
nb.Adam(learning_rate=0.1)       # call-arg, reportCallIssue
rate: str = nb.Constant(0.1)(0)  # assignment, reportAssignmentType

class PrintLoss(nb.Callback):
    def epoch_end(self, trainer: nb.Trainer, event: str) -> None: ...  # override, reportIncompatibleMethodOverride
"""

RULES = {k: line.split("# ")[1].split(", ") for k, line in enumerate(WRONG.splitlines(), start=1) if "# " in line}
"""By line of the wrong program: mypy's name of its error, and Pyright's."""


MYPY = """
[mypy]
strict = True
[mypy-jax.*,matplotlib.*,mlx.*,numba.*,onnx.*,polars.*,sklearn.*,torch.*]
follow_imports = skip
"""
"""What the programs say nothing of is left out: it takes mypy seven times as long."""


def check_with(tool: str, folder: Path, *words: str) -> str:
    """What a type checker prints of the two programs; a skip where it is not installed."""
    if find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    (folder / "right.py").write_text(RIGHT, encoding="utf-8")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", tool, *words, "right.py", "wrong.py"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_mypy_accepts_the_right_program_and_finds_each_error_of_the_wrong_one(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(MYPY, encoding="utf-8")
    output = check_with("mypy", tmp_path)
    errors = re.findall(r"^(right|wrong)\.py:(\d+): error: .*\[([a-z-]+)\]", output, re.MULTILINE)
    assert errors == [("wrong", str(k), names[0]) for k, names in RULES.items()], output


def test_pyright_accepts_the_right_program_and_finds_each_error_of_the_wrong_one(tmp_path: Path) -> None:
    strict = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(strict), encoding="utf-8")
    output = check_with("basedpyright", tmp_path, "--pythonpath", sys.executable, "--outputjson")
    errors = [
        (Path(found["file"]).stem, found["range"]["start"]["line"] + 1, found["rule"])
        for found in json.loads(output)["generalDiagnostics"]
    ]
    assert errors == [("wrong", k, name) for k, names in RULES.items() for name in names[1:]], output
