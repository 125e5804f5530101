"""Words on the command line -> one call each. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_args, get_type_hints

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.markup import escape

from backends import BackendError, select

from .config import NO_FLAGS, RUN, Config
from .errors import NnbackpropError

if TYPE_CHECKING:
    from .trained import Trained

app = App(
    suppress_keyboard_interrupt=False,
    name="nnbackprop",
    help="Neural networks trained with backpropagation derived by hand, on NumPy, CuPy, PyTorch and JAX arrays.",
    version_flags=["--version"],
)
data = App(
    name="data", help="Look at data sets: mnist, mnist-20x20, weight-height, fashion-mnist, kmnist, or files."
)
app.command(data)

out = Console()
err = Console(stderr=True, soft_wrap=True)


def _optional(hint: Any) -> Any:
    kind, *notes = get_args(hint)
    return Annotated[(Optional[kind], *notes)]  # noqa: UP045 (kind is a value here)


_HINTS = get_type_hints(Config, include_extras=True)
Flags = make_dataclass(
    "Flags",
    [(f.name, _optional(_HINTS[f.name]), field(default=None)) for f in fields(Config) if f.name not in NO_FLAGS],
    frozen=True,
)
Flags.__doc__ = "A setting each, None where it was not given."
Flags.__module__ = __name__  # cyclopts takes a class of the module `types` for a builtin

RunsDir = Annotated[Path, Parameter(help="Where run folders are kept.")]
Run = Annotated[str, Parameter(help="A run folder, its name, or `last`.")]
BackendName = Annotated[str, Parameter(help="Array library.", env_var="NNBACKPROP_BACKEND")]
DeviceName = Annotated[Optional[str], Parameter(help="Its device.", env_var="NNBACKPROP_DEVICE")]  # noqa: UP045


def _open(run: str, runs: Path, name: str, device: str | None) -> Trained:
    """A run's network on a backend; where that was chosen for the caller, what and why."""
    from .trained import Trained

    chosen = select(name, device)
    trained = Trained.open(run, runs, chosen)
    if name == "auto":
        err.print(chosen.why, style="dim")
    return trained


def _given(flags: Any) -> dict[str, Any]:
    return {f.name: value for f in fields(flags) if (value := getattr(flags, f.name)) is not None}


@app.command
def train(
    recipe: Annotated[str | None, Parameter(help="A recipe's name or a TOML file; mnist if not given.")] = None,
    /,
    *,
    resume: Annotated[str | None, Parameter(group=RUN, help="Go on with this run, or `last`, in place.")] = None,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Train a network by a recipe; every flag overrides one of its settings."""
    from . import config, experiment
    from .errors import UsageError
    from .report.tables import summary_table

    given = _given(flags)
    if resume is not None:
        if recipe is not None:
            raise UsageError(f"--resume goes on with a run as it was configured: leave out the recipe {recipe!r}.")
        finished = experiment.resume(resume, given, Path(given.get("runs_dir", "runs")), out)
    else:
        finished = experiment.train(config.resolve(recipe or "mnist", given), out)
    path = finished.folder.path
    if finished.summary is None:
        out.print(
            f"Interrupted and saved. Go on with: nnbackprop train --resume {escape(str(path))}", soft_wrap=True
        )
        return 130
    if given.get("progress") != "off":
        out.print(summary_table(finished.summary))
    out.print(f"Run folder: {escape(str(path))}", soft_wrap=True)
    return 0


@app.command
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
    trained = _open(run, runs_dir, backend, device)
    dataset = trained.data(data)
    score = trained.evaluate(dataset)
    figures = f"loss {score.loss:.4f}, accuracy {score.accuracy:.4f} of {score.samples} samples"
    out.print(f"{escape(dataset.source)}: {figures}", soft_wrap=True)
    return 0


@app.command
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
    from .report.tables import prediction_table
    from .trained import read_samples

    trained = _open(run, runs_dir, backend, device)
    samples = read_samples(images, trained)
    for name, inputs in samples:
        predicted, probabilities = trained.predict(inputs, name)
        out.print(prediction_table(name, trained.classes, predicted, probabilities))
    return 0


@app.command
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
    from .errors import UsageError
    from .report.plots import draw_attack

    if not 0 < epsilon <= 1:
        raise UsageError(f"--epsilon is a share of the data's range, above 0 and at most 1; got {epsilon}.")
    trained = _open(run, runs_dir, backend, device)
    dataset = trained.data(data)
    result = trained.attack(dataset, epsilon)
    picture = trained.folder.plots / "attack.png"
    out.print(
        f"accuracy {result.accuracy_before:.4f} before, {result.accuracy_after:.4f} after moving each input by "
        f"{epsilon:g} of its range"
    )
    draw_attack(picture, dataset, result.clean, result.moved, result.before, result.after, epsilon)
    out.print(f"Picture: {escape(str(picture))}", soft_wrap=True)
    return 0


@app.command
def backends() -> int:
    """Say which array libraries work here, and what would mend those that do not."""
    from backends import available

    from .report.tables import backends_table

    out.print(backends_table(available()))
    return 0


@app.command
def recipes() -> int:
    """List the recipes that come with the package."""
    from .config import read
    from .config import recipes as known
    from .report.tables import recipes_table

    out.print(recipes_table({name: read(name) for name in known()}))
    return 0


@data.command
def inspect(
    path: Annotated[str, Parameter(help="A data set's name, or a file or folder.")],
    /,
    *,
    test_fraction: Annotated[
        float, Parameter(help="Share of a single table kept for the test; 0 for none.")
    ] = 0.2,
    seed: Annotated[int, Parameter(help="Decides that split.")] = 0,
) -> int:
    """Count, range, class balance, and a few samples drawn upright."""
    from .data import load
    from .data.inspect import describe

    out.print(describe(load(path, test_fraction=test_fraction, seed=seed, split=test_fraction > 0)))
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status; errors are one paragraph, and a traceback with --debug."""
    for stream in (sys.stdout, sys.stderr):  # a console of another encoding gets ? for what it has no sign for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    for name in ("NNBACKPROP_BACKEND", "NNBACKPROP_DEVICE"):
        if os.environ.get(name) == "":  # as good as not set
            del os.environ[name]
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    sys.exit(
        _status(lambda: app(words, exit_on_error=False, print_error=False, result_action="return_value"), debug)
    )


def _status(command: Callable[[], Any], debug: bool) -> int:
    try:
        return int(command() or 0)
    except (NnbackpropError, BackendError, CycloptsError) as error:
        if debug:
            raise
        err.print(f"[bold red]error:[/] {escape(str(error))}")
        return error.exit_code if isinstance(error, NnbackpropError) else 2
    except KeyboardInterrupt:
        err.print("stopped at once; the last checkpoint is what is left of the run")
        return 130
