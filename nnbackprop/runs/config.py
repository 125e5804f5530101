"""An experiment as data: one flat table of settings, in TOML, in a run folder, and as command-line flags."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nnbackprop._files import open_file
from nnbackprop.errors import RunFolderError, UsageError

Units = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Width = Annotated[int, Meta(ge=1, le=2**20)]  # of a layer
Depth = Meta(max_length=1000)  # of a network
Threads = Annotated[int, Meta(ge=1, le=1024)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # what TOML has
Rate = Annotated[float, Meta(ge=0, lt=1)]
Above0 = Annotated[float, Meta(gt=0, le=1e308)]  # neither NaN nor infinite
AtLeast0 = Annotated[float, Meta(ge=0, le=1e308)]
Finite = Annotated[float, Meta(ge=-1e308, le=1e308)]

BACKSLASHED = re.compile(r'"[^"\n]*\\[^"\n]*"')
BACKSLASH = (
    "In TOML's double quotes a backslash begins an escape: write a path in single quotes, 'C:\\Users\\me', or "
    "with / for each backslash"
)
LARGEST_FILE = 2**14  # bytes: one of ours has 2,000, and tomllib takes a second for the worst of so many


@dataclass(frozen=True)
class Setting:
    """How a setting is shown: its group, help in a line, and an environment variable that may give it."""

    group: Literal["Common", "Network", "Learning", "Data", "Run"]
    help: str
    env_var: str | None = None


@dataclass(frozen=True)
class Config:
    """Every setting of a run. A recipe names those it changes; the names are those of the flags."""

    recipe: str = ""
    title: str = ""

    data: Annotated[
        str, Setting("Common", "A data set's name, or a file or folder; see `nnbackprop data --help`.")
    ] = "mnist"
    epochs: Annotated[Units, Setting("Common", "Passes over the training data.")] = 20
    batch_size: Annotated[
        Units | Literal["full", "auto"],
        Setting("Common", "Samples a step; `full` is all of them, `auto` a power of two near 1/500 of them."),
    ] = 120
    lr: Annotated[Above0, Setting("Common", "Learning rate, where the schedule begins or peaks.")] = 0.08
    seed: Annotated[Seed, Setting("Common", "Decides weights, shuffles, splits and masks.")] = 0
    backend: Annotated[
        Literal["auto", "numpy", "cupy", "torch", "jax", "mlx"],
        Setting(
            "Common",
            "Array library; auto is CuPy where a CUDA device works, else NumPy.",
            env_var="NNBACKPROP_BACKEND",
        ),
    ] = "auto"
    device: Annotated[
        str | None,
        Setting("Common", "cpu, cuda or cuda:N; mps or xpu for torch; gpu for mlx.", env_var="NNBACKPROP_DEVICE"),
    ] = None

    hidden: Annotated[
        tuple[Width, ...], Depth, Setting("Network", "Units of each hidden layer, such as 512 256.")
    ] = (512, 256)
    activation: Annotated[str, Setting("Network", "Of the hidden layers: relu, sigmoid, tanh, gelu ...")] = "relu"
    output: Annotated[
        str, Setting("Network", "Activation of the last layer; identity where the loss takes logits.")
    ] = "identity"
    outputs: Annotated[
        Width | None, Setting("Network", "Outputs, where not one a class: 1 will do for two classes.")
    ] = None
    bias: Annotated[bool, Setting("Network", "Whether layers have biases.")] = True
    norm: Annotated[
        Literal["batch", "layer"] | None,
        Setting("Network", "Normalization before each hidden activation: batch or layer; none if not given."),
    ] = None
    dropout: Annotated[
        tuple[Rate, ...],
        Depth,
        Setting("Network", "One rate for all hidden layers, or one for the input and each of them."),
    ] = ()
    init: Annotated[
        str, Setting("Network", "First weights: he-normal, glorot-uniform, uniform:0.12, normal:1 ...")
    ] = "he-normal"

    loss: Annotated[str, Setting("Learning", "softmax-cross-entropy, binary-cross-entropy, mse or half-mse.")] = (
        "softmax-cross-entropy"
    )
    label_smoothing: Annotated[Rate, Setting("Learning", "Share of each target spread over all classes.")] = 0.0
    targets: Annotated[
        tuple[Finite, Finite],
        Setting("Learning", "Target of the wrong and the right class, for losses on outputs."),
    ] = (0.0, 1.0)
    optimizer: Annotated[str, Setting("Learning", "sgd, momentum, nesterov, rmsprop, adagrad, adam or adamw.")] = (
        "sgd"
    )
    momentum: Annotated[
        Rate | None, Setting("Learning", "Of momentum and nesterov, and beta1 of adam and adamw.")
    ] = None
    weight_decay: Annotated[AtLeast0, Setting("Learning", "Decoupled decay, of adamw.")] = 0.01
    schedule: Annotated[
        str,
        Setting(
            "Learning",
            "constant, step:EPOCHS:FACTOR, exponential:FACTOR, cosine, one-cycle, warmup:STEPS+cosine ...",
        ),
    ] = "constant"
    schedule_epochs: Annotated[
        Units | None, Setting("Learning", "Epochs that the schedule spans; those of --epochs if not given.")
    ] = None
    l1: Annotated[AtLeast0, Setting("Learning", "Adds l1 times the sum of |w| to the loss.")] = 0.0
    l2: Annotated[AtLeast0, Setting("Learning", "Adds l2 / 2 times the sum of w^2 to the loss.")] = 0.0
    penalize_biases: Annotated[bool, Setting("Learning", "Whether l1 and l2 count biases too.")] = False
    clip_norm: Annotated[Above0 | None, Setting("Learning", "Limit of the gradient's global norm.")] = None
    clip_value: Annotated[Above0 | None, Setting("Learning", "Limit of each number of the gradient.")] = None
    patience: Annotated[
        Units | None, Setting("Learning", "Stop after so many epochs without a better validation loss.")
    ] = None
    shuffle: Annotated[bool, Setting("Learning", "Whether each epoch has an order of its own.")] = True

    scale: Annotated[
        Literal["none", "unit", "standard", "per-feature", "rashid"],
        Setting("Data", "Inputs: as they are, /255, standard score (global or per feature), or x*0.99+0.01."),
    ] = "standard"
    validation: Annotated[Rate, Setting("Data", "Share of the training data kept for validation.")] = 0.0
    test_fraction: Annotated[Rate, Setting("Data", "Share of a single table kept for the test; 0 for none.")] = 0.2
    size: Annotated[
        str | None,
        Setting("Data", "Rows x columns to which the images of a folder are resized, such as 28x28."),
    ] = None
    channels: Annotated[
        Literal["auto", "grey", "rgb"],
        Setting("Data", "Of the images of a folder; auto is grey where all of them are, else rgb."),
    ] = "auto"
    resident: Annotated[
        Literal["auto", "yes", "no"], Setting("Data", "Whether the data stays on the device or streams to it.")
    ] = "auto"

    doctor: Annotated[bool, Setting("Run", "Monitor the run for what goes wrong, and say so at its end.")] = False
    dtype: Annotated[
        Literal["float32", "float64", "tf32", "float16", "bfloat16"],
        Setting("Run", "Of the arithmetic; parameters of the last three are float32, tf32 is a GPU's."),
    ] = "float32"
    threads: Annotated[
        Threads | None, Setting("Run", "Threads of a CPU's matrix products; every core's if not given.")
    ] = None
    gpu_memory_limit: Annotated[
        Above0 | None, Setting("Run", "GiB of a GPU that arrays may take, all if not given.")
    ] = None
    deterministic: Annotated[
        bool, Setting("Run", "The same bits whatever the number of cores: one thread, reproducible algorithms.")
    ] = False
    max_time: Annotated[Above0 | None, Setting("Run", "Stop after so many seconds.")] = None
    save_every: Annotated[
        str | None, Setting("Run", "Save within epochs too: 500 is after so many steps, 60s after so much time.")
    ] = None
    keep: Annotated[Units, Setting("Run", "Checkpoints kept to go on from.")] = 3
    on_nan: Annotated[
        Literal["stop", "restore-and-halve-lr"],
        Setting("Run", "What to do when numbers become NaN or infinite."),
    ] = "stop"
    progress: Annotated[
        Literal["auto", "rich", "plain", "off"],
        Setting("Run", "Display; auto is rich on a terminal, else plain lines."),
    ] = "auto"
    runs_dir: Annotated[str, Setting("Run", "Where run folders are kept.")] = "runs"
    name: Annotated[str | None, Setting("Run", "Name of the run folder; the recipe's if not given.")] = None

    @property
    def params_dtype(self) -> Literal["float32", "float64"]:
        """The dtype of parameters, losses and evaluations."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(rows, columns) of `size`; UsageError if it is none."""
        from nnbackprop.data.readers.image import parse_size

        return None if self.size is None else parse_size(self.size)

    @property
    def fixed_settings(self) -> dict[str, Any]:
        """What stays as it is from a run's first step to its last, as JSON has it."""
        left_out = {*MAY_CHANGE, *NO_FLAGS, "name"}
        settings = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


KNOWN = tuple(field.name for field in fields(Config))
NO_FLAGS = ("recipe", "title")
MAY_CHANGE = (
    *("epochs", "schedule_epochs", "patience", "max_time", "on_nan"),
    *("data", "backend", "device", "threads", "deterministic", "resident", "gpu_memory_limit"),
    *("progress", "doctor", "save_every", "keep", "runs_dir"),
)
"""How long and where a run goes on, which a resume may change; its data are known by their fingerprint."""

RENAMED_VALUES = {("scale", "book"): "rashid", ("init", "book"): "fan-out-normal"}
"""Values under their former names, which configurations and checkpoints written before still have."""


def parse(settings: dict[str, Any], source: str) -> Config:
    """Settings as a Config; UsageError names the setting that is unknown or has a wrong value, and `source`."""
    for name in settings:
        if name not in KNOWN:
            near = difflib.get_close_matches(name.replace("-", "_"), KNOWN, 1)
            hint = f" Did you mean {near[0]}?" if near else f" Known are: {', '.join(KNOWN)}."
            raise UsageError(f"{source} has a setting {name!r} that does not exist.{hint}")
        if isinstance(value := settings[name], str) and not value.isprintable():
            raise UsageError(f"{source} has {name} = {value!r}, which holds control characters. {BACKSLASH}.")
    settings = with_renamed_values(settings)
    try:
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").split("[")[0]
        raise UsageError(f"{source} has {name} = {settings.get(name)!r}: {what[0].lower() + what[1:]}.") from None


def with_renamed_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with values under their present names."""
    return {
        name: RENAMED_VALUES.get((name, value), value) if isinstance(value, str) else value
        for name, value in settings.items()
    }


def recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = resources.files("nnbackprop") / "recipes"
    return {path.stem: path for path in sorted(Path(str(folder)).glob("*.toml"), key=lambda path: path.stem)}


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
    text = content.decode("utf-8-sig")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{error}. {BACKSLASH}" if BACKSLASHED.search(text) else str(error)) from None


def resolve(recipe: str, overrides: dict[str, Any]) -> Config:
    """A recipe's settings with `overrides` laid over them.

    A recipe's own dropout rates are fitted to other hidden layers: the last is repeated, or those too many are
    left out. Without hidden layers there is no dropout, as one rate alone is that of the hidden layers.
    """
    settings = {"recipe": Path(recipe).stem, **read(recipe)}
    of_input, *of_hidden = parse(settings, f"The recipe {recipe}").dropout or (0.0,)
    if "hidden" in overrides and of_hidden:
        fitted = [of_hidden[min(i, len(of_hidden) - 1)] for i in range(len(overrides["hidden"]))]
        settings["dropout"] = [of_input, *fitted] if fitted else []
    return parse({**settings, **overrides}, f"The recipe {recipe} with the given flags")


def changed(config: Config, changes: Mapping[str, Any], source: str) -> Config:
    """The same configuration with other values for some settings, checked as if it had been read so."""
    return parse(_given({**asdict(config), **changes}), source)


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

    return tomli_w.dumps(_given(asdict(config)))


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
