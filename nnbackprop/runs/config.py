"""The settings of a run: one flat table, in TOML, in a run folder, and as command-line flags."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nnbackprop.errors import UsageError

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Width = Annotated[int, Meta(ge=1, le=2**20)]  # of a layer
Depth = Meta(max_length=1000)  # of a network
Threads = Annotated[int, Meta(ge=1, le=1024)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # what TOML has
Rate = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, le=1e308)]  # neither NaN nor infinite
NonNegative = Annotated[float, Meta(ge=0, le=1e308)]
LrChange = tuple[Annotated[int, Meta(ge=0, le=2**53)], Positive]
"""After so many steps, this learning rate: a run that was resumed with --lr."""
Finite = Annotated[float, Meta(ge=-1e308, le=1e308)]

BACKSLASH = (
    "In TOML's double quotes a backslash begins an escape: write a path in single quotes, 'C:\\Users\\me', or "
    "with / for each backslash"
)


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
    lr_changes: Annotated[tuple[LrChange, ...], Depth] = ()

    data: Annotated[
        str, Setting("Common", "A data set's name, or a file or folder; see `nnbackprop data --help`.")
    ] = "mnist"
    epochs: Annotated[Count, Setting("Common", "Passes over the training data.")] = 20
    batch_size: Annotated[
        Count | Literal["full", "auto"],
        Setting("Common", "Samples a step; `full` is all of them, `auto` a power of two near 1/500 of them."),
    ] = 120
    lr: Annotated[
        Positive | Literal["auto"],
        Setting("Common", "Learning rate, where the schedule begins or peaks; `auto` is found by `lr-find`."),
    ] = 0.08
    seed: Annotated[Seed, Setting("Common", "Seed of initial weights, shuffles, splits and dropout masks.")] = 0
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
        tuple[Width, ...],
        Depth,
        Setting("Network", "Units of each hidden layer of a plain network, such as 512 256."),
    ] = (512, 256)
    layers: Annotated[
        tuple[str, ...],
        Depth,
        Setting("Network", "The whole network, an entry a layer: 'conv 32 3x3' relu flatten dense ..."),
    ] = ()
    activation: Annotated[
        str, Setting("Network", "Activation of the hidden layers: relu, sigmoid, tanh, gelu ...")
    ] = "relu"
    output_activation: Annotated[
        str, Setting("Network", "Activation of the last layer; identity where the loss takes logits.")
    ] = "identity"
    n_outputs: Annotated[
        Width | None, Setting("Network", "Units of the last layer; one a class if not given. 1 suits two classes.")
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
    init_from: Annotated[
        str | None,
        Setting("Network", "Begin with the weights of this run, or `last`, in each layer whose shape fits."),
    ] = None
    init: Annotated[
        str, Setting("Network", "Initial weights: he-normal, glorot-uniform, uniform:0.12, normal:1 ...")
    ] = "he-normal"

    loss: Annotated[
        str,
        Setting(
            "Learning",
            "softmax-cross-entropy, binary-cross-entropy, mse, mae, huber, poisson ...; auto is by the task.",
        ),
    ] = "softmax-cross-entropy"
    label_smoothing: Annotated[Rate, Setting("Learning", "Fraction of each target spread over all classes.")] = 0.0
    target_values: Annotated[
        tuple[Finite, Finite],
        Setting("Learning", "What outputs are compared with: for the other classes, and for the right one."),
    ] = (0.0, 1.0)
    optimizer: Annotated[str, Setting("Learning", "sgd, momentum, nesterov, rmsprop, adagrad, adam or adamw.")] = (
        "sgd"
    )
    momentum: Annotated[
        Rate | None, Setting("Learning", "Momentum of momentum and nesterov; beta1 of adam and adamw.")
    ] = None
    weight_decay: Annotated[NonNegative, Setting("Learning", "Decoupled weight decay of adamw.")] = 0.01
    schedule: Annotated[
        str,
        Setting(
            "Learning",
            "constant, step:EPOCHS:FACTOR, exponential:FACTOR, cosine, one-cycle, warmup:STEPS+cosine ...",
        ),
    ] = "constant"
    schedule_epochs: Annotated[
        Count | None, Setting("Learning", "Epochs that the schedule spans; those of --epochs if not given.")
    ] = None
    l1: Annotated[NonNegative, Setting("Learning", "Adds l1 times the sum of |w| to the loss.")] = 0.0
    l2: Annotated[NonNegative, Setting("Learning", "Adds l2 / 2 times the sum of w^2 to the loss.")] = 0.0
    penalize_biases: Annotated[bool, Setting("Learning", "Whether l1 and l2 count biases too.")] = False
    clip_norm: Annotated[Positive | None, Setting("Learning", "Largest global norm of the gradient.")] = None
    clip_value: Annotated[
        Positive | None, Setting("Learning", "Largest absolute value of each entry of the gradient.")
    ] = None
    patience: Annotated[
        Count | None, Setting("Learning", "Stop after so many epochs without a better validation loss.")
    ] = None
    shuffle: Annotated[bool, Setting("Learning", "Whether each epoch has an order of its own.")] = True

    target: Annotated[
        tuple[str, ...],
        Setting("Data", "Column to predict, by name or place (from 0; -1 is the last), or several."),
    ] = ()
    task: Annotated[
        Literal["auto", "classification", "regression", "multilabel"],
        Setting("Data", "What is learnt; auto chooses by the values of the target."),
    ] = "auto"
    features: Annotated[tuple[str, ...], Setting("Data", "Columns to use; all others if not given.")] = ()
    drop: Annotated[tuple[str, ...], Setting("Data", "Columns to leave out.")] = ()
    missing: Annotated[
        Literal["error", "mean", "median"],
        Setting("Data", "What missing numbers become; the mean and median are those of the training part."),
    ] = "error"
    sample_weight: Annotated[
        str | None, Setting("Data", "Column of sample weights; each counts so often in losses and metrics.")
    ] = None
    class_weight: Annotated[
        Literal["balanced"] | None,
        Setting("Data", "balanced: training weighs every class the same, however many samples it has."),
    ] = None
    separator: Annotated[
        str | None, Setting("Data", "What separates values of a CSV file: ; | , or tab; detected if not given.")
    ] = None
    decimal: Annotated[Literal[".", ","] | None, Setting("Data", "Decimal sign of a CSV file.")] = None
    encoding: Annotated[str | None, Setting("Data", "Encoding of a CSV file: utf-8, utf-16 or latin-1.")] = None
    header: Annotated[
        Literal["auto", "yes", "no"], Setting("Data", "Whether the first line of a CSV file names the columns.")
    ] = "auto"
    scale: Annotated[
        Literal["none", "unit", "standard", "per-feature", "rashid"],
        Setting(
            "Data",
            "Of the inputs: none; unit: x / 255; standard: (x - mean) / std, both over all features; per-feature: "
            "the same for each feature; rashid: 0.99 x / 255 + 0.01.",
        ),
    ] = "standard"
    target_scale: Annotated[
        Literal["standard", "none"],
        Setting("Data", "Targets that are numbers: standard score of each, or as they are; shown in their units."),
    ] = "standard"
    validation: Annotated[Rate, Setting("Data", "Fraction of the training data kept for validation.")] = 0.0
    test_fraction: Annotated[
        Rate, Setting("Data", "Fraction of a single table kept for the test; 0 for none.")
    ] = 0.2
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
        Setting(
            "Run", "Precision of the arithmetic; tf32 (a GPU's), float16 and bfloat16 keep parameters in float32."
        ),
    ] = "float32"
    threads: Annotated[
        Threads | None, Setting("Run", "Threads of a CPU's matrix products; every core's if not given.")
    ] = None
    shards: Annotated[
        Count | None,
        Setting("Run", "Parts of each batch, for several processes to share; their number if not given."),
    ] = None
    gpu_memory_limit: Annotated[
        Positive | None, Setting("Run", "GiB of a GPU that arrays may take, all if not given.")
    ] = None
    deterministic: Annotated[
        bool, Setting("Run", "The same bits whatever the number of cores: one thread, reproducible algorithms.")
    ] = False
    max_time: Annotated[Positive | None, Setting("Run", "Stop after so many seconds.")] = None
    save_every: Annotated[
        str | None, Setting("Run", "Save within epochs too: 500 is after so many steps, 60s after so much time.")
    ] = None
    keep_checkpoints: Annotated[Count, Setting("Run", "Checkpoints kept to resume from, the last included.")] = 3
    on_nan: Annotated[
        Literal["stop", "restore-and-halve-lr"],
        Setting("Run", "What to do when numbers become NaN or infinite."),
    ] = "stop"
    progress: Annotated[
        Literal["auto", "rich", "plain", "json", "off"],
        Setting("Run", "Display; auto is rich on a terminal, else plain lines; json is a line an epoch."),
    ] = "auto"
    log: Annotated[
        tuple[str, ...], Depth, Setting("Run", "Also log to tensorboard, csv, wandb, trackio; several at once.")
    ] = ()
    runs_dir: Annotated[str, Setting("Run", "Where run folders are kept.")] = "runs"
    name: Annotated[str | None, Setting("Run", "Name of the run folder; the recipe's if not given.")] = None
    tags: Annotated[
        tuple[str, ...], Depth, Setting("Run", "Words to find the run again by: nnbackprop runs --tags WORD.")
    ] = ()

    @property
    def params_dtype(self) -> Literal["float32", "float64"]:
        """The dtype of parameters, losses and evaluations."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def fixed_settings(self) -> dict[str, Any]:
        """What stays the same from a run's first step to its last, as JSON has it."""
        left_out = {*CHANGEABLE_ON_RESUME, *NO_FLAGS, "name"}
        settings = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


NAMES = tuple(field.name for field in fields(Config))
NO_FLAGS = ("recipe", "title", "lr_changes")
DATA_OPTIONS = (
    *("target", "task", "features", "drop", "missing", "sample_weight"),
    *("separator", "decimal", "encoding", "header"),
    *("size", "channels"),
)
"""How data is read and used: the fields of `DataOptions`."""

CHANGEABLE_ON_RESUME = (
    *("epochs", "schedule_epochs", "patience", "max_time", "on_nan"),
    *("data", "backend", "device", "threads", "deterministic", "resident", "gpu_memory_limit"),
    *("progress", "doctor", "save_every", "keep_checkpoints", "runs_dir", "log", "tags"),
)
"""How long and where a run goes on, which a resume may change; its data are known by their fingerprint."""

PLAIN_NETWORK: dict[str, Any] = {
    "hidden": (),
    "activation": "relu",
    "output_activation": "identity",
    "norm": None,
    "dropout": (),
}
"""Settings of a network without `layers`, as they stand beside `layers`, which take their place."""

RENAMED_SETTINGS = {
    "output": "output_activation",
    "outputs": "n_outputs",
    "targets": "target_values",
    "keep": "keep_checkpoints",
}
RENAMED_VALUES = {("scale", "book"): "rashid", ("init", "book"): "fan-out-normal"}
"""Former names, which configurations and checkpoints written before still have, and flags still may."""


def parse(settings: Mapping[str, Any], source: str) -> Config:
    """Settings as a Config; UsageError names the setting that is unknown or has a wrong value, and `source`."""
    settings = with_present_names(settings)
    for name, value in settings.items():
        if name not in NAMES:
            near = difflib.get_close_matches(name.replace("-", "_"), NAMES, 1)
            hint = f" Did you mean {near[0]}?" if near else f" Known are: {', '.join(NAMES)}."
            raise UsageError(f"{source} has a setting {name!r} that does not exist.{hint}")
        if isinstance(value, str) and not value.isprintable():
            raise UsageError(f"{source} has {name} = {value!r}, which holds control characters. {BACKSLASH}.")
    if settings.get("layers"):
        settings = {"hidden": (), **settings}
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").split("[")[0]
        raise UsageError(f"{source} has {name} = {settings.get(name)!r}: {what[0].lower() + what[1:]}.") from None
    _check_layers(config, source)
    return config


def _check_layers(config: Config, source: str) -> None:
    """UsageError where layers, which are the whole network, stand beside what describes a plain one."""
    if not config.layers:
        return
    for name, default in PLAIN_NETWORK.items():
        if (value := getattr(config, name)) != default:
            shown = list(value) if isinstance(value, tuple) else value
            raise UsageError(
                f"{source} has layers and {name} = {shown!r}: layers are the whole network, with an entry for "
                f"each activation, normalization and dropout. Leave {name} out, or leave layers out."
            )


def with_present_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, with names and values that have changed since as they are now."""
    renamed = {RENAMED_SETTINGS.get(name, name): value for name, value in settings.items()}
    return {
        name: RENAMED_VALUES.get((name, value), value) if isinstance(value, str) else value
        for name, value in renamed.items()
    }


def with_changes(config: Config, changes: Mapping[str, Any], source: str) -> Config:
    """The same configuration with other values for some settings, checked as `parse` does."""
    return parse(without_none({**asdict(config), **with_present_names(changes)}), source)


def without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None}
