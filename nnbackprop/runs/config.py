"""An experiment as data: one flat table of settings, in TOML, in a run folder, and as command-line flags."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Group, Parameter
from msgspec import Meta

from nnbackprop._safe_open import open_file
from nnbackprop.errors import RunFolderError, UsageError

COMMON = Group("Common", sort_key=1)
NETWORK = Group("Network", sort_key=2)
LEARNING = Group("Learning", sort_key=3)
DATA = Group("Data", sort_key=4)
RUN = Group("Run", sort_key=5)

Units = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Width = Annotated[int, Meta(ge=1, le=2**20)]  # of a layer
Depth = Meta(max_length=1000)  # of a network
Threads = Annotated[int, Meta(ge=1, le=1024)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # what TOML has
Rate = Annotated[float, Meta(ge=0, lt=1)]
Above0 = Annotated[float, Meta(gt=0, le=1e308)]  # neither NaN nor infinite
AtLeast0 = Annotated[float, Meta(ge=0, le=1e308)]
Finite = Annotated[float, Meta(ge=-1e308, le=1e308)]

LARGEST_FILE = 2**14  # bytes: one of ours has 2,000, and tomllib takes a second for the worst of so many


def _flag(group: Group, words: str, **more: Any) -> Parameter:
    return Parameter(group=group, help=words, **more)


@dataclass(frozen=True)
class Config:
    """Every setting of a run. A recipe names those it changes; the names are those of the flags."""

    recipe: str = ""
    title: str = ""

    data: Annotated[
        str, _flag(COMMON, "A data set's name, or a file or folder; see `nnbackprop data --help`.")
    ] = "mnist"
    epochs: Annotated[Units, _flag(COMMON, "Passes over the training data.")] = 20
    batch_size: Annotated[
        Units | Literal["full", "auto"],
        _flag(COMMON, "Samples a step; `full` is all of them, `auto` a power of two near 1/500 of them."),
    ] = 120
    lr: Annotated[Above0, _flag(COMMON, "Learning rate, where the schedule begins or peaks.")] = 0.08
    seed: Annotated[Seed, _flag(COMMON, "Decides weights, shuffles, splits and masks.")] = 0
    backend: Annotated[
        Literal["auto", "numpy", "cupy", "torch", "jax"],
        _flag(
            COMMON,
            "Array library; auto is CuPy where a CUDA device works, else NumPy.",
            env_var="NNBACKPROP_BACKEND",
        ),
    ] = "auto"
    device: Annotated[
        str | None, _flag(COMMON, "cpu, cuda, cuda:N ... as the backend knows them.", env_var="NNBACKPROP_DEVICE")
    ] = None

    hidden: Annotated[
        tuple[Width, ...],
        Depth,
        _flag(NETWORK, "Units of each hidden layer, such as 512 256.", consume_multiple=True),
    ] = (512, 256)
    activation: Annotated[str, _flag(NETWORK, "Of the hidden layers: relu, sigmoid, tanh, gelu ...")] = "relu"
    output: Annotated[
        str, _flag(NETWORK, "Activation of the last layer; identity where the loss takes logits.")
    ] = "identity"
    outputs: Annotated[
        Width | None, _flag(NETWORK, "Outputs, where not one a class: 1 will do for two classes.")
    ] = None
    bias: Annotated[bool, _flag(NETWORK, "Whether layers have biases.")] = True
    dropout: Annotated[
        tuple[Rate, ...],
        Depth,
        _flag(
            NETWORK,
            "One rate for all hidden layers, or one for the input and each of them.",
            consume_multiple=True,
        ),
    ] = ()
    init: Annotated[
        str, _flag(NETWORK, "First weights: he-normal, glorot-uniform, uniform:0.12, normal:1 ...")
    ] = "he-normal"

    loss: Annotated[str, _flag(LEARNING, "softmax-cross-entropy, binary-cross-entropy, mse or half-mse.")] = (
        "softmax-cross-entropy"
    )
    label_smoothing: Annotated[Rate, _flag(LEARNING, "Share of each target spread over all classes.")] = 0.0
    targets: Annotated[
        tuple[Finite, Finite],
        _flag(LEARNING, "Target of the wrong and the right class, for losses on outputs.", consume_multiple=True),
    ] = (0.0, 1.0)
    optimizer: Annotated[str, _flag(LEARNING, "sgd, momentum, nesterov, rmsprop, adagrad, adam or adamw.")] = "sgd"
    momentum: Annotated[
        Rate | None,
        _flag(LEARNING, "Of momentum and nesterov, and beta1 of adam and adamw."),
    ] = None
    weight_decay: Annotated[AtLeast0, _flag(LEARNING, "Decoupled decay, of adamw.")] = 0.01
    schedule: Annotated[
        str,
        _flag(
            LEARNING,
            "constant, step:EPOCHS:FACTOR, exponential:FACTOR, cosine, one-cycle, warmup:STEPS+cosine ...",
        ),
    ] = "constant"
    l1: Annotated[AtLeast0, _flag(LEARNING, "Adds l1 times the sum of |w| to the loss.")] = 0.0
    l2: Annotated[AtLeast0, _flag(LEARNING, "Adds l2 / 2 times the sum of w^2 to the loss.")] = 0.0
    penalize_biases: Annotated[bool, _flag(LEARNING, "Whether l1 and l2 count biases too.")] = False
    clip_norm: Annotated[Above0 | None, _flag(LEARNING, "Limit of the gradient's global norm.")] = None
    clip_value: Annotated[Above0 | None, _flag(LEARNING, "Limit of each number of the gradient.")] = None
    patience: Annotated[
        Units | None, _flag(LEARNING, "Stop after so many epochs without a better validation loss.")
    ] = None
    shuffle: Annotated[bool, _flag(LEARNING, "Whether each epoch has an order of its own.")] = True

    scale: Annotated[
        Literal["none", "unit", "standard", "per-feature", "rashid"],
        _flag(DATA, "Inputs: as they are, /255, standard score (global or per feature), or x*0.99+0.01."),
    ] = "standard"
    validation: Annotated[Rate, _flag(DATA, "Share of the training data kept for validation.")] = 0.0
    test_fraction: Annotated[Rate, _flag(DATA, "Share of a single table kept for the test; 0 for none.")] = 0.2
    resident: Annotated[
        Literal["auto", "yes", "no"], _flag(DATA, "Whether the data stays on the device or streams to it.")
    ] = "auto"

    doctor: Annotated[bool, _flag(RUN, "Monitor the run for what goes wrong, and say so at its end.")] = False
    dtype: Annotated[
        Literal["float32", "float64", "tf32", "float16", "bfloat16"],
        _flag(RUN, "Of the arithmetic; parameters of the last three are float32, tf32 is a GPU's."),
    ] = "float32"
    threads: Annotated[
        Threads | None, _flag(RUN, "Threads of a CPU's matrix products; every core's if not given.")
    ] = None
    gpu_memory_limit: Annotated[
        Above0 | None, _flag(RUN, "GiB of a GPU that arrays may take, all if not given.")
    ] = None
    deterministic: Annotated[
        bool, _flag(RUN, "The same bits whatever the number of cores: one thread, reproducible algorithms.")
    ] = False
    max_time: Annotated[Above0 | None, _flag(RUN, "Stop after so many seconds.")] = None
    save_every: Annotated[
        str | None, _flag(RUN, "Save within epochs too: 500 is after so many steps, 60s after so much time.")
    ] = None
    keep: Annotated[Units, _flag(RUN, "Checkpoints kept to go on from.")] = 3
    on_nan: Annotated[
        Literal["stop", "restore-and-halve-lr"],
        _flag(RUN, "What to do when numbers cease to be finite."),
    ] = "stop"
    progress: Annotated[
        Literal["auto", "rich", "plain", "off"],
        _flag(RUN, "Display; auto is rich on a terminal, else plain lines."),
    ] = "auto"
    runs_dir: Annotated[str, _flag(RUN, "Where run folders are kept.")] = "runs"
    name: Annotated[str | None, _flag(RUN, "Name of the run folder; the recipe's if not given.")] = None

    @property
    def storage(self) -> Literal["float32", "float64"]:
        """The dtype of parameters, losses and evaluations."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def settled(self) -> dict[str, Any]:
        """What stays as it is from a run's first step to its last, as JSON has it.

        Its data are left out, as they are known by their fingerprint wherever they lie.
        """
        left_out = {*MAY_CHANGE, *NO_FLAGS, "name", "data"}
        said = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}


KNOWN = tuple(field.name for field in fields(Config))
NO_FLAGS = ("recipe", "title")
MAY_CHANGE = (
    "epochs",
    "patience",
    "max_time",
    "progress",
    "backend",
    "device",
    "threads",
    "deterministic",
    "save_every",
    "keep",
    "on_nan",
    "resident",
    "gpu_memory_limit",
    "doctor",
    "runs_dir",
)
"""How long and where a run goes on, which a resume may change."""
FORMER = {("scale", "book"): "rashid"}
"""Values under their former names, which configurations and checkpoints written before still have."""


def parse(settings: dict[str, Any], source: str) -> Config:
    """Settings as a Config; UsageError names the setting that is unknown or has a wrong value, and `source`."""
    for name in settings:
        if name not in KNOWN:
            near = difflib.get_close_matches(name.replace("-", "_"), KNOWN, 1)
            hint = f" Did you mean {near[0]}?" if near else f" Known are: {', '.join(KNOWN)}."
            raise UsageError(f"{source} has a setting {name!r} that does not exist.{hint}")
    settings = current(settings)
    try:
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").split("[")[0]
        raise UsageError(f"{source} has {name} = {settings.get(name)!r}: {what[0].lower() + what[1:]}.") from None


def current(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with values under their present names."""
    return {
        name: FORMER.get((name, value), value) if isinstance(value, str) else value
        for name, value in settings.items()
    }


def recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = resources.files("nnbackprop") / "recipes"
    return {path.stem: path for path in sorted(Path(str(folder)).glob("*.toml"))}


def read(recipe: str) -> dict[str, Any]:
    """The settings of a recipe, by its name or as a TOML file of your own; UsageError if there is none."""
    path = recipes().get(recipe, Path(recipe))
    try:
        return _toml(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(
            f"{recipe!r} is neither a recipe nor a TOML file. The recipes are {', '.join(recipes())}; "
            "a file of your own ends in .toml and holds the same settings."
        ) from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}. Compare it with a run's config.toml.") from None


def _toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file; ValueError where it is none, or large or nested beyond any configuration."""
    with open_file(path) as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE} bytes, which no configuration needs")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def resolve(recipe: str, overrides: dict[str, Any]) -> Config:
    """A recipe's settings with `overrides` laid over them."""
    settings = {"recipe": Path(recipe).stem, **read(recipe)}
    parse(settings, f"The recipe {recipe}")
    return parse({**settings, **overrides}, f"The recipe {recipe} with the given flags")


def changed(config: Config, changes: Mapping[str, Any], source: str) -> Config:
    """The same configuration with other values for some settings, judged as if it had been read so."""
    return parse(_said({**asdict(config), **changes}), source)


def of_run(path: Path) -> Config:
    """The configuration a run folder keeps; RunFolderError if the file is damaged."""
    try:
        return parse(_toml(path), str(path))
    except (ValueError, OSError) as error:
        words = str(error).rstrip(".")
        raise RunFolderError(
            f"{path} cannot be read as a run's configuration: {words}. Put back what was there, or train again."
        ) from error


def to_toml(config: Config) -> str:
    """The whole configuration, runnable again; settings that are None are left out, as TOML has no null."""
    import tomli_w

    return tomli_w.dumps(_said(asdict(config)))


def _said(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
