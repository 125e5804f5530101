"""A static page for a teacher's web site: "step through", and "draw" with a trained network's weights."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop.data.digit import SIDE
from nnbackprop.errors import NnbackpropError, UsageError
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.runs.run_table import list_runs
from nnbackprop.runs.trained_model import TrainedModel

from .errors import missing
from .exported_layers import exported_layers
from .lab import Lab
from .messages import MAX_STEP_SAMPLES, Step, encode
from .page_files import page_files
from .small_networks import ARCHITECTURES
from .stepping import step

LIVE, STATIC = 'data-mode="live"', 'data-mode="static"'


def export(runs_dir: Path, run: str | None, folder: Path, on_message: Callable[[str], None]) -> None:
    """Write the page to a new or an empty folder, with the weights of `run`, or of the last run that it computes.

    `on_message` is told why there is no network to draw for. UsageError where the folder holds something, or where
    the run that was named is none of digits, or has a layer that the page does not compute.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not empty: name a new folder for the page.")
    content = {
        "options": Lab(runs_dir).options(),
        "step": _first_steps(),
        "draw": _network(runs_dir, run, on_message),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        page = Path(place) / "page"
        for name, path in page_files().items():
            written = page / (name if name == "index.html" else f"static/{name}")
            written.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, written)
        index = page / "index.html"
        index.write_text(index.read_text(encoding="utf-8").replace(LIVE, STATIC, 1), encoding="utf-8")
        (page / "lab.json").write_bytes(encode(content))
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
        page.rename(folder)


def _first_steps() -> dict[str, Any]:
    """The first step of each small network, on as many samples as it may have."""
    found = {}
    for name, architecture in ARCHITECTURES.items():
        count = min(len(architecture.samples().labels), MAX_STEP_SAMPLES)
        found[name] = step(Step(name, samples=tuple(range(count))))
    return found


def _network(runs_dir: Path, run: str | None, on_message: Callable[[str], None]) -> dict[str, Any] | None:
    """The weights for "draw"; None where there are none, which is said."""
    lab = Lab(runs_dir, run)
    if (name := lab.session.state.run) is not None:
        return network(lab.models.open(name).trained)
    problems: list[NnbackpropError] = []
    for info in reversed(list_runs(runs_dir).runs):
        try:
            return network(lab.models.open(info.name).trained)
        except NnbackpropError as error:
            problems.append(error)
    on_message(f"The page has no network to draw for. {[*problems, missing('no-image-network')][0]}")
    return None


def network(trained: TrainedModel) -> dict[str, Any]:
    """A network as the page computes it; UsageError where it has a layer that the page does not know.

    A pixel v of 0..255 is the input (v - shift) factor.
    """
    objective = trained.evaluator.objective
    digits = trained.mnist_like and trained.image_shape == (SIDE, SIDE)
    if not (digits and isinstance(objective.loss, SoftmaxCrossEntropy)):
        raise UsageError(
            f"The page prepares drawings as MNIST's digits of {SIDE} x {SIDE} pixels, white on black, and takes "
            f"the softmax of the outputs. {trained.run_dir.path} was trained on {trained.source}, which are no "
            "such digits, or with another loss than softmax-cross-entropy: train the recipe mnist."
        )
    layers = exported_layers(trained)
    white = 1.0 if trained.max_input > 2 else 1 / 255  # the value of a pixel 1 in the data
    scale, shift = trained.evaluator.scaling.scale, trained.evaluator.scaling.shift
    widths = [trained.n_features, *(np.ravel(layer["out"])[-1] for layer in layers if "W" in layer)]
    return {
        "title": "-".join(map(str, widths)),
        "classes": trained.classes,
        "image_shape": trained.image_shape,
        "factor": scale * white,
        "shift": -shift / (scale * white),
        "layers": layers,
    }
