"""Configurations: recipes parse, flags override, wrong settings are named, and what is written runs again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from backends import select
from nnbackprop.data import Dataset, Scaling
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Dense, Dropout, ReLU, Sigmoid
from nnbackprop.optim import Momentum
from nnbackprop.runs import build
from nnbackprop.runs.config import Config, parse, recipes, resolve, to_toml

RECIPES = ("ex4", "mnist", "rashid", "weight-height")


def test_the_four_recipes_are_there() -> None:
    assert tuple(recipes()) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_written_is_the_same_configuration(name: str) -> None:
    config = resolve(name, {"device": "cpu", "clip_norm": 1.5})
    assert parse(tomllib.loads(to_toml(config)), "again") == config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hiden": [3]}, "'hiden' that does not exist. Did you mean hidden?"),
        ({"zork": 1}, "'zork' that does not exist. Known are:"),
        ({"lr": -1}, "lr = -1: expected `float` > 0.0"),
        ({"lr": "fast"}, "lr = 'fast': expected `float`, got `str`"),
        ({"epochs": 0}, "epochs = 0: expected `int` >= 1"),
        ({"batch_size": "half"}, "batch_size = 'half'"),
        ({"hidden": [10, 0]}, "hidden = [10, 0]: expected `int` >= 1"),
        ({"dropout": [1.0]}, "dropout = [1.0]: expected `float` < 1.0"),
        ({"backend": "tensorflow"}, "backend = 'tensorflow'"),
        ({"validation": 1.0}, "validation = 1.0: expected `float` < 1.0"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(settings, "my.toml")
    assert str(error.value).startswith("my.toml has")
    assert said in str(error.value)


def test_a_recipe_of_ones_own_is_read_and_overridden(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("hidden = [3]\nlr = 0.5\n")
    config = resolve(str(path), {"lr": 0.25})
    assert (config.hidden, config.lr, config.recipe) == ((3,), 0.25, "mine")


def test_a_recipe_that_is_nowhere_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'minst' is neither a recipe nor a TOML file.*ex4, mnist, rashid"):
        resolve("minst", {})


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("lr == 3")
    with pytest.raises(UsageError, match=r"bad\.toml cannot be read as TOML"):
        resolve(str(tmp_path / "bad.toml"), {})


def test_the_default_recipe_is_the_network_it_says() -> None:
    layers = build.network(resolve("mnist", {}), 10).layers
    assert [type(layer) for layer in layers] == [Dropout, Dense, ReLU, Dropout, Dense, ReLU, Dropout, Dense]
    assert [layer.units for layer in layers if isinstance(layer, Dense)] == [512, 256, 10]
    assert [layer.rate for layer in layers if isinstance(layer, Dropout)] == [0.4, 0.2, 0.1]


def test_rashids_network_has_no_biases() -> None:
    layers = build.network(resolve("rashid", {}), 10).layers
    assert [type(layer) for layer in layers] == [Dense, Sigmoid, Dense, Sigmoid]
    assert all(layer.bias is None for layer in layers if isinstance(layer, Dense))


@pytest.mark.parametrize(
    ("given", "rates"), [((), (0, 0, 0)), ((0.3,), (0, 0.3, 0.3)), ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3))]
)
def test_one_dropout_rate_is_for_the_hidden_layers(given: tuple[float, ...], rates: tuple[float, ...]) -> None:
    assert tuple(build.dropout_rates(Config(dropout=given))) == rates


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dropout": (0.1, 0.2)}, "2 dropout rates (0.1 0.2) for 2 hidden layers"),
        ({"activation": "rellu"}, "--activation 'rellu' is not known"),
        ({"loss": "hinge"}, "--loss 'hinge' is not known. Choose one of softmax-cross-entropy"),
        ({"optimizer": "lion"}, "--optimizer 'lion' is not known"),
        ({"momentum": 0.9}, "--momentum goes with momentum"),
        ({"loss": "mse", "label_smoothing": 0.1}, "--label-smoothing goes with"),
        ({"init": "xavier"}, "'xavier' is not an initializer"),
        ({"schedule": "cosinus"}, "cosinus"),
    ],
)
def test_a_word_that_means_nothing_is_refused_when_the_run_is_put_together(
    settings: dict[str, object], said: str
) -> None:
    data = Dataset(np.zeros((9, 4)), np.zeros(9, np.int32), ("a", "b"))
    config = parse(settings, "x")
    with pytest.raises(UsageError) as error:
        build.trainer(config, select("numpy"), data, Scaling.identity())
    assert said in str(error.value)


def test_momentum_reaches_the_optimizer() -> None:
    assert build.optimizer(Config(optimizer="momentum", momentum=0.7)) == Momentum(0.7)


def test_the_schedule_spans_the_run() -> None:
    rate = build.learning_rate(Config(schedule="cosine", lr=1.0, epochs=3, batch_size=30), 100)
    assert rate(0) == 1.0
    assert rate(6) == pytest.approx(0.5)  # 4 steps an epoch, the ragged one counted: half of 12
    assert rate(12) == pytest.approx(0.0, abs=1e-12)
