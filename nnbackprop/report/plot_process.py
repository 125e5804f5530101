"""The plots of a finished run, drawn by a process of their own from the arrays it is sent.

matplotlib takes 70 MB and a quarter of a second to import. The run's process needs neither, nor does it end where
drawing ends by a crash; it makes its predictions while matplotlib is imported.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbackprop._processes import python

from .prediction_metrics import confidence_of

if TYPE_CHECKING:
    from nnbackprop.data.dataset import Dataset
    from nnbackprop.runs.explanation import Explanation
    from nnbackprop.runs.train import Run
    from nnbackprop.training.trainer import Trainer

MAX_MISTAKES = 16
N_EXTREMES = 8  # predictions that are shown as the surest, and as the least sure
COMMAND = "import gc; gc.disable(); from nnbackprop.report.plot_process import main; main()"
"""What the process runs. Garbage collection would be a tenth of its short life."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """m images, with their true and their predicted classes, and the probability of the latter."""

    images: np.ndarray  # (m, rows, columns), or (m, rows, columns, 3)
    targets: np.ndarray  # (m,)
    predicted: np.ndarray  # (m,)
    confidence: np.ndarray  # (m,)

    @classmethod
    def extremes_of(cls, data: Dataset, predicted: np.ndarray, confidence: np.ndarray) -> Predictions:
        """The surest of the n images of `data`, the surest first, then the least sure, the least sure last."""
        order = np.argsort(-confidence, kind="stable")
        if len(order) > 2 * N_EXTREMES:
            order = np.concatenate([order[:N_EXTREMES], order[-N_EXTREMES:]])
        return cls(*_arrays(data, predicted, confidence, order))


@dataclass(frozen=True, eq=False)
class Mistakes(Predictions):
    """The misclassified samples of the greatest confidence, that first; `wrong` of `samples` are misclassified."""

    wrong: int
    samples: int

    @classmethod
    def of(cls, data: Dataset, predicted: np.ndarray, probabilities: np.ndarray) -> Mistakes:
        """Of images with `predicted` classes (n,) and `probabilities` (n, k), or (n, 1) of class 1."""
        confidence = confidence_of(predicted, probabilities)
        rows = _misclassified(data, predicted, confidence)
        arrays = _arrays(data, predicted, confidence, rows[:MAX_MISTAKES])
        return cls(*arrays, len(rows), len(data.targets))


def _misclassified(data: Dataset, predicted: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The rows of the misclassified samples, the most confident first."""
    rows = np.flatnonzero(predicted != data.targets)
    return rows[np.argsort(-confidence[rows], kind="stable")]


def _arrays(
    data: Dataset, predicted: np.ndarray, confidence: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    images = np.reshape(data.inputs[rows], (len(rows), *(data.image_shape or ())))
    return images, data.targets[rows], predicted[rows], confidence[rows]


@dataclass(frozen=True, eq=False)
class PlotData:
    """What a run's plots are made of, on the host, of one part of the data.

    rows are those of metrics.jsonl, first_layer what `first_layer_images` gives. Targets and predictions are
    classes (n,), or numbers (n, k) named by `target_names`; of several labels at once there are none. Without
    images there are no mistakes, nor without probabilities the surest and the least sure. The explanation is of
    the sample that `most_wrong` names.
    """

    rows: Sequence[dict[str, Any]]
    classes: tuple[str, ...]
    first_layer: np.ndarray | None
    targets: np.ndarray | None = None
    predicted: np.ndarray | None = None
    confidence: np.ndarray | None = None  # (n,) probability of the predicted class, where the loss gives any
    target_names: tuple[str, ...] = ()
    mistakes: Mistakes | None = None
    extremes: Predictions | None = None
    explanation: Explanation | None = None

    @classmethod
    def of(
        cls,
        rows: Sequence[dict[str, Any]],
        first_layer: np.ndarray | None,
        data: Dataset,
        predicted: np.ndarray,
        probabilities: np.ndarray,
        calibrated: bool = True,
    ) -> PlotData:
        """The plots' data, given predicted classes (n,) and probabilities (n, k) of the n samples of `data`.

        Without `calibrated` the latter are outputs that are no probabilities.
        """
        if data.task == "regression":
            names = data.target_names or tuple(f"output {k}" for k in range(predicted.shape[1]))
            return cls(rows, (), first_layer, data.targets, predicted, target_names=names)
        if not data.classes:
            return cls(rows, (), first_layer)
        mistakes = Mistakes.of(data, predicted, probabilities) if data.image_shape else None
        found = cls(rows, data.classes, first_layer, data.targets, predicted, mistakes=mistakes)
        if not calibrated:
            return found
        confidence = confidence_of(predicted, probabilities)
        extremes = Predictions.extremes_of(data, predicted, confidence) if data.image_shape else None
        return replace(found, confidence=confidence, extremes=extremes)

    def to_bytes(self) -> bytes:
        """A line of JSON, then the arrays as `.npy` files one after the other."""
        apart = ("mistakes", "extremes", "explanation")
        own = {name: value for name, value in vars(self).items() if name not in apart}
        explained = {**vars(self.explanation)} if self.explanation else {}
        outputs = dict(explained.pop("activations", ()))
        images = [vars(found) if found else {} for found in (self.mistakes, self.extremes)]
        stream = io.BytesIO()
        header: list[dict[str, Any]] = []
        for part in (own, *images, explained, outputs):
            arrays = {name: value for name, value in part.items() if isinstance(value, np.ndarray)}
            rest = {name: value for name, value in part.items() if name not in arrays}
            header.append({"arrays": list(arrays), "rest": rest})
            for value in arrays.values():
                np.lib.format.write_array(stream, value, allow_pickle=False)
        return json.dumps(header).encode() + b"\n" + stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> PlotData:
        """What `to_bytes` wrote."""
        stream = io.BytesIO(content)
        read = partial(np.lib.format.read_array, stream, allow_pickle=False)
        own, mistakes, extremes, explained, outputs = (
            {**part["rest"], **{name: read() for name in part["arrays"]}} for part in json.loads(stream.readline())
        )
        if explained:
            from nnbackprop.runs.explanation import Explanation

            own["explanation"] = Explanation(**explained, activations=tuple(outputs.items()))
        return cls(
            **own,
            mistakes=Mistakes(**mistakes) if mistakes else None,
            extremes=Predictions(**extremes) if extremes else None,
        )

    @classmethod
    def of_run(cls, run: Run) -> PlotData:
        """Of a run's test part, or else its training part."""
        from .first_layer import first_layer_images

        trainer, data = run.trainer, run.data.test or run.data.train
        first_layer = first_layer_images(trainer.network, trainer.params, trainer.backend, data.image_shape)
        probabilities = trainer.predict_proba_or_values(data.inputs)
        predicted = trainer.evaluator.predicted_targets(probabilities)
        calibrated = trainer.loss.gives_probabilities
        found = cls.of(run.run_dir.read_metrics(), first_layer, data, predicted, probabilities, calibrated)
        if found.mistakes is None:
            return found
        return replace(found, explanation=_explain(trainer, data, most_wrong(data, predicted, probabilities)))


def most_wrong(data: Dataset, predicted: np.ndarray, probabilities: np.ndarray) -> int:
    """The row of the most confident mistake; where nothing is misclassified, of the least sure sample."""
    confidence = confidence_of(predicted, probabilities)
    rows = _misclassified(data, predicted, confidence)
    return int(rows[0] if len(rows) else np.argmin(confidence))


def _explain(trainer: Trainer, data: Dataset, row: int) -> Explanation:
    """Of one sample, on NumPy: JAX and CuPy would compile each operation for it, which takes seconds."""
    from backends import select
    from nnbackprop.runs.explanation import explain_sample
    from nnbackprop.runs.saved_model import SavedModel

    model = SavedModel(
        evaluator=replace(trainer.evaluator, backend=select("numpy")),
        params=trainer.host_params(),
        sample_shape=trainer.sample_shape,
        classes=data.classes,
        source=data.source,
        image_shape=data.image_shape,
    )
    return explain_sample(model, data, row)


def draw_run(run: Run) -> list[str]:
    """Write the plots of a finished run; a message for each that failed: no plot fails a finished run."""
    try:
        with subprocess.Popen(
            **python(COMMAND, str(run.run_dir.plots_dir)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            data = PlotData.of_run(run)
            output, errors = process.communicate(data.to_bytes())
    except (MemoryError, OSError) as error:  # n samples of 10,000 classes; no process can be started
        return [f"The plots could not be drawn: {error}"]
    if process.returncode == 0:
        return list(json.loads(output))
    return [f"The plots could not be drawn: their process {_ending(process.returncode, errors)}."]


def _ending(status: int, errors: bytes) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    return f"ended with status {status}: {last[0]}"


def main() -> None:
    """Draw the PlotData on the standard input into the folder sys.argv[1]; print what failed as JSON."""
    from .plots import draw_all

    if data := sys.stdin.buffer.read():  # nothing where the run gave up
        print(json.dumps(draw_all(Path(sys.argv[1]), PlotData.from_bytes(data))), flush=True)
    os._exit(0)  # to free what matplotlib made would take a tenth of a second
