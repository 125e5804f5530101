"""A marimo notebook, executed: rows of text for progress, tables and images for objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
def _():
    import numpy as np
    import nnbackprop as nb

    x = np.random.default_rng(0).standard_normal((60, 3))
    data = nb.Dataset(x, (x[:, 0] > 0).astype(int))
    network, loss = nb.Sequential(nb.Dense(4), nb.ReLU(), nb.Dense(2)), nb.SoftmaxCrossEntropy()
    options = {"epochs": 3, "backend": nb.select("numpy"), "callbacks": [nb.progress("rich")]}
    trainer = nb.Trainer(network, loss, nb.Adam(), 0.01, **options)
    history = trainer.fit(data)
    return data, history, nb, network


@app.cell
def _(network):
    network.summary((3,))


@app.cell
def _(data):
    data


@app.cell
def _(history, nb):
    nb.plot(history)
"""


def test_a_marimo_notebook_shows_rows_tables_and_images(tmp_path: Path) -> None:
    pytest.importorskip("marimo", reason="marimo is not installed")
    (tmp_path / "notebook.py").write_text(NOTEBOOK, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-m", "marimo", "export", "session", "notebook.py"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    training, summary, data, plot = json.loads(
        (tmp_path / "__marimo__" / "session" / "notebook.py.json").read_text(encoding="utf-8")
    )["cells"]
    text = "".join(stream["text"] for stream in training["console"])
    assert "\x1b" not in text
    assert "\r" not in text
    epochs = [line.split()[1] for line in text.splitlines() if line.startswith("epoch ")]
    assert epochs == ["1/3", "2/3", "3/3"]
    assert shown(summary)["text/html"].count("<tr>") == 5  # heads, three layers, their total
    assert "60" in shown(data)["text/html"]
    assert "image/png" in json.dumps(shown(plot))


def shown(cell: dict[str, Any]) -> dict[str, str]:
    """What a cell's last expression is shown as, by type."""
    (output,) = cell["outputs"]
    return output["data"]
