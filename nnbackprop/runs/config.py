"""The settings of a run: one flat table, in TOML, in a run folder, and as command-line flags."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

PositiveInt = Annotated[int, Meta(ge=1, le=2**31 - 1)]
LayerWidth = Annotated[int, Meta(ge=1, le=2**20)]  # of a layer
MaxLength = Meta(max_length=1000)  # of a list
MAX_NESTING = 10  # of residuals in residuals
Threads = Annotated[int, Meta(ge=1, le=1024)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # what TOML has
Fraction = Annotated[float, Meta(ge=0, lt=1)]
PositiveFloat = Annotated[float, Meta(gt=0, le=1e308)]  # neither NaN nor infinite
NonNegativeFloat = Annotated[float, Meta(ge=0, le=1e308)]
LrChange = tuple[Annotated[int, Meta(ge=0, le=2**53)], PositiveFloat]
"""After so many steps, this learning rate: a run that was resumed with --lr, or of which the lab changed it."""
DropoutChange = tuple[Annotated[int, Meta(ge=0, le=2**53)], Annotated[tuple[Fraction, ...], MaxLength]]
"""After so many steps, this rate of each Dropout layer: a run of which the lab changed them."""
FiniteFloat = Annotated[float, Meta(ge=-1e308, le=1e308)]


@dataclass(frozen=True)
class Setting:
    """How a setting is shown: its group, help in a line, and an environment variable that may give it."""

    group: Literal["Common", "Network", "Learning", "Data", "Run"]
    help: str
    env_var: str | None = None


@dataclass(frozen=True)
class Config:
    """Every setting of a run. A recipe names those it changes; the names are those of the flags."""

    # Without flags
    recipe: str = ""
    title: str = ""
    lr_changes: Annotated[tuple[LrChange, ...], MaxLength] = ()
    dropout_changes: Annotated[tuple[DropoutChange, ...], MaxLength] = ()

    # Common
    data: Annotated[
        str, Setting("Common", "A data set's name, or a file or folder; see `nnbackprop data --help`.")
    ] = "mnist"
    epochs: Annotated[PositiveInt, Setting("Common", "Passes over the training data.")] = 20
    batch_size: Annotated[
        PositiveInt | Literal["full", "auto"],
        Setting("Common", "Samples a step; `full` is all of them, `auto` a power of two near 1/500 of them."),
    ] = 120
    lr: Annotated[
        PositiveFloat | Literal["auto"],
        Setting("Common", "Learning rate, where the schedule begins or peaks; `auto` is found by `lr-find`."),
    ] = 0.08
    seed: Annotated[
        Seed, Setting("Common", "Seed of initial weights, shuffles, splits, dropout masks and augmentation.")
    ] = 0
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

    # Network
    hidden: Annotated[
        tuple[LayerWidth, ...],
        MaxLength,
        Setting("Network", "Units of each hidden layer of a plain network, such as 512 256."),
    ] = (512, 256)
    layers: Annotated[
        tuple[str, ...],
        MaxLength,
        Setting(
            "Network", "The whole network, an entry a layer: 'conv 8 3x3' relu 'residual(...)' flatten dense ..."
        ),
    ] = ()
    activation: Annotated[
        str, Setting("Network", "Activation of the hidden layers: relu, sigmoid, tanh, gelu ...")
    ] = "relu"
    output_activation: Annotated[
        str, Setting("Network", "Activation of the last layer; identity where the loss takes logits.")
    ] = "identity"
    n_outputs: Annotated[
        LayerWidth | None,
        Setting("Network", "Units of the last layer; one a class if not given. 1 suits two classes."),
    ] = None
    bias: Annotated[bool, Setting("Network", "Whether layers have biases.")] = True
    norm: Annotated[
        Literal["batch", "layer"] | None,
        Setting("Network", "Normalization before each hidden activation: batch or layer; none if not given."),
    ] = None
    dropout: Annotated[
        tuple[Fraction, ...],
        MaxLength,
        Setting("Network", "One rate for all hidden layers, or one for the input and each of them."),
    ] = ()
    init_from: Annotated[
        str | None,
        Setting("Network", "Begin with the weights of this run, or `last`, in each layer whose shape fits."),
    ] = None
    init: Annotated[
        str, Setting("Network", "Initial weights: he-normal, glorot-uniform, uniform:0.12, normal:1 ...")
    ] = "he-normal"

    # Learning
    loss: Annotated[
        str,
        Setting(
            "Learning",
            "softmax-cross-entropy, binary-cross-entropy, mse, mae, huber, poisson ...; auto is by the task.",
        ),
    ] = "softmax-cross-entropy"
    label_smoothing: Annotated[
        Fraction, Setting("Learning", "Fraction of each target spread over all classes.")
    ] = 0.0
    target_values: Annotated[
        tuple[FiniteFloat, FiniteFloat],
        Setting("Learning", "What outputs are compared with: for the other classes, and for the right one."),
    ] = (0.0, 1.0)
    optimizer: Annotated[str, Setting("Learning", "sgd, momentum, nesterov, rmsprop, adagrad, adam or adamw.")] = (
        "sgd"
    )
    momentum: Annotated[
        Fraction | None, Setting("Learning", "Momentum of momentum and nesterov; beta1 of adam and adamw.")
    ] = None
    weight_decay: Annotated[NonNegativeFloat, Setting("Learning", "Decoupled weight decay of adamw.")] = 0.01
    schedule: Annotated[
        str,
        Setting(
            "Learning",
            "constant, step:EPOCHS:FACTOR, exponential:FACTOR, cosine, one-cycle, warmup:STEPS+cosine ..., "
            "reduce-on-plateau:EPOCHS:FACTOR, by the validation loss.",
        ),
    ] = "constant"
    schedule_epochs: Annotated[
        PositiveInt | None, Setting("Learning", "Epochs that the schedule spans; those of --epochs if not given.")
    ] = None
    l1: Annotated[NonNegativeFloat, Setting("Learning", "Adds l1 times the sum of |w| to the loss.")] = 0.0
    l2: Annotated[NonNegativeFloat, Setting("Learning", "Adds l2 / 2 times the sum of w^2 to the loss.")] = 0.0
    penalize_biases: Annotated[
        bool, Setting("Learning", "Whether l1 and l2 count every trained parameter: biases too.")
    ] = False
    clip_norm: Annotated[PositiveFloat | None, Setting("Learning", "Largest global norm of the gradient.")] = None
    clip_value: Annotated[
        PositiveFloat | None, Setting("Learning", "Largest absolute value of each entry of the gradient.")
    ] = None
    ema: Annotated[
        Fraction, Setting("Learning", "Evaluate and save a moving average of the weights, of this decay: 0.999.")
    ] = 0.0
    patience: Annotated[
        PositiveInt | None, Setting("Learning", "Stop after so many epochs without a better validation loss.")
    ] = None
    shuffle: Annotated[bool, Setting("Learning", "Whether each epoch has an order of its own.")] = True

    # Data
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
    encoding: Annotated[
        str | None, Setting("Data", "Encoding of a CSV file: utf-8, utf-16, latin-1 or cp1252.")
    ] = None
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
    augment: Annotated[
        tuple[str, ...],
        MaxLength,
        Setting(
            "Data",
            'Random transformations of training images: "shift 2" "rotate 15 or shear 15" "scale 10" flip '
            '"elastic 5.5 37" "noise 0.1" "cutout 8".',
        ),
    ] = ()
    augment_half_angle: Annotated[
        tuple[str, ...],
        MaxLength,
        Setting("Data", "Classes that are rotated and sheared by half as much, such as 1 7 of digits."),
    ] = ()
    validation: Annotated[Fraction, Setting("Data", "Fraction of the training data kept for validation.")] = 0.0
    test_fraction: Annotated[
        Fraction, Setting("Data", "Fraction of a single table kept for the test; 0 for none.")
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

    # Run
    doctor: Annotated[bool, Setting("Run", "Monitor the run for what goes wrong, and say so at its end.")] = False
    dtype: Annotated[
        Literal["float32", "float64", "tf32", "float16", "bfloat16"],
        Setting(
            "Run", "Precision of the arithmetic; tf32 (a GPU's), float16 and bfloat16 keep parameters in float32."
        ),
    ] = "float32"
    threads: Annotated[
        Threads | None,
        Setting(
            "Run", "Threads of a CPU's matrix products; as many as cores are free, at any time, if not given."
        ),
    ] = None
    shards: Annotated[
        PositiveInt | None,
        Setting("Run", "Parts of each batch, for several processes to share; their number if not given."),
    ] = None
    sync_batchnorm: Annotated[
        bool, Setting("Run", "Batch normalization by the statistics of the whole batch, not of each shard.")
    ] = False
    gpu_memory_limit: Annotated[
        PositiveFloat | None, Setting("Run", "GiB of a GPU that arrays may take, all if not given.")
    ] = None
    deterministic: Annotated[
        bool, Setting("Run", "The same bits whatever the number of cores: one thread, reproducible algorithms.")
    ] = False
    max_time: Annotated[PositiveFloat | None, Setting("Run", "Stop after so many seconds.")] = None
    save_every: Annotated[
        str | None, Setting("Run", "Save within epochs too: 500 is after so many steps, 60s after so much time.")
    ] = None
    keep_checkpoints: Annotated[
        PositiveInt, Setting("Run", "Checkpoints kept to resume from, the last included.")
    ] = 3
    on_nan: Annotated[
        Literal["stop", "restore-and-halve-lr"],
        Setting("Run", "What to do when numbers become NaN or infinite."),
    ] = "stop"
    progress: Annotated[
        Literal["auto", "rich", "plain", "json", "off"],
        Setting("Run", "Display; auto is rich on a terminal, else plain lines; json is a line an epoch."),
    ] = "auto"
    log: Annotated[
        tuple[str, ...],
        MaxLength,
        Setting("Run", "Also log to tensorboard, csv, wandb, trackio; several at once."),
    ] = ()
    runs_dir: Annotated[str, Setting("Run", "Where run folders are kept.")] = "runs"
    name: Annotated[str | None, Setting("Run", "Name of the run folder; the recipe's if not given.")] = None
    tags: Annotated[
        tuple[str, ...], MaxLength, Setting("Run", "Words to find the run again by: nnbackprop runs --tags WORD.")
    ] = ()

    @property
    def params_dtype(self) -> Literal["float32", "float64"]:
        """The dtype of parameters, losses and evaluations."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def run_name(self) -> str:
        """Name of the run folder, unless it is taken."""
        return self.recipe if self.name is None else self.name

    @property
    def fixed_settings(self) -> dict[str, Any]:
        """What stays the same from a run's first step to its last, as JSON has it."""
        left_out = {*CHANGEABLE_ON_RESUME, *NO_FLAGS, "name"}
        settings = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}

    def changes(self, step: float) -> dict[str, Any]:
        """What was changed while the run went on, in fewer than `step` steps, as JSON has it."""
        return {
            "lr_changes": [[after, lr] for after, lr in self.lr_changes if after < step],
            "dropout_changes": [[after, list(rates)] for after, rates in self.dropout_changes if after < step],
        }


NO_FLAGS = ("recipe", "title", "lr_changes", "dropout_changes")
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


def idle_settings(config: Config) -> dict[str, str]:
    """The settings that do nothing as the others are, and what each of them goes with."""
    used = {
        "weight_decay": ("adamw", config.optimizer == "adamw"),
        "augment_half_angle": ("augment", config.augment),
        "penalize_biases": ("l1 or l2", config.l1 or config.l2),
    }
    return {name: needed for name, (needed, is_there) in used.items() if not is_there}
