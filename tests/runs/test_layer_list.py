"""Networks as lists: `layers` in TOML and `--layers`, in every command; errors that name the entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import He, parse_initializer
from nnbackprop.nn.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    LayerNorm,
    LeakyReLU,
    Maxout,
    MaxPool2D,
    PReLU,
    ReLU,
    Reshape,
    SpatialDropout2D,
)
from nnbackprop.nn.sequential import Residual
from nnbackprop.runs import build
from nnbackprop.runs.config_files import load_recipe, load_run_config, resolve, to_toml
from nnbackprop.runs.layer_list import WORDS, parse_layers
from nnbackprop.runs.settings import parse_settings
from nnbackprop.runs.trained_model import TrainedModel
from tests.support.commands import run, said

CNN = (
    "conv 3 3x3 padding=same",
    "batchnorm",
    "relu",
    "residual(conv 3 3x3 padding=same, batchnorm, relu, residual(conv 3 1x1))",
    "maxpool 2",
    "spatialdropout 0.1",
    "flatten",
    "dense 8",
    "relu",
    "dense",
)


@pytest.mark.parametrize(
    ("entry", "layer"),
    [
        ("conv 32 3x3", Conv2D(32, (3, 3))),
        ("conv 32", Conv2D(32)),
        ("conv 32 5x4 stride=2 padding=same bias=false", Conv2D(32, (5, 4), 2, "same", bias=False)),
        ("conv 8 3 padding=1", Conv2D(8, 3, padding=1)),
        ("maxpool 2", MaxPool2D(2)),
        ("averagepool 3x3 stride=2x1", AveragePool2D((3, 3), (2, 1))),
        ("globalaveragepool", GlobalAveragePool2D()),
        ("flatten", Flatten()),
        ("dense 128", Dense(128)),
        ("maxout 128 pieces=3", Maxout(128, 3)),
        ("batchnorm momentum=0.2", BatchNorm(0.2)),
        ("layernorm", LayerNorm()),
        ("dropout 0.5", Dropout(0.5)),
        ("spatialdropout 0.1", SpatialDropout2D(0.1)),
        ("prelu shared=true", PReLU(shared=True)),
        ("leaky-relu 0.2", LeakyReLU(0.2)),
        ("relu", ReLU()),
        ("residual(dense 4, relu)", Residual(Dense(4), ReLU())),
        (
            "residual (conv 8 3x3 bias=false , residual(relu,conv 8))",
            Residual(Conv2D(8, (3, 3), bias=False), Residual(ReLU(), Conv2D(8))),
        ),
    ],
)
def test_an_entry_is_a_layer(entry: str, layer: Any) -> None:
    assert parse_layers([entry, "dense"], 10, He()) == (layer, Dense(10))


def test_every_word_is_a_layer_that_some_entry_makes() -> None:
    needed = {"conv": " 3", "dense": " 3", "maxout": " 3", "dropout": " 0.5", "spatialdropout": " 0.5"}
    for word, kind in WORDS.items():
        assert type(parse_layers([word + needed.get(word, ""), "dense"], 10, He())[0]) is kind


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("cnv 32 3x3", r"Entry 2 of layers, 'cnv 32 3x3': 'cnv' is not a layer\. Did you mean conv\?"),
        ("xyzzy", "'xyzzy' is not a layer. Known are conv, maxpool,"),
        ("", "Entry 2 of layers, '': '' is not a layer"),
        ("conv", "'conv': conv needs filters, as in 'conv 32 3x3 padding=same'"),
        ("conv 32 3y3", "kernel_size is '3y3'; expected"),
        ("conv 32 0x3", "kernel_size is a whole number of at least 1"),
        ("conv 32 stride=0", "stride is a whole number of at least 1"),
        ("dense 10 units=20", "units is given twice"),
        ("conv 32 dilation=2", "'dilation' is not an option of conv; its options are filters, kernel_size"),
        ("relu 3", r"'3' is one value too many of relu; it takes none"),
        ("dropout 1.5", "A dropout rate must be at least 0 and below 1; got 1.5"),
        ("maxpool nan", "pool_size is 'nan'; expected"),
        ("residul 3", "'residul' is not a layer. Did you mean residual?"),
        ("residual", r"Entry 2 of layers, 'residual': residual alone holds other entries.*'residual\(conv 16"),
        ("residual(relu,)", r'\["residual", "conv 16 3x3 padding=same", "relu"\]'),
        ("residual(relu))", "separated by commas"),
        ("residual(relu)(relu)", "separated by commas"),
        ("conv 3(relu)", "residual alone holds other entries"),
        ("residual(conv 8, cnv 8)", "Entry 2.2 of layers, 'cnv 8': 'cnv' is not a layer"),
        ("residual(relu, residual(dense 3, dropout))", "Entry 2.2.2 of layers, 'dropout': dropout needs rate"),
        ("residual(dense)", "Entry 2.1 of layers, 'dense': dense needs units, as in 'dense 128'"),
        ("residual(" * 12 + "relu" + ")" * 12, "nested 10 deep at most"),
    ],
)
def test_an_entry_that_cannot_be_is_named(entry: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_layers(["relu", entry, "dense"], 10, He())


def test_the_last_weights_give_as_many_outputs_as_the_data_needs() -> None:
    with pytest.raises(
        UsageError, match=r"Entry 3 of layers, 'dense 5': it gives 5 outputs and 10 are needed.* 'dense'"
    ):
        parse_layers(["dense 7", "relu", "dense 5"], 10, He())
    with pytest.raises(UsageError, match="no layer with weights"):
        parse_layers(["relu"], 10, He())
    assert parse_layers(["dense 10", "relu"], 10, He())[0] == Dense(10)
    with pytest.raises(UsageError, match=r"Entry 2\.1 of layers, 'dense 5': it gives 5 outputs"):
        parse_layers(["dense 5", "residual(dense 5, relu)"], 10, He())


def test_init_and_bias_are_those_of_the_configuration_and_none_before_batchnorm() -> None:
    init = parse_initializer("uniform:0.1")
    layers = parse_layers(["conv 3", "batchnorm", "dense 3 bias=true", "batchnorm", "dense"], 2, init)
    assert [layer.bias for layer in layers if isinstance(layer, (Conv2D, Dense))] == [False, True, True]
    assert all(layer.weight_init == init for layer in layers if isinstance(layer, (Conv2D, Dense)))
    assert not parse_layers(["dense"], 2, init, bias=False)[0].bias
    in_order = parse_layers(["dense 3 false", "conv 3 3x3 1 valid false", "dense 4 true", "dense"], 2, init)
    assert [layer.bias for layer in in_order if isinstance(layer, (Conv2D, Dense))] == [False, False, True, True]
    (block, _) = parse_layers(["residual(dense 3, batchnorm, dense 3)", "dense"], 2, init)
    assert [layer.bias for layer in block.layers if isinstance(layer, Dense)] == [False, True]


def test_a_residual_may_be_a_list_as_in_toml_and_is_kept_in_one_line(tmp_path: Path) -> None:
    recipe = tmp_path / "blocks.toml"
    recipe.write_text(
        'layers = ["dense 4", ["residual", "dense 4 bias=false", "relu", ["residual", "dense 4"]], "dense"]',
        encoding="utf-8",
    )
    in_one_line = ("dense 4", "residual(dense 4 bias=false, relu, residual(dense 4))", "dense")
    config = load_recipe(str(recipe))
    assert config.layers == in_one_line
    assert build.network(config, 3).layers[1] == Residual(Dense(4, bias=False), ReLU(), Residual(Dense(4)))
    (tmp_path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    assert load_run_config(tmp_path / "config.toml").layers == in_one_line


@pytest.mark.parametrize("entry", [["residual", ["relu", "dense 3"]], ["relu", "dense 3"], ["residual"], [], [[]]])
def test_another_list_within_the_list_is_refused(entry: list) -> None:
    with pytest.raises(UsageError, match=r"Entry 1(\.1)? of layers, .* residual alone holds other entries"):
        build.network(parse_settings({"layers": [entry, "dense"]}, "here"), 3)


def test_a_residual_whose_shapes_differ_is_refused_by_its_name() -> None:
    config = parse_settings({"layers": ["residual(conv 4 3x3)", "flatten", "dense"]}, "here")
    network = build.network(config, 3, (8, 8))
    with pytest.raises(ShapeError, match=r'residual1, .*\(8, 8, 1\).*\(6, 6, 4\).*Conv2D\(1, padding="same"\)'):
        network.init((64,))


@pytest.mark.parametrize(
    "beside",
    [
        {"hidden": [5]},
        {"activation": "tanh"},
        {"norm": "batch"},
        {"dropout": [0.5]},
        {"output_activation": "softmax"},
    ],
)
def test_layers_beside_the_settings_of_a_plain_network_are_refused(beside: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"layers and {next(iter(beside))} = .* Leave {next(iter(beside))} out"):
        parse_settings({"layers": ["dense"], **beside}, "here")


def test_flags_put_layers_in_the_place_of_hidden_and_back() -> None:
    listed = resolve("mnist", {"layers": ["flatten", "dense"]})
    assert (listed.hidden, listed.dropout, listed.layers) == ((), (), ("flatten", "dense"))
    plain = resolve("cnn", {"hidden": [30]})
    assert (plain.hidden, plain.layers) == ((30,), ())
    with pytest.raises(UsageError, match="layers and hidden"):
        resolve("mnist", {"layers": ["dense"], "hidden": [5]})


def test_rows_of_images_reach_the_first_layer_as_images() -> None:
    config = parse_settings({"layers": CNN}, "here")
    grey, colour = build.network(config, 3, (28, 28)), build.network(config, 3, (8, 6, 3))
    assert grey.layers[0] == Reshape((28, 28, 1))
    assert colour.summary((144,))[0].out_shape == (8, 6, 3)
    with pytest.raises(UsageError, match="the samples of this data are no images"):
        build.network(config, 3)
    assert isinstance(build.network(parse_settings({"layers": ["dense"]}, "here"), 3).layers[0], Dense)


def images(path: Path) -> Path:
    """60 images of 10 x 10, three classes that differ by the place of a bright square."""
    rng = np.random.default_rng(0)
    x, t = rng.integers(0, 60, (60, 10, 10)), np.arange(60) % 3
    for image, label in zip(x, t, strict=True):
        image[2 + 2 * label : 5 + 2 * label, 3:7] += 180
    np.savez(path / "squares.npz", x=x.astype(np.uint8), y=t)
    return path / "squares.npz"


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return images(tmp_path)


FLAGS = ("--optimizer", "adam", "--lr", "0.02", "--batch-size", "16", "--progress", "off", "--scale", "unit")


@pytest.mark.usefixtures("no_plots")
def test_a_run_of_listed_layers_trains_resumes_replays_and_is_used(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", str(in_folder), "--layers", *CNN, *FLAGS, "--backend", "numpy")
    assert run("train", "mnist", *data, "--epochs", "12", "--name", "whole") == 0
    assert run("train", "mnist", *data, "--epochs", "6", "--name", "parts", "--schedule-epochs", "12") == 0
    assert run("train", "--resume", "parts", "--epochs", "12", "--schedule-epochs", "12") == 0
    config = load_run_config(Path("runs/whole/config.toml"))
    assert config.layers == CNN
    assert config.hidden == ()
    whole, parts = (TrainedModel.open(name) for name in ("whole", "parts"))
    for (name, _, p), (_, _, q) in zip(
        whole.evaluator.objective.network.named_layers(whole.params),
        parts.evaluator.objective.network.named_layers(parts.params),
        strict=True,
    ):
        assert all(np.array_equal(p[key], q[key]) for key in p), name
    assert whole.evaluate(whole.data()).accuracy >= 0.9
    capsys.readouterr()
    for command in (
        ("describe", "whole"),
        ("replay", "whole"),
        ("gradcheck", "runs/whole/config.toml"),
        ("train", "mnist", *data, "--dry-run"),
        ("train", "mnist", *data, "--epochs", "1", "--init-from", "whole"),
    ):
        assert run(*command) == 0, command
    text = capsys.readouterr().out
    for line in ("conv2d1", "batchnorm1", "residual1.conv2d1", "residual1.residual1.conv2d1", "dense2"):
        assert line in text


def test_a_wrong_list_writes_nothing(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "mnist", "--data", str(in_folder), "--layers", "flatten", "dense 7") == 2
    assert "Entry 2 of layers, 'dense 7': it gives 7 outputs and 3 are needed" in said(capsys)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
