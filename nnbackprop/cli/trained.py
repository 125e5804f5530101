"""Commands that use a trained network: evaluate, predict, attack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import BackendName, DeviceName, Run, RunsDir, open_run, out


def evaluate(
    run: Run,
    /,
    *,
    data: Annotated[
        str | None, Parameter(help="Judge on this data set instead of the run's own test part.")
    ] = None,
    backend: BackendName = "auto",
    device: DeviceName = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Judge a trained network: mean loss and accuracy, dropout off."""
    trained = open_run(run, runs_dir, backend, device)
    dataset = trained.data(data)
    score = trained.evaluate(dataset)
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in score.metrics.items())
    figures = f"loss {score.loss:.4f}, {figures} of {score.samples} samples"
    out.print(f"{escape(dataset.source)}: {figures}", soft_wrap=True)
    return 0


def predict(
    run: Run,
    images: Annotated[list[str], Parameter(help="PNG images, or CSV files with a sample a row.", negative="")],
    /,
    *,
    backend: BackendName = "auto",
    device: DeviceName = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Say what an image shows, and how likely each class is."""
    from nnbackprop.report.tables import prediction_table
    from nnbackprop.runs.trained_model import read_samples

    trained = open_run(run, runs_dir, backend, device)
    samples = read_samples(images, trained)
    for name, inputs in samples:
        predicted, probabilities = trained.predict(inputs, name)
        out.print(prediction_table(name, trained.classes, predicted, probabilities))
    return 0


def attack(
    run: Run,
    /,
    *,
    epsilon: Annotated[float, Parameter(help="How far each input moves, as a share of the data's range.")] = 0.1,
    data: Annotated[str | None, Parameter(help="Attack this data set instead of the run's own test part.")] = None,
    backend: BackendName = "auto",
    device: DeviceName = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Fool a trained network by the gradient with respect to its input (fast gradient sign)."""
    from nnbackprop.errors import UsageError

    if not 0 < epsilon <= 1:
        raise UsageError(f"--epsilon is a share of the data's range, above 0 and at most 1; got {epsilon}.")
    trained = open_run(run, runs_dir, backend, device)
    dataset = trained.data(data)
    result = trained.attack(dataset, epsilon)
    picture = trained.folder.plots / "attack.png"
    out.print(
        f"accuracy {result.accuracy_before:.4f} before, {result.accuracy_after:.4f} after moving each input by "
        f"{epsilon:g} of its range"
    )
    from nnbackprop.report.plots import draw_attack

    draw_attack(picture, dataset, result.clean, result.moved, result.before, result.after, epsilon)
    out.print(f"Picture: {escape(str(picture))}", soft_wrap=True)
    return 0
