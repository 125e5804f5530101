"""Commands that make a run and use it: train, evaluate, predict, attack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from nnbackprop.runs.config import RUN

from .flags import BackendName, DeviceName, Flags, Run, RunsDir, given, open_run, out


def train(
    recipe: Annotated[str | None, Parameter(help="A recipe's name or a TOML file; mnist if not given.")] = None,
    /,
    *,
    resume: Annotated[str | None, Parameter(group=RUN, help="Go on with this run, or `last`, in place.")] = None,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Train a network by a recipe; every flag overrides one of its settings."""
    from nnbackprop.errors import UsageError
    from nnbackprop.report.tables import summary_table
    from nnbackprop.runs import config
    from nnbackprop.runs import train as experiment

    overrides = given(flags)
    if resume is not None:
        if recipe is not None:
            raise UsageError(f"--resume goes on with a run as it was configured: leave out the recipe {recipe!r}.")
        finished = experiment.resume(resume, overrides, Path(overrides.get("runs_dir", "runs")), out)
    else:
        finished = experiment.train(config.resolve(recipe or "mnist", overrides), out)
    path = finished.folder.path
    if finished.summary is None:
        out.print(
            f"Interrupted and saved. Go on with: nnbackprop train --resume {escape(str(path))}", soft_wrap=True
        )
        return 128 + finished.signal
    if overrides.get("progress") != "off":
        out.print(summary_table(finished.summary))
    out.print(f"Run folder: {escape(str(path))}", soft_wrap=True)
    return 0


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
    figures = f"loss {score.loss:.4f}, accuracy {score.accuracy:.4f} of {score.samples} samples"
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
