"""Configurations: recipes and flags, wrong settings by name, files that are no TOML, and what is built of them."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from backends import select
from nnbackprop.data import Dataset, Scaling
from nnbackprop.errors import RunFolderError, UsageError
from nnbackprop.nn.layers import ACTIVATIONS, Dense, Dropout, ReLU, Sigmoid
from nnbackprop.optim import AdamW, ExponentialMovingAverage, GradientClipping, Momentum
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_checks import check_config
from nnbackprop.runs.config_files import apply_overrides, load_recipe, load_run_config, recipes, resolve, to_toml
from nnbackprop.runs.header import describe_config
from nnbackprop.runs.settings import parse_settings
from tests.support.commands import run, said

RECIPES = (
    "ciresan",
    "cnn",
    "deformed",
    "ex4",
    "house-prices",
    "images",
    "iris",
    "mnist",
    "mnist-original",
    "rashid",
    "table",
    "weight-height",
)


def test_these_are_the_recipes() -> None:
    assert tuple(recipes()) == RECIPES


def test_a_file_that_names_a_packaged_recipe_begins_with_its_settings(tmp_path: Path) -> None:
    """As the command line does with flags; and a title of its own is none."""
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "table"\ndata = "a.csv"\nhidden = [8]\nepochs = 3\n', encoding="utf-8")
    assert load_recipe(str(path)) == resolve("table", {"data": "a.csv", "hidden": (8,), "epochs": 3})
    path.write_text('recipe = "tables"\ndata = "a.csv"\n', encoding="utf-8")
    assert load_recipe(str(path)) == Config(recipe="tables", data="a.csv")
    path.write_text('data = "a.csv"\n', encoding="utf-8")
    assert load_recipe(str(path)) == Config(recipe="mine", data="a.csv")
    path.write_text("recipe = [1]\n", encoding="utf-8")
    with pytest.raises(UsageError, match="has recipe ="):
        load_recipe(str(path))


@pytest.mark.parametrize("name", ["cnn", "iris", "weight-height"])
def test_a_config_toml_that_names_its_recipe_is_whole(name: str, tmp_path: Path) -> None:
    """It leaves out what is None, as the number of outputs here, which the recipe may give."""
    config = replace(resolve(name, {}), n_outputs=None)
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_recipe(str(path)) == config
    former = path.read_text(encoding="utf-8").replace("lr_changes = []\n", "").replace("keep_checkpoints", "keep")
    path.write_text(former, encoding="utf-8")
    assert load_recipe(str(path)) == config


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_configuration_is_read_back(name: str) -> None:
    config = resolve(name, {"device": "cpu", "clip_norm": 1.5, "max_time": 9.0})
    assert parse_settings(tomllib.loads(to_toml(config)), "again") == config


def test_former_values_are_read_as_the_present_ones() -> None:
    assert parse_settings({"scale": "book"}, "here") == parse_settings({"scale": "rashid"}, "here")
    assert parse_settings({"init": "book"}, "here") == parse_settings({"init": "fan-out-normal"}, "here")


def test_former_names_are_read_as_the_present_ones(tmp_path: Path) -> None:
    former = {"output": "tanh", "outputs": 1, "targets": [-1.0, 1.0], "keep": 2}
    present = {"output_activation": "tanh", "n_outputs": 1, "target_values": [-1.0, 1.0], "keep_checkpoints": 2}
    assert parse_settings(former, "here") == parse_settings(present, "here") != Config()
    (tmp_path / "former.toml").write_text("outputs = 3", encoding="utf-8")
    assert resolve(str(tmp_path / "former.toml"), {"n_outputs": 1}).n_outputs == 1
    assert resolve(str(tmp_path / "former.toml"), {"outputs": 1}).n_outputs == 1


@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_former_flags_set_the_present_settings() -> None:
    former = ["--loss", "mse", "--output", "tanh", "--targets", "-1", "1", "--outputs", "1", "--keep", "2"]
    assert run("train", "weight-height", "--epochs", "2", "--progress", "off", "--name", "former", *former) == 0
    config = load_run_config(Path("runs/former/config.toml"))
    assert (config.output_activation, config.target_values, config.n_outputs) == ("tanh", (-1.0, 1.0), 1)
    assert config.keep_checkpoints == 2


# Values.

ABSURD = [
    ("batch_size", 0),
    ("batch_size", -5),
    ("batch_size", 2.5),
    ("batch_size", 2**63),
    ("epochs", 0),
    ("epochs", 10**30),
    ("epochs", True),
    ("lr", -1),
    ("lr", 0),
    ("lr", float("nan")),
    ("lr", float("inf")),
    ("dropout", [1.0]),
    ("dropout", [-0.1]),
    ("dropout", [float("nan")]),
    ("dropout", [0.1] * 2000),
    ("dropout", 0.5),
    ("hidden", [0]),
    ("hidden", [10**9]),
    ("hidden", [1] * 2000),
    ("hidden", 512),
    ("hidden", [[512]]),
    ("n_outputs", 0),
    ("seed", -1),
    ("seed", 2**64),
    ("threads", 10**6),
    ("momentum", 1.0),
    ("weight_decay", float("inf")),
    ("label_smoothing", 1),
    ("target_values", [0.0]),
    ("target_values", [0.0, float("nan")]),
    ("l1", -1e-9),
    ("clip_norm", 0),
    ("patience", 0),
    ("validation", 1),
    ("test_fraction", -0.1),
    ("max_time", float("-inf")),
    ("dtype", "float8"),
    ("bias", 1),
    ("data", ["mnist"]),
    ("name", {"a": 1}),
    ("batch_size", "half"),
    ("backend", "tensorflow"),
    ("norm", "group"),
]


@pytest.mark.parametrize(("name", "value"), ABSURD, ids=lambda value: str(value)[:20])
def test_a_wrong_value_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^my\.toml has {name} = "):
        parse_settings({name: value}, "my.toml")


def test_a_wrong_value_says_what_is_right() -> None:
    with pytest.raises(UsageError, match=r"lr = -1: expected `float` > 0\.0\."):
        parse_settings({"lr": -1}, "my.toml")


@pytest.mark.parametrize("name", [field.name for field in fields(Config)])
def test_no_setting_takes_a_table_and_a_misspelt_one_names_the_nearest(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^my\.toml has {name} = "):
        parse_settings({name: {"x": 1}}, "my.toml")
    with pytest.raises(UsageError, match=rf"Did you mean {name}\?"):
        parse_settings({f"{name}_x": 1}, "my.toml")


def test_an_unknown_setting_lists_all_settings() -> None:
    with pytest.raises(UsageError, match=r"'zork' that does not exist\. Known are: recipe, "):
        parse_settings({"zork": 1}, "my.toml")


SPACES = {"ideographic": "\u3000", "no-break": "\u00a0", "narrow no-break": "\u202f", "joiner": "\u200d"}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_unicode_spaces_belong_to_names_of_files_and_columns(space: str) -> None:
    settings = {"data": f"price{space}list.csv", "sample_weight": f"b{space}kg"}
    config = parse_settings(settings, "here")
    assert (config.data, config.sample_weight) == tuple(settings.values())
    assert parse_settings(tomllib.loads(to_toml(config)), "again") == config


def test_a_tab_separates_values_and_is_in_no_other_setting() -> None:
    assert parse_settings({"separator": "\t"}, "here").separator == "\t"
    for name, value in (("data", "a\tb"), ("separator", "\n"), ("data", "a\x85b")):
        with pytest.raises(UsageError, match="control characters"):
            parse_settings({name: value}, "here")


@pytest.mark.parametrize(("name", "value"), [("tags", ["caf\udce9"]), ("data", "caf\udce9.csv")])
def test_bytes_that_are_no_text_are_refused(name: str, value: object) -> None:
    r"""A terminal of Latin-1 gives caf\xe9, of which Python makes caf\udce9."""
    with pytest.raises(UsageError, match=rf"here has {name} = 'caf\\udce9.*', which is not text in utf-8"):
        parse_settings({name: value}, "here")


# Files.


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_recipe_file_is_read_and_overridden(mark: bytes, tmp_path: Path) -> None:
    """With a byte order mark and Windows line ends too."""
    (tmp_path / "mine.toml").write_bytes(mark + b"hidden = [3]\r\nlr = 0.5\r\n")
    config = resolve(str(tmp_path / "mine.toml"), {"lr": 0.25})
    assert (config.hidden, config.lr, config.recipe) == ((3,), 0.25, "mine")


@pytest.mark.parametrize("recipe", ["minst", "a\0b", "x" * 5000, "."])
def test_a_recipe_that_does_not_exist_lists_those_that_do(recipe: str) -> None:
    with pytest.raises(
        UsageError,
        match=r"neither a recipe nor a TOML file, and there is no data of that name.*ex4, .*mnist, mnist-"
        "original, |cannot be read",
    ):
        resolve(recipe, {})


BROKEN = {
    "nested without end": b"a = " + b"[" * 9000,
    "tables without end": b"a = " + b"{a = " * 2500,
    "a number without end": b"lr = " + b"1" * 9000,
    "a name without end": b"a" + b".a" * 2**20,
    "no text": b"lr = \xff",
    "UTF-16": "lr = 1".encode("utf-16"),
    "a zero byte": b"lr = 1\0",
    "a name that would take minutes": b"a" + b".a" * 2**16,
    "a value twice": b"lr = 1\nlr = 2",
    "no such day": b"lr = 2024-02-31",
    "nothing after the sign": b"lr =",
}


def test_a_table_of_900_targets_is_trained_resumed_and_evaluated(two_clouds: None) -> None:
    names = [f"label-{k:04}" for k in range(900)]
    values = np.random.default_rng(0).integers(0, 2, (20, 900))
    lines = [",".join(["x", *names]), *(f"{i}," + ",".join(map(str, row)) for i, row in enumerate(values))]
    Path("wide.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ["--target", *names, "--hidden", "2", "--epochs", "1", "--progress", "off", "--name", "wide"]
    assert run("train", "wide.csv", *words) == 0
    assert load_run_config(Path("runs/wide/config.toml")).target == tuple(names)
    assert run("train", "--resume", "wide", "--epochs", "2", "--progress", "off") == 0
    assert run("evaluate", "wide") == 0


def test_a_configuration_too_large_to_be_read_again_is_refused_before_training(
    two_clouds: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("small.toml").write_text('data = "two.npz"\nhidden = [2]\nbackend = "numpy"\n', encoding="utf-8")
    monkeypatch.setattr("nnbackprop.runs.config_files.MAX_FILE_SIZE", 500)
    for dry_run in ([], ["--dry-run"]):
        assert run("train", "small.toml", *dry_run) == 2
        assert "bytes, and a config.toml may have 500: most are names of columns" in said(capsys)
    assert not list(Path("runs").iterdir())


def test_a_configuration_with_more_dots_than_are_read_again_is_refused() -> None:
    to_toml(Config(tags=("." * 100,)))
    with pytest.raises(UsageError, match=r"may have 100 dots, and one has more: "):
        to_toml(Config(tags=("." * 101,)))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_its_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(BROKEN[name])
    with pytest.raises(UsageError, match=r"my\.toml cannot be read as TOML"):
        resolve(str(path), {})
    with pytest.raises(RunFolderError, match=r"my\.toml cannot be read as a run's configuration"):
        load_run_config(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (r'data = "C:\Users\me\train.csv"', "cannot be read as TOML"),  # \U begins eight hex digits
        (r'data = "C:\temp\new.csv"', "control characters"),  # a tab and a line break
    ],
)
def test_a_windows_path_in_double_quotes_is_explained(line: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(line, encoding="utf-8")
    with pytest.raises(UsageError, match=reason) as error:
        resolve(str(tmp_path / "my.toml"), {})
    assert r"write a path in single quotes, 'C:\Users\me', or with / for each backslash" in str(error.value)


@pytest.mark.parametrize("line", [r"data = 'C:\Users\me\train.csv'", 'data = "C:/Users/me/train.csv"'])
def test_a_windows_path_as_the_error_says_is_read(line: str, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(line, encoding="utf-8")
    assert resolve(str(tmp_path / "my.toml"), {}).data.replace("\\", "/") == "C:/Users/me/train.csv"


# What is built.


@pytest.mark.parametrize(("recipe", "rates"), [("mnist", [0.2, 0.2, 0.2]), ("mnist-original", [0.4, 0.2, 0.1])])
def test_both_mnist_recipes_are_784_512_256_10_with_dropout(recipe: str, rates: list[float]) -> None:
    layers = build.network(resolve(recipe, {}), 10).layers
    assert [type(layer) for layer in layers] == [Dropout, Dense, ReLU, Dropout, Dense, ReLU, Dropout, Dense]
    assert [layer.units for layer in layers if isinstance(layer, Dense)] == [512, 256, 10]
    assert [layer.rate for layer in layers if isinstance(layer, Dropout)] == rates


@pytest.mark.parametrize(
    ("flags", "rates", "fitted"),
    [
        ({"hidden": (16,)}, [0.4, 0.2], "0.4 0.2"),
        ({"hidden": (8, 8, 8, 8)}, [0.4, 0.2, 0.1, 0.1, 0.1], "0.4 0.2 0.1 0.1 0.1"),
        ({"hidden": ()}, [], "none"),
        ({"hidden": (16, 8)}, [0.4, 0.2, 0.1], None),
        ({"hidden": (16,), "dropout": (0.3,)}, [0.3], None),
    ],
)
def test_a_recipes_dropout_is_fitted_to_other_hidden_layers_and_the_header_says_so(
    flags: dict[str, object], rates: list[float], fitted: str | None
) -> None:
    recipe = load_recipe("mnist-original")
    config = apply_overrides(recipe, flags)
    assert [layer.rate for layer in build.network(config, 10).layers if isinstance(layer, Dropout)] == rates
    line = None if fitted is None else f"the recipe's 0.4 0.2 0.1, fitted to --hidden: {fitted}"
    assert describe_config(config, None if "dropout" in flags else recipe).get("dropout") == line


def test_the_rashid_recipe_has_no_biases() -> None:
    layers = build.network(resolve("rashid", {}), 10).layers
    assert [type(layer) for layer in layers] == [Dense, Sigmoid, Dense, Sigmoid]
    assert all(not layer.bias for layer in layers if isinstance(layer, Dense))


@pytest.mark.parametrize(
    ("given", "rates"), [((), (0, 0, 0)), ((0.3,), (0, 0.3, 0.3)), ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3))]
)
def test_one_dropout_rate_is_for_all_hidden_layers(given: tuple[float, ...], rates: tuple[float, ...]) -> None:
    assert tuple(build.dropout_rates(Config(dropout=given))) == rates


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dropout": (0.1, 0.2)}, "2 dropout rates (0.1 0.2) for 2 hidden layers"),
        ({"activation": "rellu"}, "--activation 'rellu' is not known"),
        ({"loss": "hinge"}, "--loss 'hinge' is not known. Choose one of softmax-cross-entropy"),
        ({"optimizer": "lion"}, "--optimizer 'lion' is not known"),
        ({"momentum": 0.9}, "--momentum goes with momentum"),
        (
            {"loss": "mse", "label_smoothing": 0.1},
            "--label-smoothing goes with softmax-cross-entropy, binary-cross",
        ),
        (
            {"loss": "mae", "target_values": (0.1, 0.9)},
            "--target-values goes with binary-cross-entropy, half-mse, mse,",
        ),
        ({"init": "xavier"}, "'xavier' is not an initializer"),
        ({"schedule": "cosinus"}, "'cosinus' is not a schedule"),
        ({"schedule": "step:1:10", "epochs": 4000}, "'step:1:10' grows beyond the largest number"),
    ],
)
def test_an_unknown_name_is_refused_before_the_trainer_is_built(settings: dict[str, object], said: str) -> None:
    data = Dataset(np.zeros((9, 4)), np.zeros(9, np.int32), ("a", "b"))
    config = parse_settings(settings, "x")
    with pytest.raises(UsageError) as error:
        build.trainer(config, select("numpy"), data, Scaling.identity())
    assert said in str(error.value)


def test_a_warm_up_that_only_a_large_data_set_holds_is_refused_by_a_small_one_alone() -> None:
    config = Config(schedule="warmup:20000+cosine", epochs=1, batch_size=120)
    check_config(config)
    assert build.learning_rate(config, 10**7)(20000) == config.lr
    with pytest.raises(UsageError, match="the run has 8334 steps, and its warm-up takes them all"):
        build.learning_rate(config, 10**6)


def test_an_unknown_name_is_said_before_what_does_not_go_with_it() -> None:
    with pytest.raises(UsageError, match=r"--output-activation 'my-runs' is not known\. Choose one of identity"):
        check_config(Config(output_activation="my-runs"))


def test_momentum_reaches_the_optimizer() -> None:
    assert build.optimizer(Config(optimizer="momentum", momentum=0.7)) == Momentum(0.7)


def test_weight_decay_clipping_and_averaging_reach_the_optimizer() -> None:
    config = Config(optimizer="adamw", momentum=0.8, weight_decay=0.3, clip_norm=2.0, clip_value=0.5, ema=0.99)
    clipped = GradientClipping(AdamW(beta1=0.8, weight_decay=0.3), norm=2.0, value=0.5)
    assert build.optimizer(config) == ExponentialMovingAverage(clipped, 0.99)


@pytest.mark.parametrize("numbers", ["", ":5", ":5:2", ":0:0.5", ":x:0.5", ":5:0.5:1"])
def test_a_schedule_of_plateaus_names_epochs_and_a_factor(numbers: str) -> None:
    with pytest.raises(UsageError, match=r"a whole number of epochs and a factor|patience|factor"):
        build.split_schedule(f"reduce-on-plateau{numbers}")


@pytest.mark.parametrize("schedule", ["reduce-on-plateau:5:0.1+cosine", "cosine+reduce-on-plateau:5:0.1"])
def test_a_schedule_of_plateaus_is_the_last_and_comes_after_a_warm_up_alone(schedule: str) -> None:
    with pytest.raises(UsageError) as error:
        build.split_schedule(schedule)
    assert f"{schedule!r} cannot be: reduce-on-plateau is the last, and only a warm-up goes before" in str(
        error.value
    )


def test_a_learning_rate_that_is_given_replaces_the_changes_of_a_file() -> None:
    recipe = Config(lr=0.01, lr_changes=((3, 0.001),))
    assert apply_overrides(recipe, {"epochs": 3}).lr_changes == ((3, 0.001),)
    assert apply_overrides(recipe, {"lr": 0.5}).lr_changes == ()


def test_another_optimizer_does_not_take_the_weight_decay_of_a_recipes_adamw() -> None:
    recipe = Config(optimizer="adamw", weight_decay=0.05)
    check_config(apply_overrides(recipe, {"optimizer": "adam"}))
    assert apply_overrides(recipe, {"optimizer": "adamw"}).weight_decay == 0.05
    with pytest.raises(UsageError, match="--weight-decay without adamw would do nothing"):
        check_config(apply_overrides(recipe, {"optimizer": "adam", "weight_decay": 0.05}))


def test_settings_of_a_recipe_that_a_flag_leaves_without_effect_are_as_by_default() -> None:
    recipe = Config(augment=("rotate 15",), augment_half_angle=("1", "7"), l2=0.1, penalize_biases=True)
    config = apply_overrides(recipe, {"augment": (), "l2": 0.0})
    check_config(config)
    assert (config.augment_half_angle, config.penalize_biases) == ((), False)
    kept = apply_overrides(recipe, {"augment": ("scale 10",), "l1": 0.1, "l2": 0.0})
    assert (kept.augment_half_angle, kept.penalize_biases) == (("1", "7"), True)
    with pytest.raises(UsageError, match="--augment-half-angle without augment would do nothing"):
        check_config(apply_overrides(recipe, {"augment": (), "augment_half_angle": ("1",)}))


def test_changes_of_a_setting_are_in_the_order_of_their_steps() -> None:
    with pytest.raises(UsageError, match=r"lr_changes come after steps 20, 10; each must be later"):
        check_config(Config(lr_changes=((20, 0.1), (10, 0.01))))


def test_the_schedule_spans_the_run() -> None:
    rate = build.learning_rate(Config(schedule="cosine", lr=1.0, epochs=3, batch_size=30), 100)
    assert rate(0) == 1.0
    assert rate(6) == pytest.approx(0.5)  # 4 steps an epoch, the ragged one counted: half of 12
    assert rate(12) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "flags",
    [
        ["--output-activation", "sigmoid", "--loss", "binary-cross-entropy", "--n-outputs", "1"],
        ["--output-activation", "softmax", "--loss", "softmax-cross-entropy"],
        ["--output-activation", "identity", "--loss", "softmax-cross-entropy", "--n-outputs", "1"],
        ["--output-activation", "softmax", "--loss", "mse", "--n-outputs", "1"],
        ["--target-values", "1", "0"],
        ["--output-activation", "identity", "--loss", "binary-cross-entropy", "--target-values", "-1", "2"],
        [
            "--output-activation",
            "identity",
            "--loss",
            "softmax-cross-entropy",
            "--n-outputs",
            "2",
            "--target-values",
            "0",
            "2",
        ],
        ["--weight-decay", "0.5"],
        ["--penalize-biases"],
        ["--channels", "rgb"],
        ["--encoding", "latin-1"],
        ["--decimal", ","],
    ],
)
@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_settings_that_do_not_go_together_are_refused(flags: list[str]) -> None:
    assert run("train", "weight-height", "--epochs", "2", *flags) == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--target-values", "0.1", "0.9"], "--target-values would do nothing with --loss softmax-cross-entropy"),
        (["--output-activation", "softmax"], "--loss softmax-cross-entropy takes logits"),
        (["--n-outputs", "1"], "A softmax over --n-outputs 1 is always 1"),
    ],
)
@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_settings_that_do_not_go_with_the_loss_that_auto_chooses_are_refused(
    flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "iris", "--loss", "auto", "--epochs", "2", *flags) == 2
    assert reason in said(capsys)
    assert not Path("runs").exists()


@pytest.mark.parametrize("loss", ["auto", "mae", "huber:2", "poisson"])
def test_an_output_activation_goes_with_any_loss_that_takes_no_logits(loss: str) -> None:
    config, counts = Config(loss=loss, output_activation="softplus"), Dataset(np.ones((9, 4)), np.ones((9, 1)))
    check_config(config)
    assert type(build.network(build.resolve_task(config, counts), 1).layers[-1]) is ACTIVATIONS["softplus"]


def test_target_values_of_a_regression_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--target-values stand for classes and the task of .* is regression"):
        build.resolve_task(
            Config(loss="auto", target_values=(0.1, 0.9)), Dataset(np.ones((9, 4)), np.ones((9, 1)))
        )


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--gpu-memory-limit", "4"], "numpy on cpu cannot limit its GPU memory"),
        (["--dtype", "tf32"], "TF32 needs an NVIDIA GPU"),
        (["--dtype", "bfloat16"], "numpy has no bfloat16"),
    ],
)
@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_what_the_machine_does_not_have_is_refused_before_a_folder_is_made(
    flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "weight-height", "--backend", "numpy", *flags) == 2
    assert reason in said(capsys)
    assert not Path("runs").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("unit", "flags", "status", "reason"),
    [
        (1, ["--init", "normal:1e308"], 2, "A parameter of layer dense1 begins with 15 of 15"),
        (1, ["--init", "uniform:1e308"], 2, "uniform:0.12"),
        (5e-324, ["--scale", "standard"], 3, "the scaling of all features"),
        (5e-324, ["--scale", "per-feature"], 3, "the scaling of feature 0"),
        (1e-40, ["--scale", "standard"], 3, "float32 cannot hold"),
        (1e200, ["--scale", "standard", "--dtype", "float64"], 3, "the scaling of all features"),
    ],
)
@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_initial_values_that_are_not_finite_are_refused_before_a_folder_is_made(
    unit: float, flags: list[str], status: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.savez("two.npz", X=np.round(9 * rng.standard_normal((40, 3))) * unit, y=np.arange(40) % 2)
    words = ["--data", "two.npz", "--hidden", "5", "--dropout", "0", "--progress", "off", *flags]
    assert run("train", "mnist", *words) == status
    assert reason in said(capsys)
    assert not Path("runs").exists()


def test_augment_and_ema_are_settings_of_a_run(two_clouds: None, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez("images.npz", X=rng.integers(0, 256, (40, 6, 6), np.uint8), y=np.arange(40) % 2)
    words = ["train", "mnist", "--data", "images.npz", "--hidden", "4", "--epochs", "2", "--progress", "plain"]
    augment = ["--augment", "shift 1", "rotate 10 or shear 10", "--augment-half-angle", "1", "--ema", "0.9"]
    assert run(*words, *augment, "--name", "a") == 0
    output = said(capsys)
    assert "augment: shift 1, rotate 10 or shear 10; half the angle for 1" in output
    assert "moving average, decay 0.9" in output
    kept = load_run_config(Path("runs/a/config.toml"))
    assert kept.augment == ("shift 1", "rotate 10 or shear 10")
    assert run("train", "--resume", "a", "--epochs", "3") == 0
    said(capsys)
    assert run("evaluate", "a", "--augment", "3") == 0
    assert "mean of 3 augmented copies of each sample: accuracy " in said(capsys)
    assert run("evaluate", "a", "--augment", "0") == 2
    assert "accuracy" not in said(capsys)  # it is refused before anything is printed
    assert run(*words, "--augment", "rotat 10") == 2
    assert "Did you mean rotate?" in said(capsys)
