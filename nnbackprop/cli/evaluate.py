"""Commands that use a trained network: evaluate, predict, explain, attack."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.markup import escape

from backends import select

from .flags import BackendName, DeviceName, Run, RunsDir, err, out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from nnbackprop.data.dataset import Dataset
    from nnbackprop.runs.trained_model import TrainedModel

TopK = Annotated[
    int | None,
    Parameter(help="Also the share of samples whose class is among the K likeliest; 5 beyond 10 classes."),
]
AsIs = Annotated[
    bool, Parameter(help="Do not make a picture of a digit like MNIST's; only resize it.", negative="")
]
DataName = Annotated[str | None, Parameter(help="A data set instead of the run's own test part.")]


@Parameter(name="*")
@dataclass(frozen=True)
class RunOptions:
    """Where a run is kept and on which backend its network is used."""

    backend: BackendName = "auto"
    device: DeviceName = None
    runs_dir: RunsDir = Path("runs")

    def open(self, run: str) -> TrainedModel:
        """A run's network; which backend was chosen and why goes to the standard error stream."""
        from nnbackprop.runs.trained_model import TrainedModel

        chosen = select(self.backend, self.device)
        trained = TrainedModel.open(run, self.runs_dir, chosen)
        if self.backend == "auto":
            err.print(chosen.selection_reason, style="dim")
        return trained


def evaluate(
    run: Annotated[str, Parameter(help="A run folder, its name, or `last`; or an exported .onnx file.")],
    /,
    *,
    data: DataName = None,
    top_k: TopK = None,
    augment: Annotated[
        int | None,
        Parameter(help="Also the accuracy of mean probabilities over so many random copies, as in its training."),
    ] = None,
    options: RunOptions = RunOptions(),
) -> int:
    """Evaluate a trained network, dropout off: loss and metrics, and those of each class, label or target.

    An ONNX file is run by onnxruntime, on the data that --data names; it has no loss.
    """
    if run.endswith(".onnx"):
        return _evaluate_onnx(Path(run), data, top_k, augment, options)
    from nnbackprop.nn.metrics import accuracy
    from nnbackprop.report.evaluation import evaluation_report

    trained = options.open(run)
    dataset = trained.data(data)
    for note in dataset.reader_notes if data else ():
        err.print(f"{escape(dataset.source)}: {escape(note)}", soft_wrap=True)
    augmented = None if augment is None else trained.predict_augmented(dataset.inputs, augment)
    report = evaluation_report(trained, dataset, top_k)
    score = trained.evaluate(dataset)
    _print_scores(dataset, {"loss": score.loss, **score.metrics}, report)
    if augmented is not None:
        right = accuracy(trained.evaluator.predicted_targets(augmented), dataset.targets)
        out.print(f"mean of {augment} augmented copies of each sample: accuracy {right:.4f}", soft_wrap=True)
    return 0


def _print_scores(dataset: Dataset, values: Mapping[str, float], report: RenderableType) -> None:
    shown = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in values.items())
    out.print(f"{escape(dataset.source)}: {shown} of {len(dataset)} samples", soft_wrap=True)
    out.print(report)


def _shown(value: float) -> str:
    """To four decimals, or to five digits where those would be too few or too many."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e9 else f"{value:.4e}"


def _evaluate_onnx(
    path: Path, data: str | None, top_k: int | None, augment: int | None, options: RunOptions
) -> int:
    """The metrics of an ONNX file, by onnxruntime."""
    from nnbackprop.errors import UsageError
    from nnbackprop.export.onnx_model import OnnxModel
    from nnbackprop.report.evaluation import check_top_k, prediction_report

    for flag, value, default in (
        ("--backend", options.backend, ("auto", os.environ.get("NNBACKPROP_BACKEND"))),
        ("--device", options.device, (None, os.environ.get("NNBACKPROP_DEVICE"))),
        ("--augment", augment, (None,)),
    ):
        if value not in default:
            raise UsageError(
                f"{flag} {value} was asked for, and an ONNX file is run by onnxruntime: leave it out, or name the "
                "run in the file's place."
            )
    if data is None:
        raise UsageError(f"{path} does not know its data: name some, as in --data mnist.")
    model = OnnxModel.open(path)
    dataset, feeds = model.data(data)
    check_top_k(dataset, top_k)
    labels, outputs = model.run(feeds)
    report = prediction_report(dataset, model.target_names, labels, outputs, top_k, model.info.gives_probabilities)
    _print_scores(dataset, model.metrics(dataset, labels, outputs), report)
    return 0


def predict(
    run: Run,
    /,
    *images: Annotated[
        str, Parameter(help="Images (PNG, JPEG, BMP, WebP), or tables with a sample a row.", required=True)
    ],
    as_is: AsIs = False,
    output: Annotated[
        Path | None, Parameter(help="Also write a row for each sample to this CSV file; of a file 20 are printed.")
    ] = None,
    options: RunOptions = RunOptions(),
) -> int:
    """Print the predicted class or labels of each sample and how likely they are, or the predicted numbers."""
    from nnbackprop._files import write_atomically
    from nnbackprop.errors import UsageError
    from nnbackprop.report.prediction_file import predictions_csv
    from nnbackprop.report.tables import MAX_ROWS, label_table, prediction_table, value_table
    from nnbackprop.runs.samples import read_samples

    for name in images:
        if output is not None and output.exists() and Path(name).exists() and output.samefile(name):
            raise UsageError(f"--output {output} is {name}, which it would overwrite: give another name.")
    trained, found = options.open(run), []
    for name, inputs in read_samples(list(images), trained, lambda note: err.print(note, markup=False), as_is):
        probabilities = trained.predict_proba_or_values(inputs, name)
        found.append((name, probabilities))
        if trained.classes:
            predicted = trained.evaluator.predicted_targets(probabilities)
            out.print(prediction_table(name, trained.classes, predicted, probabilities))
        elif trained.evaluator.objective.loss.gives_probabilities:
            out.print(label_table(name, trained.target_names, probabilities))
        else:
            out.print(value_table(name, trained.target_names, probabilities))
    if output is not None:
        write_atomically(output, predictions_csv(trained, found))
        out.print(f"Wrote {escape(str(output))}", soft_wrap=True)
    elif any(len(probabilities) > MAX_ROWS for _, probabilities in found):
        err.print("--output FILE.csv writes a row for each sample.")
    return 0


def explain(
    run: Run,
    image: Annotated[str, Parameter(help="An image file, or the number of a sample of the run's test part.")],
    /,
    *,
    as_is: AsIs = False,
    options: RunOptions = RunOptions(),
) -> int:
    """Draw what a trained network sees in an image: input gradient, classes, and every layer's output."""
    from nnbackprop.report.explanation_plot import explanation_plot
    from nnbackprop.report.style import draw
    from nnbackprop.report.tables import prediction_table
    from nnbackprop.runs.explanation import explain_image

    trained = options.open(run)
    explanation = explain_image(trained, image, as_is)
    for note in explanation.notes:
        err.print(f"{image}: {note}", markup=False)
    likeliest = explanation.probabilities.reshape(1, -1)
    out.print(prediction_table(explanation.name, explanation.classes, [explanation.predicted], likeliest))
    picture = trained.run_dir.plots_dir / "explanation.png"
    draw(picture, explanation_plot, explanation)
    out.print(f"Picture: {escape(str(picture))}", soft_wrap=True)
    return 0


def attack(
    run: Run,
    /,
    *,
    epsilon: Annotated[
        float, Parameter(help="How far each input moves, as a fraction of its range, for images of all pixels'.")
    ] = 0.1,
    data: DataName = None,
    options: RunOptions = RunOptions(),
) -> int:
    """Fool a trained network by the gradient with respect to its input (fast gradient sign)."""
    from nnbackprop.errors import UsageError

    if not 0 < epsilon <= 1:
        raise UsageError(f"--epsilon is a fraction of an input's range, above 0 and at most 1; got {epsilon}.")
    trained = options.open(run)
    dataset = trained.data(data)
    result = trained.attack(dataset, epsilon)
    moved = f"input by {epsilon:g} of its range"
    if not dataset.image_shape:
        moved = f"feature by {epsilon:g} of its own range; categories are not moved"
    out.print(
        f"accuracy {result.accuracy_before:.4f} before, {result.accuracy_after:.4f} after moving each {moved}",
        soft_wrap=True,
    )
    if dataset.image_shape:
        from nnbackprop.report.plots import attack_plot
        from nnbackprop.report.style import draw

        picture = trained.run_dir.plots_dir / "attack.png"
        draw(picture, attack_plot, dataset, result, epsilon)
        out.print(f"Picture: {escape(str(picture))}", soft_wrap=True)
    return 0
